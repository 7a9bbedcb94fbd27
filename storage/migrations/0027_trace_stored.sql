-- When something of a trace was stored last: traces of other programs are dropped by that, whatever times they tell.
ALTER TABLE trace ADD COLUMN IF NOT EXISTS stored_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE trace ADD KEY IF NOT EXISTS by_source (source, stored_us);
UPDATE trace SET stored_us = ROUND(UNIX_TIMESTAMP(NOW(6)) * 1000000) WHERE stored_us = 0;
