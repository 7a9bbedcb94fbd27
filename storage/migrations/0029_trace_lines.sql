-- The lines of one request: whoever has a trace id wants them at once. The index is small: each day has its own.
ALTER TABLE log_event ADD INDEX IF NOT EXISTS by_trace (trace_id);
