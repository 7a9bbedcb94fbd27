-- name: chat_message_by_key
SELECT channel, thread, message_id, incident_id, posted_us FROM chat_message WHERE surface = ? AND post_key = ?

-- name: put_chat_message
INSERT INTO chat_message (surface, post_key, channel, thread, message_id, incident_id, posted_us) VALUES (?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE post_key = VALUES(post_key)

-- name: put_chat_incident
UPDATE chat_message SET incident_id = ? WHERE surface = ? AND post_key = ?

-- name: chat_thread
SELECT incident_id, message_id = thread FROM chat_message WHERE surface = ? AND channel = ? AND thread = ?
ORDER BY message_id = thread DESC, posted_us LIMIT 100
