-- The row that a writer of a trace's events locks, so that `seq` grows in commit order.
-- name: open_trace
INSERT IGNORE INTO trace (id, environment, question, status, outcome, action, started_us, ended_us, decisions, queries, evidence)
VALUES (?, '', '', 'running', '', '', 0, NULL, 0, 0, 0)

-- name: lock_trace
SELECT id FROM trace WHERE id = ? FOR UPDATE

-- name: last_trace_seq
SELECT COALESCE(MAX(seq), 0), COUNT(*) FROM trace_event WHERE trace_id = ?

-- Events that are there already were left out under the lock; anything else that collides must be heard of.
-- name: insert_trace_event
INSERT INTO trace_event (trace_id, seq, event_id, type, span_id, time_us, payload) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: trace_event_ids
SELECT event_id FROM trace_event WHERE trace_id = ?

-- name: trace_events_after
SELECT seq, trace_id, event_id, type, span_id, time_us, payload FROM trace_event WHERE trace_id = ? AND seq > ? ORDER BY seq

-- name: count_amendments
SELECT COUNT(*) FROM trace_event WHERE trace_id = ? AND type = 'AMENDMENT'

-- name: store_trace
UPDATE trace SET environment = ?, question = ?, status = ?, outcome = ?, action = ?, started_us = ?, ended_us = ?,
  decisions = ?, queries = ?, evidence = ?, source = ?, external_id = ?, name = ?, service = ?, intent = ?, thread_id = ?,
  user_id = ?, model = ?, tokens = ?, cost = ?, spans = ?, open_spans = ?, failed_spans = ?, search_text = ?, stored_us = ?
WHERE id = ?

-- name: list_traces
SELECT id, environment, question, status, outcome, action, started_us, ended_us, decisions, queries, evidence,
  source, external_id, name, service, intent, thread_id, user_id, model, tokens, cost, spans, open_spans, failed_spans
FROM trace WHERE environment = ? AND started_us < ? ORDER BY started_us DESC, id DESC LIMIT ?

-- name: list_all_traces
SELECT id, environment, question, status, outcome, action, started_us, ended_us, decisions, queries, evidence,
  source, external_id, name, service, intent, thread_id, user_id, model, tokens, cost, spans, open_spans, failed_spans
FROM trace WHERE started_us < ? ORDER BY started_us DESC, id DESC LIMIT ?

-- name: one_trace
SELECT id, environment, question, status, outcome, action, started_us, ended_us, decisions, queries, evidence,
  source, external_id, name, service, intent, thread_id, user_id, model, tokens, cost, spans, open_spans, failed_spans
FROM trace WHERE id = ?

-- name: silent_traces
SELECT t.id FROM trace t
WHERE t.status = 'running' AND t.source = 'causegraph' AND (SELECT MAX(e.time_us) FROM trace_event e WHERE e.trace_id = t.id) < ?

-- The newest trace of a thread: where an answer that was waited for goes on.
-- name: trace_of_thread
SELECT id, environment, question, status, outcome, action, started_us, ended_us, decisions, queries, evidence,
  source, external_id, name, service, intent, thread_id, user_id, model, tokens, cost, spans, open_spans, failed_spans
FROM trace WHERE environment = ? AND thread_id = ? AND source = 'causegraph' ORDER BY started_us DESC, id DESC LIMIT 1

-- name: own_trace_ids
SELECT id FROM trace WHERE source = 'causegraph' AND id > ? ORDER BY id LIMIT 1000

-- A trace of another program by our id or by the id that its sender gave it.
-- name: find_external
SELECT id FROM trace WHERE id = ? OR external_id = ? ORDER BY started_us DESC LIMIT 1

-- Our own runs that are not at work and have events that were not exported.
-- name: unexported_traces
SELECT t.id, t.exported_seq FROM trace t
WHERE t.source = 'causegraph' AND t.status <> 'running'
  AND t.exported_seq < (SELECT MAX(e.seq) FROM trace_event e WHERE e.trace_id = t.id)
ORDER BY t.started_us LIMIT ?

-- name: mark_trace_exported
UPDATE trace SET exported_seq = GREATEST(exported_seq, ?) WHERE id = ?

-- name: prompts_of_traces
SELECT DISTINCT JSON_VALUE(payload, '$.data.prompt') FROM trace_event WHERE type = 'MODEL_CALL'
