-- When somebody last worked on preparing a run: one that nobody works on is prepared by another process.
ALTER TABLE workflow_run ADD COLUMN IF NOT EXISTS touched_us BIGINT NOT NULL DEFAULT 0;
