-- Requests per operation and slot, by when they ended: what symptoms are noticed in. `durations` is a latency sketch.
CREATE TABLE IF NOT EXISTS request_slot (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  slot_us BIGINT NOT NULL,
  operation VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  requests INT UNSIGNED NOT NULL,
  errors INT UNSIGNED NOT NULL,
  roots INT UNSIGNED NOT NULL,
  durations VARCHAR(4000) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  PRIMARY KEY (environment, service, slot_us, operation)
) ENGINE=InnoDB;

-- Up to where (time of the records) the requests of a service were judged, and how late its records come.
CREATE TABLE IF NOT EXISTS watched_service (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  evaluated_us BIGINT NOT NULL,
  lag_us BIGINT NOT NULL,
  PRIMARY KEY (environment, service)
) ENGINE=InnoDB;

-- Symptoms that were noticed without a question. `decided` says that it is settled whether one leads to an
-- investigation; `incident_id` is that investigation, '' where there is none.
CREATE TABLE IF NOT EXISTS symptom (
  id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  operation VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  started_us BIGINT NOT NULL,
  noticed_us BIGINT NOT NULL,
  ended_us BIGINT NULL,
  bad BIGINT UNSIGNED NOT NULL,
  requests BIGINT UNSIGNED NOT NULL,
  usual DOUBLE NOT NULL,
  slow_us BIGINT NOT NULL,
  roots BIGINT UNSIGNED NOT NULL,
  opened_us BIGINT NOT NULL,
  incident_id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  decided TINYINT(1) NOT NULL,
  PRIMARY KEY (id),
  KEY by_time (environment, noticed_us),
  KEY by_decision (decided, opened_us)
) ENGINE=InnoDB;

-- 'symptoms' begins with what comes from now on.
INSERT IGNORE INTO follower (name, seq) SELECT 'symptoms', seq FROM ingest_clock;
