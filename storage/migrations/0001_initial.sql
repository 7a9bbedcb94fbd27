-- Every statement can run again: the server commits each one for itself, so a kill may leave a step half done.
-- Times are microseconds since 1970 UTC. Names that come from telemetry compare byte by byte (utf8mb4_bin).
-- `seq` is the number of the ingest batch that brought a row: it grows in commit order (see ingest_clock).

CREATE TABLE IF NOT EXISTS ingest_clock (
  id TINYINT UNSIGNED NOT NULL PRIMARY KEY,
  seq BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB;

INSERT IGNORE INTO ingest_clock (id, seq) VALUES (1, 0);

CREATE TABLE IF NOT EXISTS ingest_batch (
  seq BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  batch_key CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  received_us BIGINT NOT NULL,
  accepted INT UNSIGNED NOT NULL,
  duplicate INT UNSIGNED NOT NULL,
  rejected INT UNSIGNED NOT NULL,
  UNIQUE KEY batch_once (environment, kind, batch_key)
) ENGINE=InnoDB;

-- How far each follower of the ingested rows has come (the topology projection is one).
CREATE TABLE IF NOT EXISTS follower (
  name VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  seq BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB;

INSERT IGNORE INTO follower (name, seq) VALUES ('topology', 0);

CREATE TABLE IF NOT EXISTS log_template (
  id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  mask_version SMALLINT UNSIGNED NOT NULL,
  text TEXT NOT NULL
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS log_event (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  seq BIGINT UNSIGNED NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  time_us BIGINT NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  level TINYINT UNSIGNED NOT NULL,
  template_id BIGINT UNSIGNED NOT NULL,
  node VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  trace_id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  span_id VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  message MEDIUMTEXT NOT NULL,
  attributes MEDIUMTEXT NOT NULL,
  PRIMARY KEY (id),
  KEY by_seq (seq),
  KEY by_time (environment, time_us),
  KEY by_service (environment, service, level, time_us),
  KEY by_template (environment, template_id, time_us),
  KEY by_trace (trace_id)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS log_count (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  slot_us BIGINT NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  template_id BIGINT UNSIGNED NOT NULL,
  level TINYINT UNSIGNED NOT NULL,
  count INT UNSIGNED NOT NULL,
  first_us BIGINT NOT NULL,
  last_us BIGINT NOT NULL,
  PRIMARY KEY (environment, slot_us, service, template_id, level)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS span (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  trace_id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  span_id VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  parent_id VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  name VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  kind TINYINT UNSIGNED NOT NULL,
  start_us BIGINT NOT NULL,
  duration_us BIGINT NOT NULL,
  error TINYINT(1) NOT NULL,
  status_message TEXT NOT NULL,
  node VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  version VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  peer VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  attributes MEDIUMTEXT NOT NULL,
  PRIMARY KEY (environment, trace_id, span_id),
  KEY by_seq (seq),
  KEY by_time (environment, start_us),
  KEY by_parent (environment, trace_id, parent_id),
  KEY by_service (environment, service, start_us)
) ENGINE=InnoDB;

-- Calls between two services per slot, joined from a span and its parent's span once both are stored.
CREATE TABLE IF NOT EXISTS call_slot (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  slot_us BIGINT NOT NULL,
  caller VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  callee VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  count INT UNSIGNED NOT NULL,
  errors INT UNSIGNED NOT NULL,
  caller_us BIGINT NOT NULL,
  callee_us BIGINT NOT NULL,
  PRIMARY KEY (environment, slot_us, caller, callee)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS metric_point (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  name VARCHAR(191) COLLATE utf8mb4_bin NOT NULL,
  series CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  time_us BIGINT NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  value DOUBLE NOT NULL,
  node VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  source VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  destination VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  attributes TEXT NOT NULL,
  PRIMARY KEY (environment, service, name, series, time_us),
  KEY by_seq (seq),
  KEY by_time (environment, time_us)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS change_event (
  id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  time_us BIGINT NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  version VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  summary TEXT NOT NULL,
  actor VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  attributes TEXT NOT NULL,
  PRIMARY KEY (environment, id),
  KEY by_time (environment, time_us)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS orchestrator_event (
  id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  time_us BIGINT NOT NULL,
  kind VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  object VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  reason VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (environment, id),
  KEY by_time (environment, time_us)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS alert (
  id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  time_us BIGINT NOT NULL,
  ended_us BIGINT NULL,
  source VARCHAR(32) COLLATE utf8mb4_bin NOT NULL,
  name VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  fingerprint VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  severity VARCHAR(32) COLLATE utf8mb4_bin NOT NULL,
  summary TEXT NOT NULL,
  runbook_url TEXT NOT NULL,
  labels TEXT NOT NULL,
  PRIMARY KEY (environment, id),
  KEY by_time (environment, time_us)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS stated_edge (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  source VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  target VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  observed_by VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  valid_from_us BIGINT NOT NULL,
  valid_to_us BIGINT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (environment, source, target, kind, observed_by, valid_from_us),
  KEY by_seq (seq)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS incident (
  id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  thread_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  trace_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_us BIGINT NOT NULL,
  started_us BIGINT NULL,
  ended_us BIGINT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  question TEXT NOT NULL,
  outcome VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  answer MEDIUMTEXT NOT NULL,
  PRIMARY KEY (id),
  KEY by_time (environment, created_us)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS evidence (
  id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  record_key TEXT NOT NULL,
  digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  query VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  text TEXT NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  time_us BIGINT NOT NULL,
  entities TEXT NOT NULL,
  found_by VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  found_us BIGINT NOT NULL,
  PRIMARY KEY (environment, id),
  KEY by_trace (found_by),
  KEY by_id (id)
) ENGINE=InnoDB;

-- One row per stage, decision, ledger entry and so on of an agent run; an amendment is a new event, never an edit.
CREATE TABLE IF NOT EXISTS trace_event (
  trace_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq INT UNSIGNED NOT NULL,
  event_id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  type VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  span_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  time_us BIGINT NOT NULL,
  payload MEDIUMTEXT NOT NULL,
  PRIMARY KEY (trace_id, seq),
  UNIQUE KEY event_once (event_id)
) ENGINE=InnoDB;

-- The fold of a trace's events, for lists.
CREATE TABLE IF NOT EXISTS trace (
  id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  question TEXT NOT NULL,
  status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  outcome VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  action VARCHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  started_us BIGINT NOT NULL,
  ended_us BIGINT NULL,
  decisions INT UNSIGNED NOT NULL,
  queries INT UNSIGNED NOT NULL,
  evidence INT UNSIGNED NOT NULL,
  PRIMARY KEY (id),
  KEY by_time (environment, started_us)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS job (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  queue VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  idempotency_key CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  payload MEDIUMTEXT NOT NULL,
  status VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  attempts INT UNSIGNED NOT NULL,
  run_after_us BIGINT NOT NULL,
  lease_until_us BIGINT NOT NULL,
  created_us BIGINT NOT NULL,
  ended_us BIGINT NULL,
  result MEDIUMTEXT NULL,
  UNIQUE KEY job_once (queue, idempotency_key),
  KEY due (queue, status, run_after_us)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS blob_index (
  digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  bytes BIGINT UNSIGNED NOT NULL,
  stored_bytes BIGINT UNSIGNED NOT NULL,
  created_us BIGINT NOT NULL
) ENGINE=InnoDB;

-- Keys are kept as BLAKE3 hashes; the key itself is shown once, when it is made.
CREATE TABLE IF NOT EXISTS api_key (
  id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  name VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  role VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_us BIGINT NOT NULL,
  revoked_us BIGINT NULL,
  UNIQUE KEY hash_once (hash)
) ENGINE=InnoDB;
