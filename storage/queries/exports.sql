-- Raw telemetry page by page, in the order of time; each page begins after the last row of the one before.

-- name: export_logs
SELECT e.time_us, e.service, e.level, e.message, t.text, e.node, e.trace_id, e.span_id, e.attributes, e.template_id, e.id
FROM log_event AS e FORCE INDEX (by_time) LEFT JOIN log_template AS t ON t.id = e.template_id
WHERE e.environment = ? AND e.time_us < ? AND e.seq <= ? AND e.time_us >= ? AND (e.time_us > ? OR e.id > ?)
ORDER BY e.time_us, e.id LIMIT ?

-- name: export_spans
SELECT start_us, service, name, kind, duration_us, error, status_message, peer, node, version, parent_id, attributes,
  trace_id, span_id
FROM span WHERE environment = ? AND start_us < ? AND seq <= ? AND start_us >= ? AND (start_us > ? OR (trace_id, span_id) > (?, ?))
ORDER BY start_us, trace_id, span_id LIMIT ?

-- name: export_metrics
SELECT time_us, value, node, source, destination, attributes, service, name, series
FROM metric_point
WHERE environment = ? AND time_us < ? AND seq <= ? AND time_us >= ? AND (time_us > ? OR (service, name, series) > (?, ?, ?))
ORDER BY time_us, service, name, series LIMIT ?

-- name: count_exported_logs
SELECT COUNT(*) FROM log_event FORCE INDEX (by_time)
WHERE environment = ? AND time_us < ? AND seq <= ? AND time_us >= ?

-- name: count_exported_spans
SELECT COUNT(*) FROM span WHERE environment = ? AND start_us < ? AND seq <= ? AND start_us >= ?

-- name: count_exported_metrics
SELECT COUNT(*) FROM metric_point WHERE environment = ? AND time_us < ? AND seq <= ? AND time_us >= ?
