-- Up to which of its events a trace was exported.
ALTER TABLE trace ADD COLUMN IF NOT EXISTS exported_seq INT UNSIGNED NOT NULL DEFAULT 0;
