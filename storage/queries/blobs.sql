-- name: record_blob
INSERT INTO blob_index (digest, bytes, stored_bytes, created_us) VALUES (?, ?, ?, ?)
ON DUPLICATE KEY UPDATE stored_bytes = VALUES(stored_bytes)

-- name: one_blob
SELECT digest, bytes, stored_bytes, created_us FROM blob_index WHERE digest = ?
