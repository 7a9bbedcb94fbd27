-- name: insert_evidence
INSERT INTO evidence (id, environment, kind, record_key, digest, query, text, service, time_us, entities, found_by, found_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE id = id

-- name: evidence_in_environment
SELECT id, environment, kind, record_key, digest, query, text, service, time_us, entities
FROM evidence WHERE environment = ? AND id = ?

-- name: evidence_by_id
SELECT id, environment, kind, record_key, digest, query, text, service, time_us, entities
FROM evidence WHERE id = ?

-- name: evidence_of_trace
SELECT id, environment, kind, record_key, digest, query, text, service, time_us, entities
FROM evidence WHERE found_by = ? ORDER BY time_us, id
