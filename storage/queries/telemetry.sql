-- Reading what was ingested. Windows are half-open: start <= time < end.

-- name: span_extent
SELECT MIN(start_us), MAX(start_us), COUNT(*) FROM span
WHERE environment = ? AND start_us >= ? AND start_us < ?

-- name: log_extent
SELECT MIN(time_us), MAX(time_us) FROM log_event WHERE environment = ? AND time_us >= ? AND time_us < ?

-- An entry is a span in which a service takes work in: a server or consumer span, or one whose parent is elsewhere.
-- name: entry_buckets
SELECT service, name, (start_us DIV ?) AS bucket, COUNT(*), SUM(error), AVG(LN(1 + duration_us)), SUM(duration_us > ?), SUM(parent_id = '')
FROM span
WHERE environment = ? AND start_us >= ? AND start_us < ? AND start_us + duration_us <= ? AND (kind IN (2, 5) OR parent_id = '')
GROUP BY service, name, bucket

-- name: bad_entries
SELECT trace_id, span_id FROM span
WHERE environment = ? AND service = ? AND name = ? AND start_us >= ? AND start_us < ? AND start_us + duration_us <= ? AND (error OR duration_us > ?)
  AND (kind IN (2, 5) OR parent_id = '')
ORDER BY start_us LIMIT ?

-- name: first_bad_entry
SELECT MIN(start_us) FROM span
WHERE environment = ? AND service = ? AND name = ? AND start_us >= ? AND start_us < ? AND start_us + duration_us <= ?
  AND IF(? IS NULL, error, duration_us > ?) AND (kind IN (2, 5) OR parent_id = '')

-- name: last_entries
SELECT trace_id, span_id FROM span
WHERE environment = ? AND service = ? AND name = ? AND start_us >= ? AND start_us < ? AND start_us + duration_us <= ? AND (kind IN (2, 5) OR parent_id = '')
ORDER BY start_us DESC LIMIT ?

-- name: error_spans
SELECT trace_id, span_id FROM span WHERE environment = ? AND start_us >= ? AND start_us < ? AND start_us + duration_us <= ? AND error
ORDER BY start_us LIMIT ?

-- name: spans_of_traces
SELECT s.trace_id, s.span_id, s.parent_id, s.service, s.name, s.kind, s.start_us, s.duration_us, s.error, s.status_message, s.peer, s.node, s.version
FROM JSON_TABLE(?, '$[*]' COLUMNS (trace_id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) AS t
STRAIGHT_JOIN span AS s ON s.environment = ? AND s.trace_id = t.trace_id
WHERE s.start_us >= ? AND s.start_us < ? AND s.start_us + s.duration_us <= ? LIMIT ?

-- name: traces_sample
SELECT DISTINCT trace_id FROM span
WHERE environment = ? AND start_us >= ? AND start_us < ? AND parent_id = '' ORDER BY CRC32(trace_id) LIMIT ?

-- name: span_activity
SELECT service, COUNT(*), SUM(error), AVG(LN(1 + duration_us)), MIN(start_us), MAX(start_us)
FROM span WHERE environment = ? AND start_us >= ? AND start_us < ? AND start_us + duration_us <= ? AND (kind IN (2, 5) OR parent_id = '')
GROUP BY service

-- name: slot_level_buckets
SELECT service, (slot_us DIV ?) AS bucket, SUM(IF(level >= 17, count, 0)), SUM(count), MIN(IF(level >= 17, first_us, NULL))
FROM log_count WHERE environment = ? AND slot_us >= ? AND slot_us < ?
GROUP BY service, bucket

-- name: event_level_buckets
SELECT service, (time_us DIV ?) AS bucket, SUM(level >= 17), COUNT(*), MIN(IF(level >= 17, time_us, NULL))
FROM log_event WHERE environment = ? AND time_us >= ? AND time_us < ?
GROUP BY service, bucket

-- name: template_texts
SELECT t.id, t.text FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS j
STRAIGHT_JOIN log_template AS t ON t.id = j.id

-- name: templates_first_written
SELECT j.id, (
  SELECT MIN(c.first_us) FROM log_count AS c FORCE INDEX (by_template)
  WHERE c.environment = ? AND c.template_id = j.id AND c.slot_us = (
    SELECT MIN(f.slot_us) FROM log_count AS f FORCE INDEX (by_template)
    WHERE f.environment = ? AND f.template_id = j.id)) AS first_us
FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS j HAVING first_us < ?

-- name: log_examples
SELECT id, time_us, service, level, template_id, node, trace_id, span_id, message, attributes
FROM log_event WHERE environment = ? AND template_id = ? AND service = ? AND time_us >= ? AND time_us < ?
ORDER BY time_us LIMIT ?

-- name: traced_lines
SELECT l.service, l.trace_id, l.span_id, l.template_id, l.time_us, COALESCE(s.name, '')
FROM (
  SELECT environment, service, trace_id, span_id, template_id, time_us FROM log_event
  WHERE environment = ? AND time_us >= ? AND time_us < ? AND span_id <> '' ORDER BY time_us LIMIT ?
) AS l LEFT JOIN span AS s ON s.environment = l.environment AND s.trace_id = l.trace_id AND s.span_id = l.span_id

-- name: operation_counts
SELECT service, name, COUNT(*) FROM span
WHERE environment = ? AND start_us >= ? AND start_us < ? AND start_us + duration_us <= ? GROUP BY service, name

-- Only services of which more than one version answered.
-- name: version_loads
SELECT s.service, s.version, (s.start_us - ?) DIV ?, COUNT(*), SUM(s.error), SUM(s.duration_us), MIN(s.start_us)
FROM span AS s
JOIN (
  SELECT service FROM span WHERE environment = ? AND start_us >= ? AND start_us < ? AND version <> ''
  GROUP BY service HAVING COUNT(DISTINCT version) > 1
) AS several ON several.service = s.service
WHERE s.environment = ? AND s.start_us >= ? AND s.start_us < ? AND s.version <> '' AND (s.kind IN (2, 5) OR s.parent_id = '')
GROUP BY s.service, s.version, (s.start_us - ?) DIV ?

-- name: version_examples
SELECT trace_id, span_id FROM span
WHERE environment = ? AND service = ? AND version = ? AND start_us >= ? AND start_us < ? AND (kind IN (2, 5) OR parent_id = '')
ORDER BY error DESC, duration_us DESC, start_us LIMIT 2

-- name: metric_names
SELECT DISTINCT name FROM metric_point WHERE environment = ? AND time_us >= ? AND time_us < ? ORDER BY name LIMIT ?

-- name: meter_points
SELECT service, name, series, IF(destination = '', service, destination), source, attributes, time_us, value
FROM metric_point
WHERE environment = ? AND time_us >= ? AND time_us < ?
  AND name IN (SELECT j.name FROM JSON_TABLE(?, '$[*]' COLUMNS (
    name VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) AS j)
ORDER BY time_us DESC LIMIT ?

-- name: changes_between
SELECT id, time_us, service, kind, version, summary, actor FROM change_event
WHERE environment = ? AND time_us >= ? AND time_us < ? ORDER BY time_us LIMIT ?

-- name: orchestrator_events_between
SELECT id, time_us, kind, object, service, reason, text FROM orchestrator_event
WHERE environment = ? AND time_us >= ? AND time_us < ? ORDER BY time_us LIMIT ?

-- name: alerts_firing
SELECT time_us, name, service, summary FROM alert
WHERE environment = ? AND time_us >= ? AND time_us < ? AND status = 'firing' ORDER BY time_us LIMIT ?

-- name: metric_shifts
SELECT service, name, series,
  SUM(time_us < ?), AVG(IF(time_us < ?, value, NULL)), STDDEV(IF(time_us < ?, value, NULL)), MAX(IF(time_us < ?, value, NULL)),
  SUM(time_us >= ?), AVG(IF(time_us >= ?, value, NULL)), MAX(IF(time_us >= ?, value, NULL)), MIN(IF(time_us >= ?, value, NULL)),
  MAX(IF(destination = '', service, destination))
FROM metric_point WHERE environment = ? AND time_us >= ? AND time_us < ?
GROUP BY service, name, series ORDER BY service, name, series LIMIT ?

-- name: metric_peak
SELECT time_us, value FROM metric_point
WHERE environment = ? AND service = ? AND name = ? AND series = ? AND time_us >= ? AND time_us < ?
ORDER BY ABS(value - ?) DESC, time_us LIMIT 1

-- name: known_services
SELECT DISTINCT service FROM (
  SELECT DISTINCT service FROM span WHERE environment = ? AND start_us >= ? AND start_us < ?
  UNION SELECT DISTINCT service FROM log_count WHERE environment = ? AND slot_us >= ? AND slot_us < ?
  UNION SELECT DISTINCT service FROM metric_point WHERE environment = ? AND time_us >= ? AND time_us < ? AND destination = ''
  UNION SELECT DISTINCT source FROM metric_point WHERE environment = ? AND time_us >= ? AND time_us < ? AND destination <> ''
  UNION SELECT DISTINCT destination FROM metric_point WHERE environment = ? AND time_us >= ? AND time_us < ? AND destination <> ''
) AS s ORDER BY service

-- name: entry_names
SELECT DISTINCT service, name FROM span
WHERE environment = ? AND start_us >= ? AND start_us < ? AND (kind = 2 OR parent_id = '') ORDER BY service, name LIMIT ?

-- name: environments
SELECT environment FROM (
  SELECT DISTINCT environment FROM span UNION SELECT DISTINCT environment FROM log_count
  UNION SELECT DISTINCT environment FROM metric_point UNION SELECT DISTINCT environment FROM change_event
  UNION SELECT DISTINCT environment FROM orchestrator_event UNION SELECT DISTINCT environment FROM stated_edge) AS known
ORDER BY environment LIMIT 1000

-- name: head_seq
SELECT COALESCE(MAX(seq), 0) FROM ingest_clock

-- The records behind evidence, each by its key.

-- name: log_record
SELECT id, time_us, service, level, template_id, node, trace_id, span_id, message, attributes
FROM log_event WHERE environment = ? AND id = ?

-- name: span_record
SELECT trace_id, span_id, parent_id, service, name, kind, start_us, duration_us, error, status_message, node, version, peer, attributes
FROM span WHERE environment = ? AND trace_id = ? AND span_id = ?

-- name: change_record
SELECT id, time_us, service, kind, version, summary, actor, attributes FROM change_event WHERE environment = ? AND id = ?

-- name: orchestrator_event_record
SELECT id, time_us, kind, object, service, reason, text FROM orchestrator_event WHERE environment = ? AND id = ?

-- name: metric_record
SELECT service, name, series, time_us, value, node, source, destination, attributes
FROM metric_point WHERE environment = ? AND service = ? AND name = ? AND series = ? AND time_us = ?

-- name: count_record
SELECT COUNT(*), MIN(time_us), MAX(time_us) FROM log_event
WHERE environment = ? AND template_id = ? AND service = ? AND time_us >= ? AND time_us < ? AND seq <= ?

-- name: requests_record
SELECT COUNT(*), COALESCE(SUM(error), 0), COALESCE(SUM(duration_us > ?), 0) FROM span
WHERE environment = ? AND service = ? AND name = ? AND start_us >= ? AND start_us < ? AND seq <= ? AND start_us + duration_us <= ? AND (kind IN (2, 5) OR parent_id = '')

-- name: operation_buckets
SELECT service, name, (start_us DIV ?) AS bucket, COUNT(*), SUM(error), AVG(LN(1 + duration_us)), SUM(duration_us > ?), SUM(parent_id = '')
FROM span
WHERE environment = ? AND service = ? AND name = ? AND start_us >= ? AND start_us < ? AND start_us + duration_us <= ? AND (kind IN (2, 5) OR parent_id = '')
GROUP BY service, name, bucket

-- name: root_services
SELECT service, COUNT(*) FROM span WHERE environment = ? AND start_us >= ? AND start_us < ? AND parent_id = ''
GROUP BY service

-- name: runbooks_named
SELECT DISTINCT runbook_url, name, service FROM alert
WHERE environment = ? AND time_us >= ? AND time_us < ? AND runbook_url <> '' LIMIT ?
