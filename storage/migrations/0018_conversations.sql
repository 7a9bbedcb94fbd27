-- Conversations: each question of a thread with what it was taken to be about, its answer, and what its asker thought of it.
CREATE TABLE IF NOT EXISTS conversation_turn (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  thread_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  number INT UNSIGNED NOT NULL,
  trace_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  incident_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_us BIGINT NOT NULL,
  question TEXT NOT NULL,
  focus MEDIUMTEXT NOT NULL,
  answer LONGTEXT NOT NULL,
  feedback TEXT NOT NULL,
  PRIMARY KEY (environment, thread_id, number),
  KEY by_time (environment, created_us)
) ENGINE=InnoDB;
