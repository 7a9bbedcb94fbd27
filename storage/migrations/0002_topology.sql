-- What telemetry showed of the topology, as intervals of time; the graph is a projection of these rows and can be
-- written again from them. An interval holds from first_us to last_us and a lifetime longer. `target` is a service, a
-- node ('' where the service was seen but its node is not known) or a template's id. `seq` is the ingest batch up to
-- which the follower had read when it changed the row.
CREATE TABLE IF NOT EXISTS observed_edge (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  source VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  target VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  observed_by VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  first_us BIGINT NOT NULL,
  last_us BIGINT NOT NULL,
  count BIGINT UNSIGNED NOT NULL,
  errors BIGINT UNSIGNED NOT NULL,
  level TINYINT UNSIGNED NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (environment, kind, source, target, observed_by, first_us),
  KEY by_seq (seq)
) ENGINE=InnoDB;

ALTER TABLE change_event ADD KEY IF NOT EXISTS by_seq (seq);

-- 'topology' writes call_slot and observed_edge, 'graph' writes the graph from them.
INSERT IGNORE INTO follower (name, seq) VALUES ('graph', 0);
