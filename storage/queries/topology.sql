-- From ingested rows to the topology. A range of batches is half-open on the left: after < seq <= upto.

-- name: topology_positions
SELECT (SELECT seq FROM ingest_clock WHERE id = 1), (SELECT seq FROM follower WHERE name = 'topology'),
  (SELECT seq FROM follower WHERE name = 'graph')

-- Empty where another process holds the row: it is doing the work.
-- name: topology_hold
SELECT seq FROM follower WHERE name = ? FOR UPDATE SKIP LOCKED

-- name: topology_hold_waiting
SELECT seq FROM follower WHERE name = ? FOR UPDATE

-- name: topology_advance
UPDATE follower SET seq = ? WHERE name = ?

-- A pair is counted when the later of its two spans comes: either the child is new, and its parent is there by now, or
-- the parent is new and the child was there before. The two cases exclude each other.
-- name: topology_calls
SELECT environment, slot_us, caller, callee, COUNT(*), SUM(error), SUM(caller_us), SUM(callee_us), MIN(start_us), MAX(start_us),
  FLOOR(4 * LOG2(GREATEST(1, IF(asking, caller_us, callee_us)))) AS bucket
FROM (
  SELECT c.environment, p.start_us - p.start_us MOD ? AS slot_us, p.service AS caller, c.service AS callee,
    (c.error OR p.error) AS error, p.duration_us AS caller_us, c.duration_us AS callee_us, p.start_us, p.kind IN (3, 4) AS asking
  FROM span AS c FORCE INDEX (by_seq)
  STRAIGHT_JOIN span AS p FORCE INDEX (PRIMARY)
    ON p.environment = c.environment AND p.trace_id = c.trace_id AND p.span_id = c.parent_id
  WHERE c.seq > ? AND c.seq <= ? AND c.parent_id <> '' AND p.seq <= ? AND p.service <> c.service
  UNION ALL
  SELECT c.environment, p.start_us - p.start_us MOD ?, p.service, c.service,
    (c.error OR p.error), p.duration_us, c.duration_us, p.start_us, p.kind IN (3, 4)
  FROM span AS p FORCE INDEX (by_seq)
  STRAIGHT_JOIN span AS c FORCE INDEX (by_parent)
    ON c.environment = p.environment AND c.trace_id = p.trace_id AND c.parent_id = p.span_id
  WHERE p.seq > ? AND p.seq <= ? AND p.span_id <> '' AND c.seq <= ? AND p.service <> c.service
) AS pair
GROUP BY environment, slot_us, caller, callee, bucket

-- name: topology_span_sightings
SELECT environment, 'RUNS_ON', service, node, 'traces', MIN(start_us), MAX(start_us), COUNT(*), SUM(error), 0
FROM span FORCE INDEX (by_seq) WHERE seq > ? AND seq <= ?
GROUP BY environment, service, node, start_us DIV ?

-- name: topology_log_sightings
SELECT environment, 'RUNS_ON', service, node, 'logs', MIN(first_us), MAX(last_us), SUM(count), SUM(IF(level >= ?, count, 0)),
  0
FROM log_arrival WHERE seq > ? AND seq <= ?
GROUP BY environment, service, node, first_us DIV ?

-- name: topology_emissions
SELECT environment, 'EMITTED', service, template_id, 'logs', MIN(first_us), MAX(last_us), SUM(count),
  SUM(IF(level >= ?, count, 0)), MAX(level)
FROM log_arrival WHERE seq > ? AND seq <= ?
GROUP BY environment, service, template_id, first_us DIV ?

-- name: topology_template_texts
SELECT t.id, t.text FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS j
STRAIGHT_JOIN log_template AS t ON t.id = j.id

-- Equal lines are taken together, within a window.
-- name: topology_said_lines
SELECT environment, service, LEFT(message, 600) AS said, MIN(time_us), MAX(time_us), COUNT(*), SUM(level >= ?)
FROM log_event FORCE INDEX (by_seq)
WHERE seq > ? AND seq <= ?
  AND template_id IN (SELECT j.id FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS j)
GROUP BY environment, service, said, time_us DIV ?
ORDER BY environment, service, said LIMIT ?

-- Which of these names a service reports under, or was stated to call from.
-- name: topology_known_names
SELECT j.name
FROM JSON_TABLE(?, '$[*]' COLUMNS (name VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) AS j
WHERE EXISTS (SELECT 1 FROM observed_edge AS e WHERE e.environment = ? AND e.kind = 'RUNS_ON' AND e.source = j.name)
  OR EXISTS (SELECT 1 FROM stated_edge AS s WHERE s.environment = ? AND s.source = j.name)

-- name: topology_services_on
SELECT DISTINCT e.target, e.source
FROM JSON_TABLE(?, '$[*]' COLUMNS (node VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) AS j
STRAIGHT_JOIN observed_edge AS e ON e.environment = ? AND e.kind = 'RUNS_ON' AND e.target = j.node

-- name: topology_said_targets
SELECT DISTINCT target FROM observed_edge
WHERE environment = ? AND kind = 'CALLS' AND source = ? AND observed_by = 'logs'

-- A point says that the two are connected, not how often one called the other.
-- name: topology_metric_sightings
SELECT environment, 'CALLS', source, destination, 'metrics', MIN(time_us), MAX(time_us), COUNT(*), 0, 0
FROM metric_point FORCE INDEX (by_seq)
WHERE seq > ? AND seq <= ? AND source <> '' AND destination <> '' AND source <> destination
GROUP BY environment, source, destination, time_us DIV ?

-- name: topology_add_calls
INSERT INTO call_slot (environment, slot_us, caller, callee, count, errors, caller_us, callee_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE count = count + VALUES(count), errors = errors + VALUES(errors),
  caller_us = caller_us + VALUES(caller_us), callee_us = callee_us + VALUES(callee_us)

-- name: topology_intervals
SELECT e.environment, e.kind, e.source, e.target, e.observed_by, e.first_us, e.last_us, e.count, e.errors, e.level
FROM JSON_TABLE(?, '$[*]' COLUMNS (
  environment VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[0]',
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin PATH '$[1]',
  source VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[2]',
  target VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[3]',
  observed_by VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin PATH '$[4]')) AS j
STRAIGHT_JOIN observed_edge AS e FORCE INDEX (PRIMARY) ON e.environment = j.environment AND e.kind = j.kind
  AND e.source = j.source AND e.target = j.target AND e.observed_by = j.observed_by

-- name: topology_remove_interval
DELETE FROM observed_edge
WHERE environment = ? AND kind = ? AND source = ? AND target = ? AND observed_by = ? AND first_us = ?

-- name: topology_put_interval
INSERT INTO observed_edge (environment, kind, source, target, observed_by, first_us, last_us, count, errors, level, seq)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE last_us = VALUES(last_us), count = VALUES(count), errors = VALUES(errors),
  level = VALUES(level), seq = VALUES(seq)

-- Peers: what a CLIENT (3) or PRODUCER (4) span calls. A span below it takes the call if it is of another service, or is
-- itself such a span: then the outer one tells of the same call. A call counts while nothing has taken it: from when it
-- comes, or until the first span comes that takes it. Attributes are read only where they may name a peer.

-- name: topology_peer_calls
SELECT 1, p.environment, p.service, p.peer,
  IF(p.attributes LIKE '%"db.%' OR p.attributes LIKE '%"messaging.%' OR p.attributes LIKE '%"peer.service"%', p.attributes, ''),
  p.start_us - p.start_us MOD ?, p.error, p.duration_us
FROM span AS p FORCE INDEX (by_seq)
WHERE p.seq > ? AND p.seq <= ? AND p.kind IN (3, 4) AND NOT EXISTS (
  SELECT 1 FROM span AS c FORCE INDEX (by_parent)
  WHERE c.environment = p.environment AND c.trace_id = p.trace_id AND c.parent_id = p.span_id AND c.seq <= ?
    AND (c.service <> p.service OR c.kind IN (3, 4)))
UNION ALL
SELECT -1, p.environment, p.service, p.peer,
  IF(p.attributes LIKE '%"db.%' OR p.attributes LIKE '%"messaging.%' OR p.attributes LIKE '%"peer.service"%', p.attributes, ''),
  p.start_us - p.start_us MOD ?, p.error, p.duration_us
FROM (
  SELECT DISTINCT q.environment, q.trace_id, q.span_id
  FROM span AS c FORCE INDEX (by_seq)
  STRAIGHT_JOIN span AS q FORCE INDEX (PRIMARY)
    ON q.environment = c.environment AND q.trace_id = c.trace_id AND q.span_id = c.parent_id
  WHERE c.seq > ? AND c.seq <= ? AND c.parent_id <> '' AND q.seq <= ? AND q.kind IN (3, 4)
    AND q.seq > (SELECT seq FROM follower WHERE name = 'peers') AND (c.service <> q.service OR c.kind IN (3, 4))
) AS taken
STRAIGHT_JOIN span AS p FORCE INDEX (PRIMARY)
  ON p.environment = taken.environment AND p.trace_id = taken.trace_id AND p.span_id = taken.span_id
WHERE NOT EXISTS (
  SELECT 1 FROM span AS c FORCE INDEX (by_parent)
  WHERE c.environment = p.environment AND c.trace_id = p.trace_id AND c.parent_id = p.span_id AND c.seq <= ?
    AND (c.service <> p.service OR c.kind IN (3, 4)))

-- name: topology_answered_calls
SELECT DISTINCT environment, peer,
  IF(attributes LIKE '%"db.%' OR attributes LIKE '%"messaging.%' OR attributes LIKE '%"peer.service"%', attributes, '')
FROM (
  SELECT p.environment, p.peer, p.attributes
  FROM span AS c FORCE INDEX (by_seq)
  STRAIGHT_JOIN span AS p FORCE INDEX (PRIMARY)
    ON p.environment = c.environment AND p.trace_id = c.trace_id AND p.span_id = c.parent_id
  WHERE c.seq > ? AND c.seq <= ? AND c.parent_id <> '' AND p.seq <= ? AND p.kind IN (3, 4) AND p.service <> c.service
  UNION ALL
  SELECT p.environment, p.peer, p.attributes
  FROM span AS p FORCE INDEX (by_seq)
  STRAIGHT_JOIN span AS c FORCE INDEX (by_parent)
    ON c.environment = p.environment AND c.trace_id = p.trace_id AND c.parent_id = p.span_id
  WHERE p.seq > ? AND p.seq <= ? AND p.kind IN (3, 4) AND c.seq <= ? AND p.service <> c.service
) AS pair

-- name: topology_known_answered
SELECT a.environment, a.peer
FROM JSON_TABLE(?, '$[*]' COLUMNS (
  environment VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[0]',
  peer VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[1]')) AS j
STRAIGHT_JOIN answered_peer AS a FORCE INDEX (PRIMARY) ON a.environment = j.environment AND a.peer = j.peer

-- name: topology_add_answered
INSERT INTO answered_peer (environment, peer) VALUES (?, ?)

-- name: topology_callers_of_peer
SELECT DISTINCT source FROM observed_edge FORCE INDEX (PRIMARY)
WHERE environment = ? AND kind = 'CALLS' AND observed_by = ? AND target = ?

-- name: topology_drop_peer_slots
DELETE FROM peer_slot WHERE environment = ? AND caller = ? AND peer = ?

-- name: topology_add_peer_calls
INSERT INTO peer_slot (environment, caller, peer, slot_us, count, errors) VALUES (?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE count = count + VALUES(count), errors = errors + VALUES(errors)

-- name: topology_remove_empty_peer_slot
DELETE FROM peer_slot WHERE environment = ? AND caller = ? AND peer = ? AND slot_us = ? AND count = 0

-- name: topology_peer_slots
SELECT environment, 'CALLS', caller, peer, ?, slot_us, slot_us, count, errors, 0
FROM peer_slot WHERE environment = ? AND caller = ? AND peer = ?

-- From the topology to the graph.

-- Which of these names a service has reported under.
-- name: topology_reporting
SELECT DISTINCT j.name
FROM JSON_TABLE(?, '$[*]' COLUMNS (name VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) AS j
STRAIGHT_JOIN observed_edge AS e FORCE INDEX (PRIMARY) ON e.environment = ? AND e.kind = 'RUNS_ON' AND e.source = j.name

-- name: topology_touched_environments
SELECT environment FROM observed_edge WHERE seq > ?
UNION SELECT environment FROM stated_edge WHERE seq > ?
UNION SELECT environment FROM change_event WHERE seq > ?

-- All intervals of every edge that changed, not only the changed ones.
-- name: topology_observed_since
SELECT e.environment, e.kind, e.source, e.target, e.observed_by, e.first_us, e.last_us, e.count, e.errors, e.level
FROM (SELECT DISTINCT kind, source, target, observed_by FROM observed_edge WHERE environment = ? AND seq > ?) AS t
STRAIGHT_JOIN observed_edge AS e FORCE INDEX (PRIMARY) ON e.environment = ? AND e.kind = t.kind AND e.source = t.source
  AND e.target = t.target AND e.observed_by = t.observed_by

-- name: topology_stated_since
SELECT e.environment, e.source, e.target, e.kind, e.observed_by, e.valid_from_us, e.valid_to_us
FROM (SELECT DISTINCT kind, source, target, observed_by FROM stated_edge WHERE environment = ? AND seq > ?) AS t
STRAIGHT_JOIN stated_edge AS e FORCE INDEX (PRIMARY) ON e.environment = ? AND e.source = t.source AND e.target = t.target
  AND e.kind = t.kind AND e.observed_by = t.observed_by

-- name: topology_changes_since
SELECT id, time_us, service, kind, version FROM change_event WHERE environment = ? AND seq > ?
