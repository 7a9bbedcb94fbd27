-- Calls per minute and edge, with a latency sketch (`durations`, on the caller's side): they outlive the spans. Each call
-- counts once; one to a peer is taken out again when a span comes late that took it.
CREATE TABLE IF NOT EXISTS call_minute (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  caller VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  callee VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  observed_by VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  minute_us BIGINT NOT NULL,
  count INT NOT NULL,
  errors INT NOT NULL,
  durations VARCHAR(4000) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  PRIMARY KEY (environment, caller, callee, observed_by, minute_us),
  KEY by_minute (environment, minute_us)
) ENGINE=InnoDB;
