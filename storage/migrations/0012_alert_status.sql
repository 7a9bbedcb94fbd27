-- Alerts of log rules are resolved when their time is over: those that fire are looked for.
ALTER TABLE alert ADD KEY IF NOT EXISTS by_status (status, source, time_us);
