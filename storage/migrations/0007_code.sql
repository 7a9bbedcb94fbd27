-- Code bases: which files a root holds, by content, and what was read from each content.

CREATE TABLE IF NOT EXISTS code_root (
  id CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  kind VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  location VARCHAR(1000) COLLATE utf8mb4_nopad_bin NOT NULL,
  branch VARCHAR(255) COLLATE utf8mb4_nopad_bin NOT NULL,
  generation BIGINT UNSIGNED NOT NULL,
  facts_version SMALLINT UNSIGNED NOT NULL,
  tree_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  commit_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  files INT UNSIGNED NOT NULL,
  bytes BIGINT UNSIGNED NOT NULL,
  added_us BIGINT NOT NULL,
  changed_us BIGINT NOT NULL,
  checked_us BIGINT NOT NULL,
  problems MEDIUMTEXT NOT NULL
) ENGINE=InnoDB;

-- Which service runs what is in a folder of a root ('' is the whole root).
CREATE TABLE IF NOT EXISTS code_service (
  root_id CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  folder VARCHAR(500) COLLATE utf8mb4_nopad_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  PRIMARY KEY (root_id, folder, service),
  KEY by_service (service)
) ENGINE=InnoDB;

-- `facts_key` is a hash of the content, its language and the version of what is read from it.
CREATE TABLE IF NOT EXISTS code_file (
  root_id CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  path VARCHAR(700) COLLATE utf8mb4_nopad_bin NOT NULL,
  content_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  facts_key CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  bytes INT UNSIGNED NOT NULL,
  PRIMARY KEY (root_id, path),
  KEY by_facts (facts_key)
) ENGINE=InnoDB;

-- Everything read from one content, packed; symbols and chunks are beside it as rows, to be searched.
CREATE TABLE IF NOT EXISTS code_facts (
  facts_key CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  content_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  language VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  version SMALLINT UNSIGNED NOT NULL,
  used_us BIGINT NOT NULL,
  facts LONGBLOB NOT NULL,
  KEY by_use (used_us)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS code_symbol (
  facts_key CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  number INT UNSIGNED NOT NULL,
  name VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  qualified VARCHAR(700) COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  start_line INT UNSIGNED NOT NULL,
  end_line INT UNSIGNED NOT NULL,
  PRIMARY KEY (facts_key, number),
  KEY by_name (name)
) ENGINE=InnoDB;

-- A chunk is kept once, whatever files hold it. `urgency`: chunks of files that write logs are embedded first (0).
CREATE TABLE IF NOT EXISTS code_chunk (
  id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  language VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  urgency TINYINT UNSIGNED NOT NULL,
  scope VARCHAR(700) COLLATE utf8mb4_bin NOT NULL,
  signature TEXT NOT NULL,
  doc TEXT NOT NULL,
  text MEDIUMTEXT NOT NULL
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS code_chunk_place (
  facts_key CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  number INT UNSIGNED NOT NULL,
  chunk_id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  start_line INT UNSIGNED NOT NULL,
  end_line INT UNSIGNED NOT NULL,
  PRIMARY KEY (facts_key, number),
  KEY by_chunk (chunk_id)
) ENGINE=InnoDB;
