-- Conversations: turns of threads.

-- name: lock_thread
SELECT COALESCE(MAX(number), 0) FROM conversation_turn WHERE environment = ? AND thread_id = ? FOR UPDATE

-- name: turn_of_trace
SELECT number FROM conversation_turn WHERE environment = ? AND thread_id = ? AND trace_id = ?

-- name: store_turn
INSERT INTO conversation_turn (environment, thread_id, number, trace_id, incident_id, kind, created_us, question, focus, answer, feedback)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '')

-- name: turns_of_thread
SELECT environment, thread_id, number, trace_id, incident_id, kind, created_us, question, focus, answer, feedback
FROM conversation_turn WHERE environment = ? AND thread_id = ? ORDER BY number DESC LIMIT ?

-- name: threads_of_environment
SELECT t.thread_id, f.question, COUNT(*), MIN(t.created_us), MAX(t.created_us)
FROM conversation_turn t JOIN conversation_turn f
  ON f.environment = t.environment AND f.thread_id = t.thread_id AND f.number = 1
WHERE t.environment = ? GROUP BY t.thread_id, f.question HAVING MAX(t.created_us) < ? ORDER BY MAX(t.created_us) DESC LIMIT ?

-- name: store_feedback
UPDATE conversation_turn SET feedback = ? WHERE environment = ? AND thread_id = ? AND number = ?
