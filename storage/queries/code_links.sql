-- What links the code of a root together, packed, in parts that fit into one packet.

-- name: code_links_state
SELECT state FROM code_links WHERE root_id = ? AND part = 0

-- name: code_links_load
SELECT state, edges FROM code_links WHERE root_id = ? ORDER BY part

-- name: code_links_lock
SELECT state FROM code_links WHERE root_id = ? AND part = 0 FOR UPDATE

-- name: code_links_remove
DELETE FROM code_links WHERE root_id = ?

-- name: code_links_put
INSERT INTO code_links (root_id, part, state, edges) VALUES (?, ?, ?, ?)

-- Which templates each service wrote, in any environment.
-- name: code_emissions
SELECT DISTINCT o.source, t.id, t.text FROM observed_edge AS o
JOIN log_template AS t ON t.id = CAST(o.target AS UNSIGNED) WHERE o.kind = 'EMITTED' ORDER BY o.source, t.id
