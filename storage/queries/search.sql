-- What may be found by a search, each within an environment and a window (start <= time < end); see storage/search.py.

-- Who wrote errors: lines of level ERROR and above.
-- name: search_errors
SELECT service, SUM(count) AS errors FROM log_count
WHERE environment = ? AND slot_us >= ? AND slot_us < ? AND level >= 17 GROUP BY service ORDER BY errors DESC, service LIMIT ?

-- How many log templates were written, counted up to a bound.
-- name: search_count_written
SELECT COUNT(*) FROM (
  SELECT 1 FROM observed_edge WHERE environment = ? AND kind = 'EMITTED' AND last_us >= ? AND first_us < ? LIMIT ?) AS w

-- name: search_written
SELECT CAST(o.target AS UNSIGNED), o.source, MAX(o.level), SUM(o.count), SUM(o.errors), MIN(o.first_us), MAX(o.last_us)
FROM observed_edge AS o
WHERE o.environment = ? AND o.kind = 'EMITTED' AND o.last_us >= ? AND o.first_us < ?
GROUP BY o.target, o.source

-- name: search_written_of
SELECT CAST(o.target AS UNSIGNED), o.source, MAX(o.level), SUM(o.count), SUM(o.errors), MIN(o.first_us), MAX(o.last_us)
FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) AS j
STRAIGHT_JOIN observed_edge AS o FORCE INDEX (by_target)
  ON o.environment = ? AND o.kind = 'EMITTED' AND o.target = j.id AND o.last_us >= ? AND o.first_us < ?
GROUP BY o.target, o.source

-- name: search_template_words
SET STATEMENT max_statement_time = 2 FOR
SELECT id, MATCH (words) AGAINST (?) AS score FROM log_template WHERE MATCH (words) AGAINST (?) ORDER BY score DESC LIMIT ?

-- The newest line of each of some templates.
-- name: search_newest_lines
SELECT e.id, e.time_us, e.service, e.level, e.template_id, e.node, e.trace_id, e.span_id, LEFT(e.message, 2000), ''
FROM (
  SELECT (
    SELECT n.id FROM log_event AS n FORCE INDEX (by_template)
    WHERE n.environment = ? AND n.template_id = j.id AND n.time_us >= ? AND n.time_us < ? ORDER BY n.time_us DESC LIMIT 1) AS id
  FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS j) AS newest
STRAIGHT_JOIN log_event AS e ON e.id = newest.id

-- name: search_newest_line
SELECT time_us FROM log_event FORCE INDEX (by_time)
WHERE environment = ? AND time_us >= ? AND time_us < ? ORDER BY time_us DESC LIMIT 1

-- name: search_lines
SET STATEMENT max_statement_time = 1 FOR
SELECT id, time_us, service, level, template_id, node, trace_id, span_id, LEFT(message, 2000), ''
FROM log_event FORCE INDEX (by_time)
WHERE environment = ? AND time_us >= ? AND time_us < ? AND LOCATE(?, message) > 0
ORDER BY time_us DESC, id DESC LIMIT ?

-- name: search_lines_of_trace
SELECT e.id, e.time_us, e.service, e.level, e.template_id, e.node, e.trace_id, e.span_id, LEFT(e.message, 2000), ''
FROM JSON_TABLE(?, '$[*]' COLUMNS (slot INT PATH '$' ERROR ON ERROR)) AS s
STRAIGHT_JOIN log_event AS e FORCE INDEX (by_trace_slot) ON e.trace_slot = s.slot AND e.trace_key = CRC32(?)
WHERE e.trace_id = ? AND e.environment = ? AND e.time_us >= ? AND e.time_us < ?
ORDER BY e.level DESC, e.time_us, e.id LIMIT ?

-- name: search_span_of_trace
SELECT service, name, start_us, duration_us, error, LEFT(status_message, 500), span_id,
  (SELECT COUNT(*) FROM span AS o WHERE o.environment = s.environment AND o.trace_id = s.trace_id)
FROM span AS s WHERE environment = ? AND trace_id = ? AND start_us >= ? AND start_us < ? ORDER BY parent_id <> '', start_us LIMIT 1

-- name: search_changes
SELECT id, time_us, service, kind, version, summary, actor FROM change_event
WHERE environment = ? AND time_us >= ? AND time_us < ? ORDER BY time_us DESC LIMIT ?

-- name: search_changes_of
SELECT c.id, c.time_us, c.service, c.kind, c.version, c.summary, c.actor
FROM JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin PATH '$')) AS j
STRAIGHT_JOIN change_event AS c ON c.environment = ? AND c.id = j.id AND c.time_us >= ? AND c.time_us < ?

-- name: search_events
SELECT id, time_us, kind, object, service, reason, text FROM orchestrator_event
WHERE environment = ? AND time_us >= ? AND time_us < ? ORDER BY time_us DESC LIMIT ?

-- name: search_incidents
SELECT id, created_us, started_us, service, title, question, outcome, LEFT(JSON_VALUE(answer, '$.answer'), 1200),
  JSON_VALUE(answer, '$.verdict.causes[0].service'), JSON_VALUE(answer, '$.verdict.causes[0].fault_class'),
  JSON_VALUE(answer, '$.runbook.id'), signature
FROM incident
WHERE (? = '' OR environment = ?) AND created_us >= ? AND created_us < ? AND merged_into = '' AND status <> 'pending'
  AND (outcome <> '' OR origin <> 'question')
ORDER BY created_us DESC LIMIT ?

-- name: search_incidents_state
SELECT COUNT(*), COALESCE(SUM(CRC32(trace_id)), 0) FROM incident

-- name: search_runs
SELECT id, started_us, question, name, service, outcome, status, LEFT(search_text, 600) FROM trace
WHERE environment = ? AND started_us >= ? AND started_us < ? ORDER BY started_us DESC LIMIT ?
