-- Questions asked over the chat API, and what was told while they were worked on.

-- name: begin_chat_run
INSERT INTO chat_run (id, environment, thread_id, status, owner, segment, created_us, touched_us, question)
VALUES (?, ?, ?, 'running', ?, 0, ?, ?, ?)

-- name: one_chat_run
SELECT id, environment, thread_id, status, owner, segment, created_us, question FROM chat_run WHERE id = ?

-- name: chat_runs_in_hand
SELECT id, environment, thread_id, status, owner, segment, created_us, question FROM chat_run
WHERE status IN ('running', 'cancelling') AND environment = ? AND thread_id = ? ORDER BY created_us

-- name: tell_chat_event
INSERT INTO chat_event (run_id, seq, name, data)
SELECT ?, COALESCE(MAX(seq), 0) + 1, ?, ? FROM chat_event WHERE run_id = ?

-- name: chat_events_after
SELECT seq, name, data FROM chat_event WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT 500

-- name: end_chat_run
UPDATE chat_run SET status = ?, touched_us = ? WHERE id = ? AND owner = ? AND status IN ('running', 'cancelling')

-- name: cancel_chat_run
UPDATE chat_run SET status = 'cancelling' WHERE id = ? AND status = 'running'

-- name: touch_chat_runs
UPDATE chat_run SET touched_us = ? WHERE owner = ? AND status IN ('running', 'cancelling')

-- name: cancelling_chat_runs
SELECT id FROM chat_run WHERE owner = ? AND status = 'cancelling'

-- name: lost_chat_runs
SELECT id, environment, thread_id, status, owner, segment, created_us, question
FROM chat_run WHERE status IN ('running', 'cancelling') AND touched_us < ? ORDER BY touched_us LIMIT ?

-- name: take_over_chat_run
UPDATE chat_run SET owner = ?, segment = segment + 1, touched_us = ?
WHERE id = ? AND owner = ? AND segment = ? AND status IN ('running', 'cancelling')

-- name: drop_old_chat_events
DELETE FROM chat_event WHERE run_id IN (SELECT id FROM chat_run WHERE touched_us < ? AND status NOT IN ('running', 'cancelling'))

-- name: drop_old_chat_runs
DELETE FROM chat_run WHERE touched_us < ? AND status NOT IN ('running', 'cancelling')
