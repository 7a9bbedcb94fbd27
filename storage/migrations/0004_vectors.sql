-- What texts mean, as vectors of one embedder per corpus; see storage/vectors.py. A vector index cannot be combined with
-- partitions, a second one, or a column that may be NULL, so each corpus has a narrow table of its own.

CREATE TABLE IF NOT EXISTS embedding_space (
  corpus VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  embedder VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  dimension SMALLINT UNSIGNED NOT NULL
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS template_vector (
  id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  embedding VECTOR(384) NOT NULL,
  VECTOR INDEX by_embedding (embedding) M=16 DISTANCE=cosine
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS chunk_vector (
  id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  embedding VECTOR(384) NOT NULL,
  VECTOR INDEX by_embedding (embedding) M=16 DISTANCE=cosine
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS runbook_vector (
  id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  embedding VECTOR(384) NOT NULL,
  VECTOR INDEX by_embedding (embedding) M=16 DISTANCE=cosine
) ENGINE=InnoDB;
