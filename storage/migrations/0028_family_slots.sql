-- Places in families of templates that were found to hold names. What was opened stays open: rows are only ever added.
CREATE TABLE IF NOT EXISTS family_slot (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  version SMALLINT UNSIGNED NOT NULL,
  id BIGINT UNSIGNED NOT NULL,
  text TEXT NOT NULL,
  opened_us BIGINT NOT NULL,
  PRIMARY KEY (environment, version, id)
) ENGINE=InnoDB;
