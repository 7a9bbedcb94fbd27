-- Everything that arrived before the first delivery that is young enough, and that the topology has dealt with. Not "the last
-- one that is too old": after a clock was wrong for a while, that one may lie among the newest.
-- name: retention_cutoff
SELECT LEAST(
  COALESCE((SELECT MIN(seq) - 1 FROM ingest_batch WHERE received_us >= ?), (SELECT seq FROM ingest_clock WHERE id = 1)),
  (SELECT seq FROM follower WHERE name = 'topology'))

-- Deliveries that are too old, but that the topology has not read.
-- name: retention_held
SELECT COUNT(*) FROM ingest_batch WHERE seq > (SELECT seq FROM follower WHERE name = 'topology') AND received_us < ?

-- name: retention_drop_logs
DELETE FROM log_event WHERE seq <= ? ORDER BY seq LIMIT ?

-- name: retention_drop_arrivals
DELETE FROM log_arrival WHERE seq <= ? ORDER BY seq LIMIT ?

-- name: retention_drop_spans
DELETE FROM span WHERE seq <= ? ORDER BY seq LIMIT ?

-- name: retention_drop_metrics
DELETE FROM metric_point WHERE seq <= ? ORDER BY seq LIMIT ?

-- name: retention_counts
SELECT (SELECT COUNT(*) FROM log_event FORCE INDEX (by_seq) WHERE seq <= ?),
  (SELECT COUNT(*) FROM span FORCE INDEX (by_seq) WHERE seq <= ?),
  (SELECT COUNT(*) FROM metric_point FORCE INDEX (by_seq) WHERE seq <= ?)

-- name: retention_oldest
SELECT MIN(received_us) FROM ingest_batch WHERE seq >= LEAST(
  COALESCE((SELECT MIN(seq) FROM log_event), 18446744073709551615),
  COALESCE((SELECT MIN(seq) FROM span), 18446744073709551615),
  COALESCE((SELECT MIN(seq) FROM metric_point), 18446744073709551615))

-- Of other programs alone, and not while a person still has a case about one.
-- name: old_agent_traces
SELECT t.id FROM trace t
WHERE t.source = 'ingest' AND t.stored_us < ?
  AND NOT EXISTS (SELECT 1 FROM review_case c WHERE c.trace_id = t.id AND c.status <> 'resolved')
ORDER BY t.stored_us LIMIT ?

-- name: still_old_agent_trace
SELECT id FROM trace WHERE id = ? AND stored_us < ? FOR UPDATE

-- name: drop_trace_events
DELETE FROM trace_event WHERE trace_id = ?

-- name: drop_trace_evaluations
DELETE FROM evaluation WHERE trace_id = ?

-- name: drop_trace_reviews
DELETE FROM trace_review WHERE trace_id = ?

-- name: drop_trace_flags
DELETE FROM trace_flag WHERE trace_id = ?

-- name: drop_trace_case_events
DELETE FROM case_event WHERE case_id IN (SELECT id FROM review_case WHERE trace_id = ?)

-- name: drop_trace_cases
DELETE FROM review_case WHERE trace_id = ?

-- name: drop_trace
DELETE FROM trace WHERE id = ?

-- name: take_partition_lock
SELECT GET_LOCK(CONCAT('causegraph-partitions-', DATABASE()), 0)

-- name: release_partition_lock
SELECT RELEASE_LOCK(CONCAT('causegraph-partitions-', DATABASE()))

-- name: log_partitions
SELECT partition_name, partition_description FROM information_schema.partitions
WHERE table_schema = DATABASE() AND table_name = 'log_event' ORDER BY partition_ordinal_position

-- name: log_events_after
SELECT 1 FROM log_event FORCE INDEX (by_seq) WHERE seq > ? AND time_us >= ? AND time_us < ? LIMIT 1

-- name: count_log_events
SELECT COUNT(*) FROM log_event WHERE time_us >= ? AND time_us < ?

-- name: refresh_sizes
ANALYZE TABLE log_event, span, metric_point

-- name: raw_sizes
SELECT COALESCE(SUM(data_length + index_length), 0), COALESCE(SUM(table_rows), 0) FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name IN ('log_event', 'span', 'metric_point')

-- What there is to drop: the oldest delivery of which something is left, and the newest that the topology has dealt with.
-- name: raw_deliveries
SELECT LEAST(
  COALESCE((SELECT MIN(seq) FROM log_event), 18446744073709551615),
  COALESCE((SELECT MIN(seq) FROM span), 18446744073709551615),
  COALESCE((SELECT MIN(seq) FROM metric_point), 18446744073709551615)),
  (SELECT seq FROM follower WHERE name = 'topology')
