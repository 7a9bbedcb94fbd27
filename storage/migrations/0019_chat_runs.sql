-- Questions asked over `POST /chat` while they are worked on and after; `touched_us` says that somebody still works on one.
CREATE TABLE IF NOT EXISTS chat_run (
  id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  thread_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  owner VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  segment INT UNSIGNED NOT NULL,
  created_us BIGINT NOT NULL,
  touched_us BIGINT NOT NULL,
  question TEXT NOT NULL,
  PRIMARY KEY (id),
  KEY by_status (status, touched_us)
) ENGINE=InnoDB;

-- What a run told, in order: a client that was cut off reads on from where it was.
CREATE TABLE IF NOT EXISTS chat_event (
  run_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq INT UNSIGNED NOT NULL,
  name VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  data LONGTEXT NOT NULL,
  PRIMARY KEY (run_id, seq)
) ENGINE=InnoDB;
