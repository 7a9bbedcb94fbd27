-- Code bases. Lists of keys come as one JSON parameter.

-- name: code_roots
SELECT id, kind, location, branch, generation, facts_version, tree_hash, commit_id, files, bytes, added_us, changed_us, checked_us, problems
FROM code_root ORDER BY location, branch

-- name: code_root
SELECT id, kind, location, branch, generation, facts_version, tree_hash, commit_id, files, bytes, added_us, changed_us, checked_us, problems
FROM code_root WHERE id = ?

-- name: code_add_root
INSERT INTO code_root (id, kind, location, branch, generation, facts_version, tree_hash, commit_id, files, bytes, added_us,
  changed_us, checked_us, problems)
VALUES (?, ?, ?, ?, 0, 0, '', '', 0, 0, ?, 0, 0, '[]')
ON DUPLICATE KEY UPDATE id = id

-- name: code_remove_root
DELETE FROM code_root WHERE id = ?

-- name: code_remove_root_files
DELETE FROM code_file WHERE root_id = ?

-- name: code_remove_root_services
DELETE FROM code_service WHERE root_id = ?

-- name: code_services
SELECT root_id, folder, service FROM code_service ORDER BY root_id, folder, service

-- name: code_add_service
INSERT IGNORE INTO code_service (root_id, folder, service) VALUES (?, ?, ?)

-- name: code_files
SELECT path, content_hash, facts_key, bytes FROM code_file WHERE root_id = ? ORDER BY path

-- name: code_file
SELECT path, content_hash, facts_key, bytes FROM code_file WHERE root_id = ? AND path = ?

-- name: code_put_file
INSERT INTO code_file (root_id, path, content_hash, facts_key, bytes) VALUES (?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE content_hash = VALUES(content_hash), facts_key = VALUES(facts_key), bytes = VALUES(bytes)

-- name: code_remove_file
DELETE FROM code_file WHERE root_id = ? AND path = ?

-- Touches a row only while nobody else has committed a tree since `generation`.
-- name: code_advance_root
UPDATE code_root SET generation = generation + 1, facts_version = ?, tree_hash = ?, commit_id = ?, files = ?, bytes = ?,
  changed_us = ?, checked_us = ?, problems = ?
WHERE id = ? AND generation = ?

-- name: code_mark_checked
UPDATE code_root SET checked_us = ?, commit_id = ?, problems = ? WHERE id = ? AND generation = ?

-- name: code_known_facts
SELECT f.facts_key FROM JSON_TABLE(?, '$[*]' COLUMNS (facts_key CHAR(32) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) AS j
STRAIGHT_JOIN code_facts AS f ON f.facts_key = j.facts_key

-- name: code_use_facts
UPDATE code_facts SET used_us = ? WHERE facts_key = ?

-- name: code_load_facts
SELECT f.facts_key, f.facts FROM JSON_TABLE(?, '$[*]' COLUMNS (facts_key CHAR(32) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) AS j
STRAIGHT_JOIN code_facts AS f ON f.facts_key = j.facts_key

-- name: code_put_facts
INSERT IGNORE INTO code_facts (facts_key, content_hash, language, version, used_us, facts) VALUES (?, ?, ?, ?, ?, ?)

-- name: code_put_symbol
INSERT IGNORE INTO code_symbol (facts_key, number, name, qualified, kind, start_line, end_line) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: code_put_chunk
INSERT IGNORE INTO code_chunk (id, language, kind, urgency, scope, signature, doc, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: code_put_chunk_place
INSERT IGNORE INTO code_chunk_place (facts_key, number, chunk_id, start_line, end_line) VALUES (?, ?, ?, ?, ?)

-- Facts that no file has had for a while; a file that comes back soon, as with a change of branch, finds them still.
-- name: code_forget_facts
DELETE FROM code_facts WHERE used_us < ? AND NOT EXISTS (
  SELECT 1 FROM code_file AS f WHERE f.facts_key = code_facts.facts_key)

-- name: code_forget_symbols
DELETE FROM code_symbol WHERE NOT EXISTS (SELECT 1 FROM code_facts AS f WHERE f.facts_key = code_symbol.facts_key)

-- name: code_forget_places
DELETE FROM code_chunk_place WHERE NOT EXISTS (
  SELECT 1 FROM code_facts AS f WHERE f.facts_key = code_chunk_place.facts_key)

-- name: code_forget_chunks
DELETE FROM code_chunk WHERE NOT EXISTS (SELECT 1 FROM code_chunk_place AS p WHERE p.chunk_id = code_chunk.id)

-- name: code_forget_vectors
DELETE FROM chunk_vector WHERE NOT EXISTS (SELECT 1 FROM code_chunk AS c WHERE c.id = chunk_vector.id)

-- Chunks of present files, those of files that write logs first; `path` is one of the files that hold it.
-- name: code_pending_chunks
SELECT c.urgency, c.id, c.scope, c.signature, c.doc, LEFT(c.text, 2000), (
  SELECT MIN(f.path) FROM code_chunk_place AS p JOIN code_file AS f ON f.facts_key = p.facts_key WHERE p.chunk_id = c.id)
FROM code_chunk AS c FORCE INDEX (by_urgency)
LEFT JOIN chunk_vector AS v IGNORE INDEX (by_embedding) ON v.id = c.id
WHERE (c.urgency > ? OR (c.urgency = ? AND c.id > ?)) AND v.id IS NULL AND EXISTS (
  SELECT 1 FROM code_chunk_place AS p JOIN code_file AS f ON f.facts_key = p.facts_key WHERE p.chunk_id = c.id)
ORDER BY c.urgency, c.id LIMIT ?

-- name: code_count_chunks
SELECT COUNT(*), COUNT(v.id) FROM code_chunk AS c FORCE INDEX (by_urgency)
LEFT JOIN chunk_vector AS v IGNORE INDEX (by_embedding) ON v.id = c.id
WHERE EXISTS (SELECT 1 FROM code_chunk_place AS p JOIN code_file AS f ON f.facts_key = p.facts_key WHERE p.chunk_id = c.id)

-- name: code_generations
SELECT COALESCE(SUM(generation), 0), COUNT(*), COALESCE(MAX(changed_us), 0) FROM code_root
