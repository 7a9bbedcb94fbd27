-- name: chat_message_by_key
SELECT channel, thread, message_id, incident_id, posted_us, run_id FROM chat_message WHERE surface = ? AND post_key = ?

-- name: put_chat_message
INSERT INTO chat_message (surface, post_key, channel, thread, message_id, incident_id, posted_us, run_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE post_key = VALUES(post_key)

-- name: put_chat_subject
UPDATE chat_message SET incident_id = ?, run_id = ? WHERE surface = ? AND post_key = ?

-- name: chat_thread
SELECT incident_id, message_id = thread FROM chat_message WHERE surface = ? AND channel = ? AND thread = ?
ORDER BY message_id = thread DESC, posted_us LIMIT 100

-- name: chat_threads_of_run
SELECT DISTINCT channel, thread FROM chat_message WHERE run_id = ? AND surface = ? ORDER BY channel, thread
