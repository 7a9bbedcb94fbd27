-- What is searched: the words of log templates (`_`, `.` and `/` part words), who wrote a template, and what past incidents
-- mean.

ALTER TABLE log_template
  ADD COLUMN IF NOT EXISTS words TEXT GENERATED ALWAYS AS (REPLACE(REPLACE(REPLACE(text, '_', ' '), '.', ' '), '/', ' ')) STORED,
  ADD FULLTEXT KEY IF NOT EXISTS by_words (words);

ALTER TABLE observed_edge ADD KEY IF NOT EXISTS by_target (environment, kind, target);

CREATE TABLE IF NOT EXISTS incident_vector (
  id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  embedding VECTOR(384) NOT NULL,
  VECTOR INDEX by_embedding (embedding) M=16 DISTANCE=cosine
) ENGINE=InnoDB;
