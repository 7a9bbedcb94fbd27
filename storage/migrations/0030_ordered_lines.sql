-- Lines of one moment have an order, by which pages of lines are read: with it in the index none of them is sorted anew.
ALTER TABLE log_event DROP KEY by_time, ADD KEY by_time (environment, time_us, id);

-- Since when a template has been written, without a look at every count.
ALTER TABLE log_count ADD KEY IF NOT EXISTS by_template (environment, template_id, slot_us);
