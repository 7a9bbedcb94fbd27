-- name: ingest_lock_clock
SELECT seq FROM ingest_clock WHERE id = 1 FOR UPDATE

-- name: ingest_advance_clock
UPDATE ingest_clock SET seq = ? WHERE id = 1

-- name: ingest_read_clock
SELECT seq FROM ingest_clock WHERE id = 1

-- name: ingest_find_batches
SELECT b.environment, b.kind, b.batch_key, b.seq, b.accepted, b.duplicate
FROM JSON_TABLE(?, '$[*]' COLUMNS (
  environment VARCHAR(65) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[0]' ERROR ON ERROR,
  kind VARCHAR(17) CHARACTER SET ascii COLLATE ascii_bin PATH '$[1]' ERROR ON ERROR,
  batch_key CHAR(65) CHARACTER SET ascii COLLATE ascii_bin PATH '$[2]' ERROR ON ERROR)) AS j
STRAIGHT_JOIN ingest_batch AS b
  ON b.environment = j.environment AND b.kind = j.kind AND b.batch_key = j.batch_key

-- name: ingest_add_batch
INSERT INTO ingest_batch (seq, environment, kind, batch_key, received_us, accepted, duplicate, rejected)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- The rows that exist already are left as they are and count as no row touched. Not INSERT IGNORE: that would also
-- turn every other error (a value too long, a missing one) into a silent change of the row.
-- name: ingest_add_templates
INSERT INTO log_template (id, mask_version, text) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE id = id

-- The lines of deliveries as a file of our own, whose fields and lines end in control characters that no field holds. The
-- server turns what does not fit into warnings here: whoever runs this counts them.
-- name: ingest_load_logs
LOAD DATA LOCAL INFILE ? INTO TABLE log_event CHARACTER SET utf8mb4
FIELDS TERMINATED BY X'1F' ESCAPED BY '' LINES TERMINATED BY X'1E'
(seq, environment, time_us, service, level, template_id, node, trace_id, span_id, message, attributes)

-- Rows that come by the thousand are one parameter, a JSON array of arrays: it costs the sender a tenth of what a
-- parameter per value does. JSON_TABLE cuts a text silently: its columns are wider by one, so that
-- those of the table refuse it.
-- The same lines where the server takes no file.
-- name: ingest_add_logs
INSERT INTO log_event (seq, environment, time_us, service, level, template_id, node, trace_id, span_id, message,
  attributes)
SELECT j.seq, j.environment, j.time_us, j.service, j.level, j.template_id, j.node, j.trace_id, j.span_id, j.message,
  j.attributes
FROM JSON_TABLE(CONVERT(? USING utf8mb4), '$[*]' COLUMNS (
  seq BIGINT UNSIGNED PATH '$[0]' ERROR ON ERROR,
  environment VARCHAR(65) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[1]' ERROR ON ERROR,
  time_us BIGINT PATH '$[2]' ERROR ON ERROR,
  service VARCHAR(129) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[3]' ERROR ON ERROR,
  level BIGINT PATH '$[4]' ERROR ON ERROR,
  template_id BIGINT UNSIGNED PATH '$[5]' ERROR ON ERROR,
  node VARCHAR(129) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[6]' ERROR ON ERROR,
  trace_id VARCHAR(33) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[7]' ERROR ON ERROR,
  span_id VARCHAR(17) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[8]' ERROR ON ERROR,
  message MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[9]' ERROR ON ERROR,
  attributes MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[10]' ERROR ON ERROR)) AS j

-- name: ingest_add_counts
INSERT INTO log_count (environment, slot_us, service, template_id, level, count, first_us, last_us)
SELECT j.environment, j.slot_us, j.service, j.template_id, j.level, j.count, j.first_us, j.last_us
FROM JSON_TABLE(CONVERT(? USING utf8mb4), '$[*]' COLUMNS (
  environment VARCHAR(65) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[0]' ERROR ON ERROR,
  slot_us BIGINT PATH '$[1]' ERROR ON ERROR,
  service VARCHAR(129) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[2]' ERROR ON ERROR,
  template_id BIGINT UNSIGNED PATH '$[3]' ERROR ON ERROR,
  level BIGINT PATH '$[4]' ERROR ON ERROR,
  count BIGINT PATH '$[5]' ERROR ON ERROR,
  first_us BIGINT PATH '$[6]' ERROR ON ERROR,
  last_us BIGINT PATH '$[7]' ERROR ON ERROR)) AS j
ON DUPLICATE KEY UPDATE count = log_count.count + VALUES(count), first_us = LEAST(log_count.first_us, VALUES(first_us)),
  last_us = GREATEST(log_count.last_us, VALUES(last_us))

-- name: ingest_add_arrivals
INSERT INTO log_arrival (seq, environment, service, node, template_id, level, slot_us, count, first_us, last_us)
SELECT j.seq, j.environment, j.service, j.node, j.template_id, j.level, j.slot_us, j.count, j.first_us, j.last_us
FROM JSON_TABLE(CONVERT(? USING utf8mb4), '$[*]' COLUMNS (
  seq BIGINT UNSIGNED PATH '$[0]' ERROR ON ERROR,
  environment VARCHAR(65) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[1]' ERROR ON ERROR,
  service VARCHAR(129) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[2]' ERROR ON ERROR,
  node VARCHAR(129) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[3]' ERROR ON ERROR,
  template_id BIGINT UNSIGNED PATH '$[4]' ERROR ON ERROR,
  level BIGINT PATH '$[5]' ERROR ON ERROR,
  slot_us BIGINT PATH '$[6]' ERROR ON ERROR,
  count BIGINT PATH '$[7]' ERROR ON ERROR,
  first_us BIGINT PATH '$[8]' ERROR ON ERROR,
  last_us BIGINT PATH '$[9]' ERROR ON ERROR)) AS j
ON DUPLICATE KEY UPDATE count = log_arrival.count + VALUES(count),
  first_us = LEAST(log_arrival.first_us, VALUES(first_us)), last_us = GREATEST(log_arrival.last_us, VALUES(last_us))

-- name: ingest_add_spans
INSERT INTO span (seq, environment, trace_id, span_id, parent_id, service, name, kind, start_us, duration_us, error,
  status_message, node, version, peer, attributes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE span_id = span.span_id

-- name: ingest_add_metrics
INSERT INTO metric_point (seq, environment, service, name, series, time_us, value, node, source, destination,
  attributes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE series = metric_point.series

-- name: ingest_add_changes
INSERT INTO change_event (seq, environment, id, time_us, service, kind, version, summary, actor, attributes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE id = change_event.id

-- name: ingest_add_events
INSERT INTO orchestrator_event (seq, environment, id, time_us, kind, object, service, reason, text)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE id = orchestrator_event.id

-- name: ingest_find_alert
SELECT status, ended_us FROM alert WHERE environment = ? AND id = ?

-- name: ingest_find_open_alert
SELECT id FROM alert WHERE environment = ? AND source = ? AND fingerprint = ? AND status = 'firing'
ORDER BY time_us DESC LIMIT 1

-- name: ingest_add_alert
INSERT INTO alert (seq, environment, id, time_us, ended_us, source, name, status, fingerprint, service, severity,
  summary, runbook_url, labels, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: ingest_resolve_alert
UPDATE alert SET seq = ?, status = 'resolved', ended_us = ? WHERE environment = ? AND id = ?

-- name: ingest_add_edges
INSERT INTO stated_edge (seq, environment, source, target, kind, observed_by, valid_from_us, valid_to_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE
  seq = IF(stated_edge.valid_to_us <=> VALUES(valid_to_us), stated_edge.seq, VALUES(seq)),
  valid_to_us = VALUES(valid_to_us)

-- name: open_alerts
SELECT environment, time_us, name, fingerprint, service, severity, summary, runbook_url, labels
FROM alert FORCE INDEX (by_status) WHERE status = 'firing' AND source = ? AND time_us < ?
ORDER BY environment, time_us, id LIMIT ?
