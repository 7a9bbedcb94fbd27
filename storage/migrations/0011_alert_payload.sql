-- `payload` names the blob that holds the webhook's body as it came.
ALTER TABLE alert ADD COLUMN IF NOT EXISTS payload VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '';
ALTER TABLE alert ADD KEY IF NOT EXISTS by_seq (seq);
