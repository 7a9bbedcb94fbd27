-- Log events of a day can be dropped at once: the server makes a partition for each day (`storage/partitions.py`).
ALTER TABLE log_event DROP PRIMARY KEY, ADD PRIMARY KEY (id, time_us)
PARTITION BY RANGE (time_us) (PARTITION later VALUES LESS THAN MAXVALUE);
