// The graph of a code root. Every statement can run twice: values are absolute, never increments.

// name: code_add_files
UNWIND $nodes AS n
MERGE (:File {path: n.key})

// name: code_add_symbols
UNWIND $nodes AS n
MERGE (s:Symbol {id: n.key})
SET s.path = n.path, s.name = n.name

// name: code_add_templates
UNWIND $nodes AS n
MERGE (:LogTemplate {id: n.key})

// name: code_add_services
UNWIND $nodes AS n
MERGE (:Service {name: n.key})

// name: code_write_defined_in
UNWIND $edges AS e
MATCH (a:Symbol {id: e.source}) WITH e, a MATCH (b:File {path: e.target}) WITH e, a, b
MERGE (a)-[r:DEFINED_IN {valid_from_us: e.valid_from_us}]->(b)
SET r.valid_to_us = e.valid_to_us, r.line = e.line, r.sure = e.sure, r.observed_by = e.observed_by

// name: code_write_calls
UNWIND $edges AS e
MATCH (a:Symbol {id: e.source}) WITH e, a MATCH (b:Symbol {id: e.target}) WITH e, a, b
MERGE (a)-[r:CALLS {valid_from_us: e.valid_from_us}]->(b)
SET r.valid_to_us = e.valid_to_us, r.line = e.line, r.sure = e.sure, r.observed_by = e.observed_by

// name: code_write_references
UNWIND $edges AS e
MATCH (a:Symbol {id: e.source}) WITH e, a MATCH (b:Symbol {id: e.target}) WITH e, a, b
MERGE (a)-[r:REFERENCES {valid_from_us: e.valid_from_us}]->(b)
SET r.valid_to_us = e.valid_to_us, r.line = e.line, r.sure = e.sure, r.observed_by = e.observed_by

// name: code_write_logs
UNWIND $edges AS e
MATCH (a:Symbol {id: e.source}) WITH e, a MATCH (b:LogTemplate {id: e.target}) WITH e, a, b
MERGE (a)-[r:LOGS {valid_from_us: e.valid_from_us}]->(b)
SET r.valid_to_us = e.valid_to_us, r.line = e.line, r.sure = e.sure, r.observed_by = e.observed_by

// name: code_write_deployed_as
UNWIND $edges AS e
MATCH (a:File {path: e.source}) WITH e, a MATCH (b:Service {name: e.target}) WITH e, a, b
MERGE (a)-[r:DEPLOYED_AS {valid_from_us: e.valid_from_us}]->(b)
SET r.valid_to_us = e.valid_to_us, r.line = e.line, r.sure = e.sure, r.observed_by = e.observed_by

// name: code_forget_defined_in
UNWIND $edges AS e
MATCH (a:Symbol {id: e.source}) WITH e, a MATCH (b:File {path: e.target}) WITH e, a, b
MATCH (a)-[r:DEFINED_IN]->(b) WHERE r.valid_from_us = e.valid_from_us
DELETE r

// name: code_forget_calls
UNWIND $edges AS e
MATCH (a:Symbol {id: e.source}) WITH e, a MATCH (b:Symbol {id: e.target}) WITH e, a, b
MATCH (a)-[r:CALLS]->(b) WHERE r.valid_from_us = e.valid_from_us
DELETE r

// name: code_forget_references
UNWIND $edges AS e
MATCH (a:Symbol {id: e.source}) WITH e, a MATCH (b:Symbol {id: e.target}) WITH e, a, b
MATCH (a)-[r:REFERENCES]->(b) WHERE r.valid_from_us = e.valid_from_us
DELETE r

// name: code_forget_logs
UNWIND $edges AS e
MATCH (a:Symbol {id: e.source}) WITH e, a MATCH (b:LogTemplate {id: e.target}) WITH e, a, b
MATCH (a)-[r:LOGS]->(b) WHERE r.valid_from_us = e.valid_from_us
DELETE r

// name: code_forget_deployed_as
UNWIND $edges AS e
MATCH (a:File {path: e.source}) WITH e, a MATCH (b:Service {name: e.target}) WITH e, a, b
MATCH (a)-[r:DEPLOYED_AS]->(b) WHERE r.valid_from_us = e.valid_from_us
DELETE r

// name: code_forget_lone
MATCH (n)
WHERE NOT n:Projection AND NOT (n)--()
DELETE n

// name: code_follow_to
MERGE (p:Projection {id: 'code'}) SET p.state = $state

// name: code_index_files
CREATE INDEX FOR (n:File) ON (n.path)

// name: code_index_symbols
CREATE INDEX FOR (n:Symbol) ON (n.id)

// name: code_index_templates
CREATE INDEX FOR (n:LogTemplate) ON (n.id)

// name: code_index_services
CREATE INDEX FOR (n:Service) ON (n.name)

// name: code_followed_to
MATCH (p:Projection {id: 'code'}) RETURN p.state

// name: code_callers
UNWIND $symbols AS symbol
MATCH (b:Symbol {id: symbol})<-[r:CALLS]-(a:Symbol)
WHERE r.valid_from_us <= $moment_us AND (r.valid_to_us IS NULL OR r.valid_to_us > $moment_us)
RETURN a.id, b.id, r.line, r.sure ORDER BY NOT r.sure, a.id LIMIT $limit

// name: code_heirs
MATCH (b:Symbol {id: $symbol})<-[r:REFERENCES]-(a:Symbol)
WHERE r.valid_from_us <= $moment_us AND (r.valid_to_us IS NULL OR r.valid_to_us > $moment_us)
RETURN a.id ORDER BY a.id LIMIT 200

// name: code_templates
MATCH (a:Symbol {id: $symbol})-[r:LOGS]->(b:LogTemplate)
WHERE r.valid_from_us <= $moment_us AND (r.valid_to_us IS NULL OR r.valid_to_us > $moment_us)
RETURN b.id, r.line, r.sure ORDER BY r.line, b.id LIMIT 200

// name: code_writers
MATCH (b:LogTemplate {id: $template})<-[r:LOGS]-(a:Symbol)
WHERE r.valid_from_us <= $moment_us AND (r.valid_to_us IS NULL OR r.valid_to_us > $moment_us)
RETURN a.id, r.line, r.sure ORDER BY NOT r.sure, a.id LIMIT 50

// name: code_all_defined_in
MATCH (a:Symbol)-[r:DEFINED_IN]->(b:File)
RETURN a.id, b.path, r.valid_from_us, r.valid_to_us, r.line, r.sure

// name: code_all_calls
MATCH (a:Symbol)-[r:CALLS]->(b:Symbol)
RETURN a.id, b.id, r.valid_from_us, r.valid_to_us, r.line, r.sure

// name: code_all_references
MATCH (a:Symbol)-[r:REFERENCES]->(b:Symbol)
RETURN a.id, b.id, r.valid_from_us, r.valid_to_us, r.line, r.sure

// name: code_all_logs
MATCH (a:Symbol)-[r:LOGS]->(b:LogTemplate)
RETURN a.id, b.id, r.valid_from_us, r.valid_to_us, r.line, r.sure

// name: code_all_deployed_as
MATCH (a:File)-[r:DEPLOYED_AS]->(b:Service)
RETURN a.path, b.name, r.valid_from_us, r.valid_to_us, r.line, r.sure
