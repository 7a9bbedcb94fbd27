-- name: store_incident
INSERT INTO incident (id, environment, thread_id, trace_id, created_us, started_us, ended_us, service, question, outcome, answer)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE trace_id = VALUES(trace_id), 
  started_us = IF(origin = 'question', VALUES(started_us), COALESCE(started_us, VALUES(started_us))),
  ended_us = IF(origin = 'question', VALUES(ended_us), ended_us), service = IF(VALUES(service) = '', service, VALUES(service)), question = VALUES(question), outcome = VALUES(outcome), answer = VALUES(answer)

-- name: one_incident
SELECT id, environment, thread_id, trace_id, created_us, started_us, ended_us, service, question, outcome, answer,
  status, origin, title, severity, merged_into
FROM incident WHERE id = ?

-- name: list_incidents
SELECT id, environment, thread_id, trace_id, created_us, started_us, ended_us, service, question, outcome, answer,
  status, origin, title, severity, merged_into
FROM incident WHERE (? = '' OR environment = ?) AND created_us < ?
  AND (? = '' AND status <> 'pending' AND merged_into = '' OR status = ? OR (? = 'live' AND status IN ('open', 'investigating', 'identified'))) AND (? = '' OR origin = ?)
ORDER BY created_us DESC, id DESC LIMIT ?

-- name: incidents_of_thread
SELECT id, environment, thread_id, trace_id, created_us, started_us, ended_us, service, question, outcome, answer,
  status, origin, title, severity, merged_into
FROM incident WHERE environment = ? AND thread_id = ? ORDER BY created_us, id
