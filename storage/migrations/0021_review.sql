-- Versions of policies; which one holds is said by activations, the newest that is effective first.
CREATE TABLE IF NOT EXISTS policy (
  name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  version INT UNSIGNED NOT NULL,
  description TEXT NOT NULL,
  definition MEDIUMTEXT NOT NULL,
  created_us BIGINT NOT NULL,
  created_by VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  PRIMARY KEY (name, version)
) ENGINE=InnoDB;

-- An empty environment means every one that has no activation of its own.
CREATE TABLE IF NOT EXISTS policy_activation (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  version INT UNSIGNED NOT NULL,
  effective_us BIGINT NOT NULL,
  activated_us BIGINT NOT NULL,
  activated_by VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  KEY by_environment (environment, effective_us)
) ENGINE=InnoDB;

-- What a judge and a policy made of a run, with the signals that it was made of, so that another policy can be tried on them.
CREATE TABLE IF NOT EXISTS evaluation (
  id CHAR(17) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  trace_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_us BIGINT NOT NULL,
  judge VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  intent VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  outcome VARCHAR(16) COLLATE utf8mb4_bin NOT NULL,
  confidence DOUBLE NULL,
  policy VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  policy_version INT UNSIGNED NOT NULL,
  rule VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  action VARCHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reason VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  severity VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  input_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  signals MEDIUMTEXT NOT NULL,
  gaps MEDIUMTEXT NOT NULL,
  UNIQUE KEY once (trace_id, judge, input_hash),
  KEY by_input (input_hash),
  KEY by_time (environment, created_us)
) ENGINE=InnoDB;

-- What people say of a run; the newest of a reviewer counts.
CREATE TABLE IF NOT EXISTS trace_review (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  trace_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reviewer VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  passed TINYINT NULL,
  note TEXT NOT NULL,
  tags TEXT NOT NULL,
  created_us BIGINT NOT NULL,
  KEY by_trace (trace_id, id)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS review_case (
  id CHAR(17) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  trace_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  evaluation_id CHAR(17) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  incident_id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  severity VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reason VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  title TEXT NOT NULL,
  opened_us BIGINT NOT NULL,
  changed_us BIGINT NOT NULL,
  UNIQUE KEY once (trace_id, reason),
  KEY by_status (status, opened_us)
) ENGINE=InnoDB;

-- Everything that happened to a case, in order; nothing is ever changed here.
CREATE TABLE IF NOT EXISTS case_event (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  case_id CHAR(17) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  time_us BIGINT NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  actor VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  text TEXT NOT NULL,
  KEY by_case (case_id, id)
) ENGINE=InnoDB;

-- What stands out and should be looked at by a person; a flag about the same thing is raised once per run.
CREATE TABLE IF NOT EXISTS trace_flag (
  trace_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  about VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  text TEXT NOT NULL,
  raised_us BIGINT NOT NULL,
  settled_us BIGINT NULL,
  settled_by VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  PRIMARY KEY (trace_id, kind, about),
  KEY by_time (raised_us)
) ENGINE=InnoDB;
