-- Requests as they go by, and the symptoms noticed in them. A range of batches: after < seq <= upto.

-- name: watch_positions
SELECT (SELECT seq FROM follower WHERE name = 'symptoms'), (SELECT seq FROM ingest_clock WHERE id = 1)

-- An entry is a span in which a service takes work in; it counts where it ended, which is when its outcome was known.
-- name: watch_requests
SELECT environment, service, name, (start_us + duration_us) - (start_us + duration_us) MOD ? AS slot_us,
  FLOOR(4 * LOG2(GREATEST(1, duration_us))) AS bucket, COUNT(*), SUM(error), SUM(parent_id = '')
FROM span FORCE INDEX (by_seq)
WHERE seq > ? AND seq <= ? AND (kind IN (2, 5) OR parent_id = '')
GROUP BY environment, service, name, slot_us, bucket

-- Lines in place of requests: of level ERROR and above, and all of them.
-- name: watch_lines
SELECT environment, service, slot_us - slot_us MOD ? AS slot, SUM(count), SUM(IF(level >= 17, count, 0))
FROM log_arrival WHERE seq > ? AND seq <= ? GROUP BY environment, service, slot

-- The names are those that `diagnosis.meters.role_of` may know; which they are it says itself.
-- name: watch_points
SELECT environment, service, name, series, IF(destination = '', service, destination), source, attributes, time_us, value
FROM metric_point FORCE INDEX (by_seq)
WHERE seq > ? AND seq <= ? AND name NOT REGEXP '(?i)bucket$' AND name REGEXP
  '(?i)error|fault|fail|5xx|exception|request|call|count|throughput|qps|rps|ops|invocation|latenc|duration|response|elapsed|availab|success|uptime|p[0-9][0-9]'
ORDER BY seq LIMIT ?

-- name: watch_earlier_points
SELECT environment, service, name, series, IF(destination = '', service, destination), source, attributes, time_us, value
FROM metric_point FORCE INDEX (by_time)
WHERE environment = ? AND time_us >= (SELECT MAX(evaluated_us) FROM watched_service WHERE environment = ?) - ?
  AND seq <= ? AND name NOT REGEXP '(?i)bucket$' AND name REGEXP
  '(?i)error|fault|fail|5xx|exception|request|call|count|throughput|qps|rps|ops|invocation|latenc|duration|response|elapsed|availab|success|uptime|p[0-9][0-9]'
ORDER BY time_us DESC LIMIT ?

-- name: watch_heard
SELECT environment, MAX(time_us) FROM (
  SELECT environment, MAX(start_us + duration_us) AS time_us FROM span FORCE INDEX (by_seq)
  WHERE seq > ? AND seq <= ? GROUP BY environment
  UNION ALL SELECT environment, MAX(last_us) FROM log_arrival
  WHERE seq > ? AND seq <= ? GROUP BY environment
  UNION ALL SELECT environment, MAX(time_us) FROM metric_point FORCE INDEX (by_seq)
  WHERE seq > ? AND seq <= ? GROUP BY environment
) AS heard GROUP BY environment

-- name: watch_known_slots
SELECT r.environment, r.service, r.operation, r.slot_us, r.requests, r.errors, r.roots, r.durations
FROM JSON_TABLE(?, '$[*]' COLUMNS (
  environment VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[0]',
  service VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[1]',
  slot_us BIGINT PATH '$[2]',
  operation VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[3]')) AS j
STRAIGHT_JOIN request_slot AS r FORCE INDEX (PRIMARY) ON r.environment = j.environment AND r.service = j.service
  AND r.slot_us = j.slot_us AND r.operation = j.operation

-- name: watch_put_slot
INSERT INTO request_slot (environment, service, operation, slot_us, requests, errors, roots, durations)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE requests = VALUES(requests), errors = VALUES(errors), roots = VALUES(roots),
  durations = VALUES(durations)

-- name: watch_recent_slots
SELECT r.environment, r.service, r.operation, r.slot_us, r.requests, r.errors, r.roots, r.durations
FROM watched_service AS w
STRAIGHT_JOIN request_slot AS r FORCE INDEX (PRIMARY) ON r.environment = w.environment AND r.service = w.service
  AND r.slot_us >= w.evaluated_us - ?
WHERE w.environment = ?

-- name: watch_reached
SELECT service, evaluated_us, lag_us FROM watched_service WHERE environment = ?

-- name: watch_put_reached
INSERT INTO watched_service (environment, service, evaluated_us, lag_us) VALUES (?, ?, ?, ?)
ON DUPLICATE KEY UPDATE evaluated_us = VALUES(evaluated_us), lag_us = VALUES(lag_us)

-- name: watch_drop_old_slots
DELETE FROM request_slot WHERE environment = ? AND service = ? AND slot_us < ? LIMIT 2000

-- name: symptoms_since
SELECT environment, service, operation, kind, status, started_us, noticed_us, ended_us, bad, requests, usual, slow_us, roots, opened_us, incident_id
FROM symptom FORCE INDEX (by_time) WHERE environment = ? AND (noticed_us >= ? OR status = 'open')

-- name: put_symptom
INSERT INTO symptom (id, environment, service, operation, kind, status, started_us, noticed_us, ended_us, bad, requests,
  usual, slow_us, roots, opened_us, incident_id, decided) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0)
ON DUPLICATE KEY UPDATE status = VALUES(status), ended_us = VALUES(ended_us), bad = VALUES(bad),
  requests = VALUES(requests), roots = VALUES(roots)

-- name: list_symptoms
SELECT environment, service, operation, kind, status, started_us, noticed_us, ended_us, bad, requests, usual, slow_us, roots, opened_us, incident_id
FROM symptom WHERE (? = '' OR environment = ?) AND (? = '' OR status = ?) AND noticed_us < ?
ORDER BY noticed_us DESC, id LIMIT ?

-- name: one_symptom
SELECT environment, service, operation, kind, status, started_us, noticed_us, ended_us, bad, requests, usual, slow_us, roots, opened_us, incident_id
FROM symptom WHERE id = ?

-- name: undecided_symptoms
SELECT environment, service, operation, kind, status, started_us, noticed_us, ended_us, bad, requests, usual, slow_us, roots, opened_us, incident_id
FROM symptom FORCE INDEX (by_decision) WHERE decided = 0 ORDER BY opened_us, roots = 0, noticed_us, id LIMIT 100

-- name: decide_symptom
UPDATE symptom SET decided = 1, incident_id = ? WHERE id = ? AND decided = 0

-- name: related_investigation
SELECT incident_id FROM symptom
WHERE environment = ? AND incident_id <> '' AND noticed_us >= ? AND noticed_us <= ? ORDER BY noticed_us LIMIT 1

-- name: count_investigations
SELECT COUNT(DISTINCT incident_id) FROM symptom FORCE INDEX (by_decision)
WHERE decided = 1 AND opened_us >= ? AND incident_id <> ''
