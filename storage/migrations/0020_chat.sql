-- What was posted in chats. `post_key` is a hash of what a message is about.
CREATE TABLE IF NOT EXISTS chat_message (
  surface VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  post_key CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  channel VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  thread VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  message_id VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  incident_id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  posted_us BIGINT NOT NULL,
  PRIMARY KEY (surface, post_key),
  KEY by_thread (surface, channel, thread)
) ENGINE=InnoDB;
