-- name: insert_key
INSERT INTO api_key (id, name, role, hash, created_us) VALUES (?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE id = id

-- name: key_by_hash
SELECT id, name, role, created_us, revoked_us FROM api_key WHERE hash = ?

-- name: list_keys
SELECT id, name, role, created_us, revoked_us FROM api_key ORDER BY created_us, id

-- name: revoke_key
UPDATE api_key SET revoked_us = ? WHERE id = ? AND revoked_us IS NULL

-- name: key_by_id
SELECT id, name, role, created_us, revoked_us FROM api_key WHERE id = ?
