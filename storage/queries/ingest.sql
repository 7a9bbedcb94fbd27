-- name: ingest_lock_clock
SELECT seq FROM ingest_clock WHERE id = 1 FOR UPDATE

-- name: ingest_advance_clock
UPDATE ingest_clock SET seq = ? WHERE id = 1

-- name: ingest_read_clock
SELECT seq FROM ingest_clock WHERE id = 1

-- name: ingest_find_batch
SELECT seq, accepted, duplicate, rejected FROM ingest_batch WHERE environment = ? AND kind = ? AND batch_key = ?

-- name: ingest_add_batch
INSERT INTO ingest_batch (seq, environment, kind, batch_key, received_us, accepted, duplicate, rejected)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- The rows that exist already are left as they are and count as no row touched. Not INSERT IGNORE: that would also
-- turn every other error (a value too long, a missing one) into a silent change of the row.
-- name: ingest_add_templates
INSERT INTO log_template (id, mask_version, text) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE id = id

-- name: ingest_add_logs
INSERT INTO log_event (seq, environment, time_us, service, level, template_id, node, trace_id, span_id, message,
  attributes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: ingest_add_counts
INSERT INTO log_count (environment, slot_us, service, template_id, level, count, first_us, last_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE count = count + VALUES(count), first_us = LEAST(first_us, VALUES(first_us)),
  last_us = GREATEST(last_us, VALUES(last_us))

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
  summary, runbook_url, labels) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: ingest_resolve_alert
UPDATE alert SET seq = ?, status = 'resolved', ended_us = ? WHERE environment = ? AND id = ?

-- name: ingest_add_edges
INSERT INTO stated_edge (seq, environment, source, target, kind, observed_by, valid_from_us, valid_to_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE
  seq = IF(stated_edge.valid_to_us <=> VALUES(valid_to_us), stated_edge.seq, VALUES(seq)),
  valid_to_us = VALUES(valid_to_us)
