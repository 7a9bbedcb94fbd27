ALTER TABLE incident ADD KEY IF NOT EXISTS by_thread (environment, thread_id);

-- Calls out of a service that no span of another service took, per slot: to a database, a queue, a host outside. A call
-- is taken out again when the span that took it comes late.
CREATE TABLE IF NOT EXISTS peer_slot (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  caller VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  peer VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  slot_us BIGINT NOT NULL,
  count INT NOT NULL,
  errors INT NOT NULL,
  PRIMARY KEY (environment, caller, peer, slot_us)
) ENGINE=InnoDB;

-- The names of peers under which a service of ours was once reached: they are no things of their own.
CREATE TABLE IF NOT EXISTS answered_peer (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  peer VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  PRIMARY KEY (environment, peer)
) ENGINE=InnoDB;

-- 'peers' stands still: the spans up to it were joined before peers were counted.
INSERT IGNORE INTO follower (name, seq) SELECT 'peers', seq FROM follower WHERE name = 'topology';
