-- Vectors of texts, one table per corpus (storage/vectors.py). Each corpus has the same statements.

-- name: embedding_space
SELECT embedder, dimension FROM embedding_space WHERE corpus = ?

-- name: set_embedding_space
REPLACE INTO embedding_space (corpus, embedder, dimension) VALUES (?, ?, ?)

-- One writer at a time: two that insert into a vector index end in deadlocks.
-- name: take_vector_lock
SELECT GET_LOCK(CONCAT('causegraph.vectors.', DATABASE(), '.', ?), ?)

-- name: release_vector_lock
SELECT RELEASE_LOCK(CONCAT('causegraph.vectors.', DATABASE(), '.', ?))

-- name: insert_template_vectors
INSERT INTO template_vector (id, embedding) VALUES (?, ?) ON DUPLICATE KEY UPDATE id = id

-- name: delete_template_vector
DELETE FROM template_vector WHERE id = ?

-- name: count_template_vectors
SELECT COUNT(*) FROM template_vector

-- name: held_template_vectors
SELECT v.id FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) AS j
STRAIGHT_JOIN template_vector AS v ON v.id = j.id

-- name: nearest_templates
SET STATEMENT max_statement_time = 10, mhnsw_ef_search = 100 FOR
SELECT id, VEC_DISTANCE_COSINE(embedding, ?) AS distance FROM template_vector ORDER BY distance LIMIT ?

-- name: nearest_of_templates
SET STATEMENT max_statement_time = 10 FOR
SELECT v.id, VEC_DISTANCE_COSINE(v.embedding, ?) AS distance
FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) AS j
STRAIGHT_JOIN template_vector AS v IGNORE INDEX (by_embedding) ON v.id = j.id ORDER BY distance LIMIT ?

-- name: insert_chunk_vectors
INSERT INTO chunk_vector (id, embedding) VALUES (?, ?) ON DUPLICATE KEY UPDATE id = id

-- name: delete_chunk_vector
DELETE FROM chunk_vector WHERE id = ?

-- name: count_chunk_vectors
SELECT COUNT(*) FROM chunk_vector

-- name: held_chunk_vectors
SELECT v.id FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) AS j
STRAIGHT_JOIN chunk_vector AS v ON v.id = j.id

-- name: nearest_chunks
SET STATEMENT max_statement_time = 10, mhnsw_ef_search = 100 FOR
SELECT id, VEC_DISTANCE_COSINE(embedding, ?) AS distance FROM chunk_vector ORDER BY distance LIMIT ?

-- name: nearest_of_chunks
SET STATEMENT max_statement_time = 10 FOR
SELECT v.id, VEC_DISTANCE_COSINE(v.embedding, ?) AS distance
FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) AS j
STRAIGHT_JOIN chunk_vector AS v IGNORE INDEX (by_embedding) ON v.id = j.id ORDER BY distance LIMIT ?

-- name: insert_runbook_vectors
INSERT INTO runbook_vector (id, embedding) VALUES (?, ?) ON DUPLICATE KEY UPDATE id = id

-- name: delete_runbook_vector
DELETE FROM runbook_vector WHERE id = ?

-- name: count_runbook_vectors
SELECT COUNT(*) FROM runbook_vector

-- name: held_runbook_vectors
SELECT v.id FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) AS j
STRAIGHT_JOIN runbook_vector AS v ON v.id = j.id

-- name: nearest_runbooks
SET STATEMENT max_statement_time = 10, mhnsw_ef_search = 100 FOR
SELECT id, VEC_DISTANCE_COSINE(embedding, ?) AS distance FROM runbook_vector ORDER BY distance LIMIT ?

-- name: nearest_of_runbooks
SET STATEMENT max_statement_time = 10 FOR
SELECT v.id, VEC_DISTANCE_COSINE(v.embedding, ?) AS distance
FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) AS j
STRAIGHT_JOIN runbook_vector AS v IGNORE INDEX (by_embedding) ON v.id = j.id ORDER BY distance LIMIT ?

-- name: insert_incident_vectors
INSERT INTO incident_vector (id, embedding) VALUES (?, ?) ON DUPLICATE KEY UPDATE id = id

-- name: delete_incident_vector
DELETE FROM incident_vector WHERE id = ?

-- name: count_incident_vectors
SELECT COUNT(*) FROM incident_vector

-- name: held_incident_vectors
SELECT v.id FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) AS j
STRAIGHT_JOIN incident_vector AS v ON v.id = j.id

-- name: nearest_incidents
SET STATEMENT max_statement_time = 10, mhnsw_ef_search = 100 FOR
SELECT id, VEC_DISTANCE_COSINE(embedding, ?) AS distance FROM incident_vector ORDER BY distance LIMIT ?

-- name: nearest_of_incidents
SET STATEMENT max_statement_time = 10 FOR
SELECT v.id, VEC_DISTANCE_COSINE(v.embedding, ?) AS distance
FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) AS j
STRAIGHT_JOIN incident_vector AS v IGNORE INDEX (by_embedding) ON v.id = j.id ORDER BY distance LIMIT ?

-- name: templates_without_vector
SELECT t.id, t.text FROM log_template AS t LEFT JOIN template_vector AS v ON v.id = t.id
WHERE t.id > ? AND v.id IS NULL ORDER BY t.id LIMIT ?
