-- Incidents as they live. Columns of a live incident: id, environment, status, origin, title, severity, created_us,
-- updated_us, profile, firing, held, started_us, ended_us, merged_into.

-- name: follower_position
SELECT (SELECT seq FROM follower WHERE name = ?), (SELECT seq FROM ingest_clock WHERE id = 1)

-- name: grouping_waiting
SELECT a.environment, a.service, MAX(a.time_us) FROM alert AS a FORCE INDEX (by_seq)
WHERE a.seq > ? AND a.seq <= ? GROUP BY a.environment, a.service

-- name: grouping_alerts
SELECT a.seq, a.id, a.environment, a.time_us, a.ended_us, a.source, a.name, a.status, a.fingerprint, a.service, a.severity,
  a.labels, COALESCE(m.incident_id, '')
FROM alert AS a FORCE INDEX (by_seq) LEFT JOIN incident_alert AS m ON m.environment = a.environment AND m.alert_id = a.id
WHERE a.seq > ? AND a.seq <= ? ORDER BY a.seq, a.time_us, a.id

-- name: grouping_candidates
SELECT id, environment, status, origin, title, severity, created_us, updated_us, profile, firing, held, started_us, ended_us, merged_into
FROM incident FORCE INDEX (by_status)
WHERE status IN ('pending', 'open', 'investigating', 'identified', 'resolved') AND environment = ? AND updated_us >= ?
  AND merged_into = '' AND origin <> 'question' ORDER BY updated_us DESC LIMIT 200 FOR UPDATE

-- name: grouping_known
SELECT m.source, m.fingerprint, m.incident_id
FROM JSON_TABLE(?, '$[*]' COLUMNS (
  source VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[0]',
  fingerprint VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[1]')) AS j
STRAIGHT_JOIN incident_alert AS m FORCE INDEX (by_fingerprint)
  ON m.environment = ? AND m.source = j.source AND m.fingerprint = j.fingerprint
ORDER BY m.joined_us, m.alert_id

-- name: put_live_incident
INSERT INTO incident (id, environment, thread_id, trace_id, created_us, started_us, ended_us, service, question, outcome, answer,
  status, origin, title, severity, updated_us, firing, held, merged_into, profile)
VALUES (?, ?, ?, '', ?, ?, ?, ?, ?, '', '{}', ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE status = VALUES(status), severity = VALUES(severity), updated_us = VALUES(updated_us),
  firing = VALUES(firing), held = VALUES(held), merged_into = VALUES(merged_into), profile = VALUES(profile),
  started_us = VALUES(started_us), ended_us = VALUES(ended_us)

-- name: want_investigation
UPDATE incident SET wanted = 1, rounds = rounds + 1 WHERE id = ?

-- name: wanted_investigations
SELECT id, environment, status, origin, title, severity, created_us, updated_us, profile, firing, held, started_us, ended_us, merged_into, rounds
FROM incident WHERE wanted = 1 AND merged_into = '' ORDER BY created_us, id LIMIT 50

-- name: settle_wish
UPDATE incident SET wanted = 0 WHERE id = ? AND rounds = ?

-- name: put_incident_alert
INSERT INTO incident_alert (environment, alert_id, incident_id, source, fingerprint, joined_us) VALUES (?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE incident_id = VALUES(incident_id)

-- name: move_incident_alerts
UPDATE incident_alert SET incident_id = ? WHERE incident_id = ?

-- name: move_one_alert
UPDATE incident_alert SET incident_id = ?, joined_us = ? WHERE incident_id = ? AND alert_id = ?

-- name: move_incident_symptoms
UPDATE symptom SET incident_id = ? WHERE incident_id = ?

-- name: put_grouping_decision
INSERT INTO grouping_decision (incident_id, kind, subject, score, why, actor, time_us) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: put_incident_event
INSERT INTO incident_event (incident_id, time_us, kind, actor, text, details) VALUES (?, ?, ?, ?, ?, ?)

-- name: recount_firing
UPDATE incident SET updated_us = ?, firing = (
  SELECT COUNT(*) FROM incident_alert AS m JOIN alert AS a ON a.environment = m.environment AND a.id = m.alert_id
  WHERE m.incident_id = incident.id AND a.status = 'firing') WHERE id = ?

-- name: settled_incidents
SELECT i.id, i.environment, i.status, i.origin, i.title, i.severity, i.created_us, i.updated_us, i.profile, i.firing, i.held,
  i.started_us, i.ended_us, i.merged_into
FROM incident AS i WHERE i.status IN ('pending', 'open', 'investigating', 'identified') AND i.origin <> 'question'
  AND i.firing = 0 AND i.updated_us < ?
  AND NOT EXISTS (SELECT 1 FROM symptom AS s WHERE s.incident_id = i.id AND s.status = 'open')
ORDER BY i.updated_us LIMIT 100 FOR UPDATE SKIP LOCKED

-- name: forgotten_incidents
SELECT id, environment, status, origin, title, severity, created_us, updated_us, profile, firing, held, started_us, ended_us, merged_into
FROM incident WHERE status = 'resolved' AND origin <> 'question' AND updated_us < ? ORDER BY updated_us LIMIT 100 FOR UPDATE SKIP LOCKED

-- name: incident_end
SELECT MAX(a.ended_us), COUNT(*), COUNT(DISTINCT a.source, a.fingerprint) FROM incident_alert AS m
JOIN alert AS a ON a.environment = m.environment AND a.id = m.alert_id WHERE m.incident_id = ?

-- name: live_incident
SELECT id, environment, status, origin, title, severity, created_us, updated_us, profile, firing, held, started_us, ended_us, merged_into
FROM incident WHERE id = ?

-- name: live_incident_locked
SELECT id, environment, status, origin, title, severity, created_us, updated_us, profile, firing, held, started_us, ended_us, merged_into
FROM incident WHERE id = ? FOR UPDATE

-- name: set_incident_status
UPDATE incident SET status = ?, updated_us = ?, ended_us = ? WHERE id = ?

-- name: events_of_incident
SELECT incident_id, time_us, kind, text, actor, details FROM incident_event WHERE incident_id = ? ORDER BY id LIMIT ?

-- name: decisions_of_incident
SELECT incident_id, kind, subject, score, why, time_us, actor FROM grouping_decision WHERE incident_id = ? ORDER BY id LIMIT ?

-- name: alerts_of_incident
SELECT a.seq, a.id, a.environment, a.time_us, a.ended_us, a.source, a.name, a.status, a.fingerprint, a.service, a.severity,
  a.labels, a.summary, a.runbook_url, a.payload
FROM incident_alert AS m JOIN alert AS a ON a.environment = m.environment AND a.id = m.alert_id
WHERE m.incident_id = ? ORDER BY a.time_us, a.id LIMIT ?

-- name: rules_of_incident
SELECT a.source, a.name, a.service, COUNT(*), COUNT(DISTINCT a.fingerprint), SUM(a.status = 'firing'), MIN(a.time_us), MAX(a.time_us),
  MAX(a.ended_us)
FROM incident_alert AS m JOIN alert AS a ON a.environment = m.environment AND a.id = m.alert_id
WHERE m.incident_id = ? GROUP BY a.source, a.name, a.service ORDER BY MIN(a.time_us), a.name LIMIT ?

-- name: symptoms_of_incident
SELECT id, service, kind, status, started_us, noticed_us, ended_us FROM symptom WHERE incident_id = ? ORDER BY noticed_us LIMIT 200

-- name: put_signature
UPDATE incident SET signature = ? WHERE id = ?

-- name: earlier_signatures
SELECT id, signature FROM incident
WHERE environment = ? AND id <> ? AND created_us < ? AND outcome IN ('CONFIRMED', 'LIKELY') AND signature <> '[]' AND merged_into = ''
  AND NOT EXISTS (SELECT 1 FROM incident_event AS e WHERE e.incident_id = incident.id AND e.kind = 'feedback' AND e.text LIKE 'wrong%')
ORDER BY created_us DESC LIMIT 300

-- name: signature_templates
SELECT template_id FROM log_count
WHERE environment = ? AND slot_us >= ? AND slot_us < ? AND level >= 17 AND JSON_CONTAINS(?, JSON_QUOTE(service))
GROUP BY template_id ORDER BY SUM(count) DESC, template_id LIMIT 40

-- name: count_incident_investigations
SELECT COUNT(*) FROM incident_event FORCE INDEX (by_kind) WHERE kind = 'investigating' AND time_us >= ?

-- name: live_of_environment
SELECT id, environment, status, origin, title, severity, created_us, updated_us, profile, firing, held, started_us, ended_us, merged_into
FROM incident FORCE INDEX (by_status)
WHERE status IN ('pending', 'open', 'investigating', 'identified') AND environment = ? AND merged_into = '' AND origin <> 'question'
ORDER BY created_us LIMIT 100

-- What shows that an answer was right or wrong: a run of a workflow that was verified, and what people say.
-- name: said_to_help
SELECT e.id, i.id, i.environment, i.created_us, e.kind = 'feedback' AND e.text LIKE 'wrong%', i.answer
FROM incident_event AS e FORCE INDEX (by_kind) JOIN incident AS i ON i.id = e.incident_id
WHERE e.kind IN ('helped', 'feedback') AND e.id > ?
  AND (e.kind = 'helped' AND e.details LIKE '%"run_id"%' OR e.kind = 'feedback' AND (e.text LIKE 'right%' OR e.text LIKE 'wrong%'))
ORDER BY e.id LIMIT ?
