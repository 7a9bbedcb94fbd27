-- Which run of a workflow a message shows: its threads are told how it ends.
ALTER TABLE chat_message
  ADD COLUMN IF NOT EXISTS run_id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  ADD INDEX IF NOT EXISTS by_run (run_id);
