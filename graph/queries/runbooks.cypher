// Runbooks that helped services. Every statement can run twice.

// name: relate_runbooks
UNWIND $edges AS e
MERGE (s:Service {name: e.service})
MERGE (b:Runbook {id: e.runbook})
MERGE (s)-[r:RELATED_RUNBOOK {observed_by: e.incident}]->(b)
SET r.valid_from_us = e.since_us, r.fault_class = e.fault_class

// name: unrelate_runbooks
UNWIND $incidents AS incident
MATCH (:Service)-[r:RELATED_RUNBOOK {observed_by: incident}]->(:Runbook)
DELETE r

// name: related_runbooks
UNWIND $services AS service
MATCH (s:Service {name: service})-[r:RELATED_RUNBOOK]->(b:Runbook)
WHERE r.valid_from_us < $moment_us
RETURN s.name, b.id, r.fault_class, r.observed_by, r.valid_from_us ORDER BY r.valid_from_us DESC, b.id LIMIT $limit
