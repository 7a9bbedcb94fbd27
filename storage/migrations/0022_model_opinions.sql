-- What model judges said, so that the same input is judged once by the same model under the same version of a policy.
CREATE TABLE IF NOT EXISTS model_opinion (
  input_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  model VARCHAR(191) COLLATE utf8mb4_bin NOT NULL,
  reply MEDIUMTEXT NOT NULL,
  created_us BIGINT NOT NULL,
  KEY by_time (created_us)
) ENGINE=InnoDB;
