-- How often log templates were written (storage/log_counts.py).

-- name: slot_template_counts
SELECT c.service, c.template_id, c.level, SUM(c.count), MIN(c.first_us), MAX(c.last_us)
FROM log_count AS c WHERE c.environment = ? AND c.slot_us >= ? AND c.slot_us < ?
GROUP BY c.service, c.template_id, c.level

-- The lines of a slot that are kept, and which part of them lies between two moments.
-- name: cut_template_counts
SELECT service, template_id, level, COUNT(*), SUM(time_us >= ? AND time_us < ?),
  MIN(IF(time_us >= ? AND time_us < ?, time_us, NULL)), MAX(IF(time_us >= ? AND time_us < ?, time_us, NULL))
FROM log_event WHERE environment = ? AND time_us >= ? AND time_us < ?
GROUP BY service, template_id, level

-- name: stepped_counts
SELECT (slot_us DIV ?) AS step, level, SUM(count) FROM log_count
WHERE environment = ? AND slot_us >= ? AND slot_us < ? AND (? = '' OR service = ?) AND level >= ?
  AND (? = 0 OR template_id = ?)
GROUP BY step, level
