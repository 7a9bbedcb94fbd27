-- Who calls whom in a code root, and which statement writes which template, over time: what its graph is written from.

CREATE TABLE IF NOT EXISTS code_links (
  root_id CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  part SMALLINT UNSIGNED NOT NULL,
  state VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  edges LONGBLOB NOT NULL,
  PRIMARY KEY (root_id, part)
) ENGINE=InnoDB;
