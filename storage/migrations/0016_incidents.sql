-- What was asked before stays as it was: a closed incident whose origin is a question.
ALTER TABLE incident
  ADD COLUMN IF NOT EXISTS status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'closed',
  ADD COLUMN IF NOT EXISTS origin VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'question',
  ADD COLUMN IF NOT EXISTS title VARCHAR(255) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  ADD COLUMN IF NOT EXISTS severity VARCHAR(32) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  ADD COLUMN IF NOT EXISTS updated_us BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS firing INT UNSIGNED NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS held TINYINT(1) NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS merged_into VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  ADD COLUMN IF NOT EXISTS wanted TINYINT(1) NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS rounds INT UNSIGNED NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS profile MEDIUMTEXT NOT NULL DEFAULT '{}',
  ADD COLUMN IF NOT EXISTS signature MEDIUMTEXT NOT NULL DEFAULT '[]',
  ADD KEY IF NOT EXISTS by_status (status, environment, updated_us),
  ADD KEY IF NOT EXISTS by_wish (wanted),
  ADD KEY IF NOT EXISTS by_creation (created_us);

ALTER TABLE symptom ADD KEY IF NOT EXISTS by_incident (incident_id, status);

-- An alert belongs to one incident at a time; the decisions say how it came there.
CREATE TABLE IF NOT EXISTS incident_alert (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  alert_id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  incident_id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  source VARCHAR(32) COLLATE utf8mb4_bin NOT NULL,
  fingerprint VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  joined_us BIGINT NOT NULL,
  PRIMARY KEY (environment, alert_id),
  KEY by_incident (incident_id),
  KEY by_fingerprint (environment, source, fingerprint, joined_us)
) ENGINE=InnoDB;

-- Why an alert or another incident (`subject`) was put into an incident or taken out of it. Never changed.
CREATE TABLE IF NOT EXISTS grouping_decision (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  incident_id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kind VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  subject VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  score DOUBLE NOT NULL,
  why TEXT NOT NULL,
  actor VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  time_us BIGINT NOT NULL,
  KEY by_incident (incident_id, id)
) ENGINE=InnoDB;

-- What happened to an incident beside its alerts. Never changed.
CREATE TABLE IF NOT EXISTS incident_event (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  incident_id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  time_us BIGINT NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  actor VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  text TEXT NOT NULL,
  details MEDIUMTEXT NOT NULL,
  KEY by_incident (incident_id, time_us),
  KEY by_kind (kind, time_us)
) ENGINE=InnoDB;

-- 'alerts' groups what comes from now on.
INSERT IGNORE INTO follower (name, seq) SELECT 'alerts', seq FROM ingest_clock;
