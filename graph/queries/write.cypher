// Writing. Every statement can run twice: values are absolute, never increments.

// name: write_services
UNWIND $nodes AS n
MERGE (:Service {name: n.name})

// name: write_changes
UNWIND $nodes AS n
MERGE (c:Change {id: n.id})
SET c.time_us = n.time_us, c.kind = n.kind, c.version = n.version

// name: write_calls
UNWIND $edges AS e
MERGE (a:Service {name: e.source})
MERGE (b:Service {name: e.target})
MERGE (a)-[r:CALLS {observed_by: e.observed_by, stated: e.stated, valid_from_us: e.valid_from_us}]->(b)
SET r.valid_to_us = e.valid_to_us, r.last_seen_us = e.last_seen_us, r.count = e.count, r.errors = e.errors, r.level = e.level

// name: write_runs_on
UNWIND $edges AS e
MERGE (a:Service {name: e.source})
MERGE (b:Node {name: e.target})
MERGE (a)-[r:RUNS_ON {observed_by: e.observed_by, stated: e.stated, valid_from_us: e.valid_from_us}]->(b)
SET r.valid_to_us = e.valid_to_us, r.last_seen_us = e.last_seen_us, r.count = e.count, r.errors = e.errors, r.level = e.level

// name: write_emitted
UNWIND $edges AS e
MERGE (a:Service {name: e.source})
MERGE (b:LogTemplate {id: e.target})
MERGE (a)-[r:EMITTED {observed_by: e.observed_by, stated: e.stated, valid_from_us: e.valid_from_us}]->(b)
SET r.valid_to_us = e.valid_to_us, r.last_seen_us = e.last_seen_us, r.count = e.count, r.errors = e.errors, r.level = e.level

// name: write_changed
UNWIND $edges AS e
MERGE (a:Change {id: e.source})
MERGE (b:Service {name: e.target})
MERGE (a)-[r:CHANGED {observed_by: e.observed_by, stated: e.stated, valid_from_us: e.valid_from_us}]->(b)
SET r.valid_to_us = e.valid_to_us, r.last_seen_us = e.last_seen_us, r.count = e.count, r.errors = e.errors, r.level = e.level

// The intervals of a family that have been merged into another one. Both ends are looked up first: in one pattern, all
// edges of one end would be walked (measured: three times slower).

// name: prune_calls
UNWIND $families AS f
MATCH (a:Service {name: f.source}) WITH f, a MATCH (b:Service {name: f.target}) WITH f, a, b
MATCH (a)-[r:CALLS]->(b)
WHERE r.observed_by = f.observed_by AND r.stated = f.stated AND NOT r.valid_from_us IN f.kept
DELETE r

// name: prune_runs_on
UNWIND $families AS f
MATCH (a:Service {name: f.source}) WITH f, a MATCH (b:Node {name: f.target}) WITH f, a, b
MATCH (a)-[r:RUNS_ON]->(b)
WHERE r.observed_by = f.observed_by AND r.stated = f.stated AND NOT r.valid_from_us IN f.kept
DELETE r

// name: prune_emitted
UNWIND $families AS f
MATCH (a:Service {name: f.source}) WITH f, a MATCH (b:LogTemplate {id: f.target}) WITH f, a, b
MATCH (a)-[r:EMITTED]->(b)
WHERE r.observed_by = f.observed_by AND r.stated = f.stated AND NOT r.valid_from_us IN f.kept
DELETE r

// name: prune_changed
UNWIND $families AS f
MATCH (a:Change {id: f.source}) WITH f, a MATCH (b:Service {name: f.target}) WITH f, a, b
MATCH (a)-[r:CHANGED]->(b)
WHERE r.observed_by = f.observed_by AND r.stated = f.stated AND NOT r.valid_from_us IN f.kept
DELETE r

// name: remove_lone_services
UNWIND $names AS name
MATCH (s:Service {name: name})
OPTIONAL MATCH (s)-[r]-()
WITH s, count(r) AS edges
WHERE edges = 0
DELETE s

// How far the graph follows MariaDB is kept in the graph itself: a server that loses its last second loses both.

// name: follow_to
MERGE (p:Projection {id: 'topology'}) SET p.seq = $seq

// name: index_services
CREATE INDEX FOR (n:Service) ON (n.name)

// name: index_nodes
CREATE INDEX FOR (n:Node) ON (n.name)

// name: index_templates
CREATE INDEX FOR (n:LogTemplate) ON (n.id)

// name: index_changes
CREATE INDEX FOR (n:Change) ON (n.id)

// name: index_calls_begin
CREATE INDEX FOR ()-[r:CALLS]-() ON (r.valid_from_us)

// name: index_calls_end
CREATE INDEX FOR ()-[r:CALLS]-() ON (r.valid_to_us)
