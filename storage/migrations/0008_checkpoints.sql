-- The state of paused and running agent graphs, in the form that langgraph-checkpoint-mysql reads and writes.
CREATE TABLE IF NOT EXISTS checkpoints (
  thread_id VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  checkpoint_ns VARCHAR(2000) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  checkpoint_ns_hash BINARY(16) NOT NULL,
  checkpoint_id VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  parent_checkpoint_id VARCHAR(150) COLLATE utf8mb4_bin,
  type VARCHAR(150) COLLATE utf8mb4_bin,
  checkpoint JSON NOT NULL,
  metadata JSON NOT NULL,
  PRIMARY KEY (thread_id, checkpoint_ns_hash, checkpoint_id),
  KEY by_checkpoint (checkpoint_id)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS checkpoint_blobs (
  thread_id VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  checkpoint_ns VARCHAR(2000) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  checkpoint_ns_hash BINARY(16) NOT NULL,
  channel VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  version VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  type VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  `blob` LONGBLOB,
  PRIMARY KEY (thread_id, checkpoint_ns_hash, channel, version)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS checkpoint_writes (
  thread_id VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  checkpoint_ns VARCHAR(2000) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  checkpoint_ns_hash BINARY(16) NOT NULL,
  checkpoint_id VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  task_id VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  task_path VARCHAR(2000) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  idx INT NOT NULL,
  channel VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  type VARCHAR(150) COLLATE utf8mb4_bin,
  `blob` LONGBLOB NOT NULL,
  PRIMARY KEY (thread_id, checkpoint_ns_hash, checkpoint_id, task_id, idx)
) ENGINE=InnoDB;
