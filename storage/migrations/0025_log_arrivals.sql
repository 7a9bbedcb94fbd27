-- What each delivery brought of log lines, in a few rows: those who follow the ingest read these, not the lines.
CREATE TABLE IF NOT EXISTS log_arrival (
  seq BIGINT UNSIGNED NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  node VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  template_id BIGINT UNSIGNED NOT NULL,
  level TINYINT UNSIGNED NOT NULL,
  slot_us BIGINT NOT NULL,
  count INT UNSIGNED NOT NULL,
  first_us BIGINT NOT NULL,
  last_us BIGINT NOT NULL,
  PRIMARY KEY (seq, environment, service, node, template_id, level, slot_us)
) ENGINE=InnoDB;

-- Of what the topology has not dealt with yet.
INSERT INTO log_arrival (seq, environment, service, node, template_id, level, slot_us, count, first_us, last_us)
SELECT e.seq, e.environment, e.service, e.node, e.template_id, e.level, e.time_us - e.time_us MOD 10000000 AS slot_us,
  COUNT(*), MIN(e.time_us), MAX(e.time_us)
FROM log_event AS e FORCE INDEX (by_seq) WHERE e.seq > (SELECT f.seq FROM follower AS f WHERE f.name = 'topology')
GROUP BY e.seq, e.environment, e.service, e.node, e.template_id, e.level, slot_us
ON DUPLICATE KEY UPDATE seq = log_arrival.seq;

-- Nobody looks lines up by it, and ids that come in no order are dear to keep sorted.
ALTER TABLE log_event DROP INDEX IF EXISTS by_trace;
