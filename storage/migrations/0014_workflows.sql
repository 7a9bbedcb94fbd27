-- A run of a workflow. `plan` is exactly what is to be done; `open_key` keeps the same thing from being proposed twice.
CREATE TABLE IF NOT EXISTS workflow_run (
  id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  workflow_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  revision CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  incident_id VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  trace_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  proposed_by VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reason TEXT NOT NULL,
  request LONGTEXT NOT NULL,
  plan LONGTEXT NOT NULL,
  open_key CHAR(64) CHARACTER SET ascii COLLATE ascii_bin,
  created_us BIGINT NOT NULL,
  started_us BIGINT,
  ended_us BIGINT,
  UNIQUE KEY open_once (open_key),
  KEY by_environment (environment, created_us),
  KEY by_incident (incident_id)
) ENGINE=InnoDB;

-- A step is written down before it is begun: one that is written down is never begun again.
CREATE TABLE IF NOT EXISTS workflow_step (
  run_id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  number SMALLINT UNSIGNED NOT NULL,
  part VARCHAR(4) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  status VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  name VARCHAR(200) COLLATE utf8mb4_bin NOT NULL,
  started_us BIGINT NOT NULL,
  ended_us BIGINT,
  result TEXT NOT NULL,
  PRIMARY KEY (run_id, number, part)
) ENGINE=InnoDB;

-- Who may let a run begin is bound to `digest`, the BLAKE3 of `document`: what is done, to what, in which state, why, until when.
CREATE TABLE IF NOT EXISTS approval (
  id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  run_id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  document LONGTEXT NOT NULL,
  proposed_by VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  needed TINYINT UNSIGNED NOT NULL,
  status VARCHAR(12) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_us BIGINT NOT NULL,
  expires_us BIGINT NOT NULL,
  decided_us BIGINT,
  KEY by_run (run_id),
  KEY by_status (status, created_us)
) ENGINE=InnoDB;

-- Append only: every attempt to decide or use an approval, also those that were refused.
CREATE TABLE IF NOT EXISTS approval_event (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  approval_id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  time_us BIGINT NOT NULL,
  actor VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  role VARCHAR(32) COLLATE utf8mb4_bin NOT NULL,
  via VARCHAR(16) COLLATE utf8mb4_bin NOT NULL,
  what VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  accepted BOOLEAN NOT NULL,
  digest VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  detail TEXT NOT NULL,
  KEY by_approval (approval_id, id)
) ENGINE=InnoDB;
