-- Lines for people: by text and in the order of their storing.

-- name: logs_matching
SELECT id, time_us, service, level, template_id, node, trace_id, span_id, message, attributes FROM log_event
WHERE environment = ? AND time_us >= ? AND time_us < ? AND (time_us < ? OR (time_us = ? AND id < ?))
  AND (? = '' OR service = ?) AND level >= ? AND (? = '' OR LOCATE(?, message) > 0)
ORDER BY time_us DESC, id DESC LIMIT ?

-- name: logs_last_id
SELECT COALESCE(MAX(id), 0) FROM log_event

-- name: logs_after
SELECT id, time_us, service, level, template_id, node, trace_id, span_id, message, attributes FROM log_event
WHERE id > ? AND id <= ? AND environment = ? AND (? = '' OR service = ?) AND level >= ? ORDER BY id LIMIT ?
