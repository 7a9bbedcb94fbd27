-- The schema after all migrations, as one script. tests/storage/test_migrations.py compares it with the migrations:
-- a new migration comes with the same change here.

CREATE TABLE schema_migration (
  version INT UNSIGNED NOT NULL PRIMARY KEY,
  name VARCHAR(64) NOT NULL,
  applied_us BIGINT NOT NULL
) ENGINE=InnoDB;

INSERT INTO schema_migration (version, name, applied_us) VALUES
  (1, 'initial', 0), (2, 'topology', 0), (3, 'peers', 0), (4, 'vectors', 0),
  (5, 'symptoms', 0), (6, 'call_minute', 0), (7, 'code', 0), (8, 'checkpoints', 0),
  (9, 'chunk_queue', 0), (10, 'trace_facets', 0), (11, 'alert_payload', 0), (12, 'alert_status', 0),
  (13, 'code_links', 0), (14, 'workflows', 0), (15, 'log_partitions', 0), (16, 'incidents', 0),
  (17, 'trace_export', 0), (18, 'conversations', 0), (19, 'chat_runs', 0), (20, 'chat', 0),
  (21, 'review', 0), (22, 'model_opinions', 0), (23, 'shown_runs', 0), (24, 'touched_runs', 0),
  (25, 'log_arrivals', 0), (26, 'search', 0), (27, 'trace_stored', 0), (28, 'family_slots', 0),
  (29, 'trace_lines', 0), (30, 'ordered_lines', 0), (31, 'slots_of_traces', 0);

-- Times are microseconds since 1970 UTC. Names that come from telemetry compare byte by byte (utf8mb4_bin).
-- `seq` is the number of the ingest batch that brought a row: it grows in commit order (see ingest_clock).

CREATE TABLE ingest_clock (
  id TINYINT UNSIGNED NOT NULL PRIMARY KEY,
  seq BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB;

INSERT INTO ingest_clock (id, seq) VALUES (1, 0);

CREATE TABLE ingest_batch (
  seq BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  batch_key CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  received_us BIGINT NOT NULL,
  accepted INT UNSIGNED NOT NULL,
  duplicate INT UNSIGNED NOT NULL,
  rejected INT UNSIGNED NOT NULL,
  UNIQUE KEY batch_once (environment, kind, batch_key)
) ENGINE=InnoDB;

-- How far each follower of the ingested rows has come (the topology projection is one).
CREATE TABLE follower (
  name VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  seq BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB;

INSERT INTO follower (name, seq) VALUES ('topology', 0);

CREATE TABLE log_template (
  id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  mask_version SMALLINT UNSIGNED NOT NULL,
  text TEXT NOT NULL,
  words TEXT GENERATED ALWAYS AS (REPLACE(REPLACE(REPLACE(text, '_', ' '), '.', ' '), '/', ' ')) STORED,
  FULLTEXT KEY by_words (words)
) ENGINE=InnoDB;

CREATE TABLE log_event (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  seq BIGINT UNSIGNED NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  time_us BIGINT NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  level TINYINT UNSIGNED NOT NULL,
  template_id BIGINT UNSIGNED NOT NULL,
  node VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  trace_id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  span_id VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  message MEDIUMTEXT NOT NULL,
  attributes MEDIUMTEXT NOT NULL,
  trace_slot INT AS (time_us DIV 300000000) VIRTUAL,
  trace_key INT UNSIGNED AS (CRC32(trace_id)) VIRTUAL,
  PRIMARY KEY (id, time_us),
  KEY by_seq (seq),
  KEY by_time (environment, time_us, id),
  KEY by_service (environment, service, level, time_us),
  KEY by_template (environment, template_id, time_us),
  KEY by_trace_slot (trace_slot, trace_key)
) ENGINE=InnoDB
PARTITION BY RANGE (time_us) (PARTITION later VALUES LESS THAN MAXVALUE);

CREATE TABLE log_count (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  slot_us BIGINT NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  template_id BIGINT UNSIGNED NOT NULL,
  level TINYINT UNSIGNED NOT NULL,
  count INT UNSIGNED NOT NULL,
  first_us BIGINT NOT NULL,
  last_us BIGINT NOT NULL,
  PRIMARY KEY (environment, slot_us, service, template_id, level),
  KEY by_template (environment, template_id, slot_us)
) ENGINE=InnoDB;

-- What each delivery brought of log lines, in a few rows: those who follow the ingest read these, not the lines.
CREATE TABLE log_arrival (
  seq BIGINT UNSIGNED NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  node VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  template_id BIGINT UNSIGNED NOT NULL,
  level TINYINT UNSIGNED NOT NULL,
  slot_us BIGINT NOT NULL,
  count INT UNSIGNED NOT NULL,
  first_us BIGINT NOT NULL,
  last_us BIGINT NOT NULL,
  PRIMARY KEY (seq, environment, service, node, template_id, level, slot_us)
) ENGINE=InnoDB;

CREATE TABLE span (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  trace_id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  span_id VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  parent_id VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  name VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  kind TINYINT UNSIGNED NOT NULL,
  start_us BIGINT NOT NULL,
  duration_us BIGINT NOT NULL,
  error TINYINT(1) NOT NULL,
  status_message TEXT NOT NULL,
  node VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  version VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  peer VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  attributes MEDIUMTEXT NOT NULL,
  PRIMARY KEY (environment, trace_id, span_id),
  KEY by_seq (seq),
  KEY by_time (environment, start_us),
  KEY by_parent (environment, trace_id, parent_id),
  KEY by_service (environment, service, start_us)
) ENGINE=InnoDB;

-- Calls between two services per slot, joined from a span and its parent's span once both are stored.
CREATE TABLE call_slot (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  slot_us BIGINT NOT NULL,
  caller VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  callee VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  count INT UNSIGNED NOT NULL,
  errors INT UNSIGNED NOT NULL,
  caller_us BIGINT NOT NULL,
  callee_us BIGINT NOT NULL,
  PRIMARY KEY (environment, slot_us, caller, callee)
) ENGINE=InnoDB;

CREATE TABLE metric_point (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  name VARCHAR(191) COLLATE utf8mb4_bin NOT NULL,
  series CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  time_us BIGINT NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  value DOUBLE NOT NULL,
  node VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  source VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  destination VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  attributes TEXT NOT NULL,
  PRIMARY KEY (environment, service, name, series, time_us),
  KEY by_seq (seq),
  KEY by_time (environment, time_us)
) ENGINE=InnoDB;

CREATE TABLE change_event (
  id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  time_us BIGINT NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  version VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  summary TEXT NOT NULL,
  actor VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  attributes TEXT NOT NULL,
  PRIMARY KEY (environment, id),
  KEY by_time (environment, time_us),
  KEY by_seq (seq)
) ENGINE=InnoDB;

CREATE TABLE orchestrator_event (
  id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  time_us BIGINT NOT NULL,
  kind VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  object VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  reason VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (environment, id),
  KEY by_time (environment, time_us)
) ENGINE=InnoDB;

CREATE TABLE alert (
  id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  time_us BIGINT NOT NULL,
  ended_us BIGINT NULL,
  source VARCHAR(32) COLLATE utf8mb4_bin NOT NULL,
  name VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  fingerprint VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  severity VARCHAR(32) COLLATE utf8mb4_bin NOT NULL,
  summary TEXT NOT NULL,
  runbook_url TEXT NOT NULL,
  labels TEXT NOT NULL,
  payload VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  PRIMARY KEY (environment, id),
  KEY by_time (environment, time_us),
  KEY by_seq (seq),
  KEY by_status (status, source, time_us)
) ENGINE=InnoDB;

CREATE TABLE stated_edge (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  source VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  target VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  observed_by VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  valid_from_us BIGINT NOT NULL,
  valid_to_us BIGINT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (environment, source, target, kind, observed_by, valid_from_us),
  KEY by_seq (seq)
) ENGINE=InnoDB;

CREATE TABLE incident (
  id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  thread_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  trace_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_us BIGINT NOT NULL,
  started_us BIGINT NULL,
  ended_us BIGINT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  question TEXT NOT NULL,
  outcome VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  answer MEDIUMTEXT NOT NULL,
  status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'closed',
  origin VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'question',
  title VARCHAR(255) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  severity VARCHAR(32) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  updated_us BIGINT NOT NULL DEFAULT 0,
  firing INT UNSIGNED NOT NULL DEFAULT 0,
  held TINYINT(1) NOT NULL DEFAULT 0,
  merged_into VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  wanted TINYINT(1) NOT NULL DEFAULT 0,
  rounds INT UNSIGNED NOT NULL DEFAULT 0,
  profile MEDIUMTEXT NOT NULL DEFAULT '{}',
  signature MEDIUMTEXT NOT NULL DEFAULT '[]',
  PRIMARY KEY (id),
  KEY by_time (environment, created_us),
  KEY by_thread (environment, thread_id),
  KEY by_status (status, environment, updated_us),
  KEY by_wish (wanted),
  KEY by_creation (created_us)
) ENGINE=InnoDB;

CREATE TABLE evidence (
  id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  record_key TEXT NOT NULL,
  digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  query VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  text TEXT NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  time_us BIGINT NOT NULL,
  entities TEXT NOT NULL,
  found_by VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  found_us BIGINT NOT NULL,
  PRIMARY KEY (environment, id),
  KEY by_trace (found_by),
  KEY by_id (id)
) ENGINE=InnoDB;

-- One row per stage, decision, ledger entry and so on of an agent run; an amendment is a new event, never an edit.
CREATE TABLE trace_event (
  trace_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq INT UNSIGNED NOT NULL,
  event_id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  type VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  span_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  time_us BIGINT NOT NULL,
  payload MEDIUMTEXT NOT NULL,
  PRIMARY KEY (trace_id, seq),
  UNIQUE KEY event_once (event_id)
) ENGINE=InnoDB;

-- The fold of a trace's events, for lists. `source` tells runs of our own agents ('causegraph') from traces that other
-- programs sent ('ingest', under the id that they gave it as `external_id`).
CREATE TABLE trace (
  id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  question TEXT NOT NULL,
  status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  outcome VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  action VARCHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  started_us BIGINT NOT NULL,
  ended_us BIGINT NULL,
  decisions INT UNSIGNED NOT NULL,
  queries INT UNSIGNED NOT NULL,
  evidence INT UNSIGNED NOT NULL,
  source VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'causegraph',
  external_id VARCHAR(191) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  name VARCHAR(191) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  intent VARCHAR(64) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  thread_id VARCHAR(191) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  user_id VARCHAR(191) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  model VARCHAR(128) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  tokens BIGINT NOT NULL DEFAULT 0,
  cost DOUBLE NOT NULL DEFAULT 0,
  spans INT UNSIGNED NOT NULL DEFAULT 0,
  open_spans INT UNSIGNED NOT NULL DEFAULT 0,
  failed_spans INT UNSIGNED NOT NULL DEFAULT 0,
  search_text TEXT NOT NULL DEFAULT '',
  exported_seq INT UNSIGNED NOT NULL DEFAULT 0,
  stored_us BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (id),
  KEY by_time (environment, started_us),
  KEY by_external (external_id),
  KEY by_thread (environment, thread_id),
  KEY by_source (source, stored_us)
) ENGINE=InnoDB;

CREATE TABLE job (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  queue VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  idempotency_key CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  payload MEDIUMTEXT NOT NULL,
  status VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  attempts INT UNSIGNED NOT NULL,
  run_after_us BIGINT NOT NULL,
  lease_until_us BIGINT NOT NULL,
  created_us BIGINT NOT NULL,
  ended_us BIGINT NULL,
  result MEDIUMTEXT NULL,
  UNIQUE KEY job_once (queue, idempotency_key),
  KEY due (queue, status, run_after_us)
) ENGINE=InnoDB;

CREATE TABLE blob_index (
  digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  bytes BIGINT UNSIGNED NOT NULL,
  stored_bytes BIGINT UNSIGNED NOT NULL,
  created_us BIGINT NOT NULL
) ENGINE=InnoDB;

-- Keys are kept as BLAKE3 hashes; the key itself is shown once, when it is made.
CREATE TABLE api_key (
  id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  name VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  role VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_us BIGINT NOT NULL,
  revoked_us BIGINT NULL,
  UNIQUE KEY hash_once (hash)
) ENGINE=InnoDB;

-- What telemetry showed of the topology, as intervals of time; the graph is a projection of these rows and can be
-- written again from them. An interval holds from first_us to last_us and a lifetime longer. `target` is a service, a
-- node ('' where the service was seen but its node is not known) or a template's id. `seq` is the ingest batch up to
-- which the follower had read when it changed the row.
CREATE TABLE observed_edge (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  source VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  target VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  observed_by VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  first_us BIGINT NOT NULL,
  last_us BIGINT NOT NULL,
  count BIGINT UNSIGNED NOT NULL,
  errors BIGINT UNSIGNED NOT NULL,
  level TINYINT UNSIGNED NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (environment, kind, source, target, observed_by, first_us),
  KEY by_seq (seq),
  KEY by_target (environment, kind, target)
) ENGINE=InnoDB;

-- 'topology' writes call_slot and observed_edge, 'graph' writes the graph from them.
INSERT INTO follower (name, seq) VALUES ('graph', 0);

-- Calls out of a service that no span of another service took, per slot: to a database, a queue, a host outside. A call
-- is taken out again when the span that took it comes late.
CREATE TABLE peer_slot (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  caller VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  peer VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  slot_us BIGINT NOT NULL,
  count INT NOT NULL,
  errors INT NOT NULL,
  PRIMARY KEY (environment, caller, peer, slot_us)
) ENGINE=InnoDB;

-- The names of peers under which a service of ours was once reached: they are no things of their own.
CREATE TABLE answered_peer (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  peer VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  PRIMARY KEY (environment, peer)
) ENGINE=InnoDB;

-- 'peers' stands still: the spans up to it were joined before peers were counted.
INSERT INTO follower (name, seq) VALUES ('peers', 0);

-- What texts mean, as vectors of one embedder per corpus; see storage/vectors.py. A vector index cannot be combined with
-- partitions, a second one, or a column that may be NULL, so each corpus has a narrow table of its own.

CREATE TABLE embedding_space (
  corpus VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  embedder VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  dimension SMALLINT UNSIGNED NOT NULL
) ENGINE=InnoDB;

CREATE TABLE template_vector (
  id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  embedding VECTOR(384) NOT NULL,
  VECTOR INDEX by_embedding (embedding) M=16 DISTANCE=cosine
) ENGINE=InnoDB;

CREATE TABLE chunk_vector (
  id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  embedding VECTOR(384) NOT NULL,
  VECTOR INDEX by_embedding (embedding) M=16 DISTANCE=cosine
) ENGINE=InnoDB;

CREATE TABLE runbook_vector (
  id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  embedding VECTOR(384) NOT NULL,
  VECTOR INDEX by_embedding (embedding) M=16 DISTANCE=cosine
) ENGINE=InnoDB;

CREATE TABLE incident_vector (
  id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  embedding VECTOR(384) NOT NULL,
  VECTOR INDEX by_embedding (embedding) M=16 DISTANCE=cosine
) ENGINE=InnoDB;

-- Requests per operation and slot, by when they ended: what symptoms are noticed in. `durations` is a latency sketch.
CREATE TABLE request_slot (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  slot_us BIGINT NOT NULL,
  operation VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  requests INT UNSIGNED NOT NULL,
  errors INT UNSIGNED NOT NULL,
  roots INT UNSIGNED NOT NULL,
  durations VARCHAR(4000) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  PRIMARY KEY (environment, service, slot_us, operation)
) ENGINE=InnoDB;

-- Up to where (time of the records) the requests of a service were judged, and how late its records come.
CREATE TABLE watched_service (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  evaluated_us BIGINT NOT NULL,
  lag_us BIGINT NOT NULL,
  PRIMARY KEY (environment, service)
) ENGINE=InnoDB;

-- Symptoms that were noticed without a question. `decided` says that it is settled whether one leads to an
-- investigation; `incident_id` is that investigation, '' where there is none.
CREATE TABLE symptom (
  id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  operation VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  started_us BIGINT NOT NULL,
  noticed_us BIGINT NOT NULL,
  ended_us BIGINT NULL,
  bad BIGINT UNSIGNED NOT NULL,
  requests BIGINT UNSIGNED NOT NULL,
  usual DOUBLE NOT NULL,
  slow_us BIGINT NOT NULL,
  roots BIGINT UNSIGNED NOT NULL,
  opened_us BIGINT NOT NULL,
  incident_id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  decided TINYINT(1) NOT NULL,
  PRIMARY KEY (id),
  KEY by_time (environment, noticed_us),
  KEY by_decision (decided, opened_us),
  KEY by_incident (incident_id, status)
) ENGINE=InnoDB;

-- 'symptoms' begins with what comes from now on.
INSERT INTO follower (name, seq) VALUES ('symptoms', 0);

-- Calls per minute and edge, with a latency sketch (`durations`, on the caller's side): they outlive the spans. Each call
-- counts once; one to a peer is taken out again when a span comes late that took it.
CREATE TABLE call_minute (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  caller VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  callee VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  observed_by VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  minute_us BIGINT NOT NULL,
  count INT NOT NULL,
  errors INT NOT NULL,
  durations VARCHAR(4000) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  PRIMARY KEY (environment, caller, callee, observed_by, minute_us),
  KEY by_minute (environment, minute_us)
) ENGINE=InnoDB;

CREATE TABLE code_root (
  id CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  kind VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  location VARCHAR(1000) COLLATE utf8mb4_nopad_bin NOT NULL,
  branch VARCHAR(255) COLLATE utf8mb4_nopad_bin NOT NULL,
  generation BIGINT UNSIGNED NOT NULL,
  facts_version SMALLINT UNSIGNED NOT NULL,
  tree_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  commit_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  files INT UNSIGNED NOT NULL,
  bytes BIGINT UNSIGNED NOT NULL,
  added_us BIGINT NOT NULL,
  changed_us BIGINT NOT NULL,
  checked_us BIGINT NOT NULL,
  problems MEDIUMTEXT NOT NULL
) ENGINE=InnoDB;

-- Which service runs what is in a folder of a root ('' is the whole root).
CREATE TABLE code_service (
  root_id CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  folder VARCHAR(500) COLLATE utf8mb4_nopad_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  PRIMARY KEY (root_id, folder, service),
  KEY by_service (service)
) ENGINE=InnoDB;

-- `facts_key` is a hash of the content, its language and the version of what is read from it.
CREATE TABLE code_file (
  root_id CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  path VARCHAR(700) COLLATE utf8mb4_nopad_bin NOT NULL,
  content_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  facts_key CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  bytes INT UNSIGNED NOT NULL,
  PRIMARY KEY (root_id, path),
  KEY by_facts (facts_key)
) ENGINE=InnoDB;

-- Everything read from one content, packed; symbols and chunks are beside it as rows, to be searched.
CREATE TABLE code_facts (
  facts_key CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  content_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  language VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  version SMALLINT UNSIGNED NOT NULL,
  used_us BIGINT NOT NULL,
  facts LONGBLOB NOT NULL,
  KEY by_use (used_us)
) ENGINE=InnoDB;

CREATE TABLE code_symbol (
  facts_key CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  number INT UNSIGNED NOT NULL,
  name VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
  qualified VARCHAR(700) COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  start_line INT UNSIGNED NOT NULL,
  end_line INT UNSIGNED NOT NULL,
  PRIMARY KEY (facts_key, number),
  KEY by_name (name)
) ENGINE=InnoDB;

-- A chunk is kept once, whatever files hold it. `urgency`: chunks of files that write logs are embedded first (0).
CREATE TABLE code_chunk (
  id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  language VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  urgency TINYINT UNSIGNED NOT NULL,
  scope VARCHAR(700) COLLATE utf8mb4_bin NOT NULL,
  signature TEXT NOT NULL,
  doc TEXT NOT NULL,
  text MEDIUMTEXT NOT NULL,
  KEY by_urgency (urgency, id)
) ENGINE=InnoDB;

CREATE TABLE code_chunk_place (
  facts_key CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  number INT UNSIGNED NOT NULL,
  chunk_id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  start_line INT UNSIGNED NOT NULL,
  end_line INT UNSIGNED NOT NULL,
  PRIMARY KEY (facts_key, number),
  KEY by_chunk (chunk_id)
) ENGINE=InnoDB;

-- The state of paused and running agent graphs, in the form that langgraph-checkpoint-mysql reads and writes.
CREATE TABLE checkpoints (
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

CREATE TABLE checkpoint_blobs (
  thread_id VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  checkpoint_ns VARCHAR(2000) COLLATE utf8mb4_bin NOT NULL DEFAULT '',
  checkpoint_ns_hash BINARY(16) NOT NULL,
  channel VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  version VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  type VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  `blob` LONGBLOB,
  PRIMARY KEY (thread_id, checkpoint_ns_hash, channel, version)
) ENGINE=InnoDB;

CREATE TABLE checkpoint_writes (
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

-- Who calls whom in a code root, and which statement writes which template, over time: what its graph is written from.
CREATE TABLE code_links (
  root_id CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  part SMALLINT UNSIGNED NOT NULL,
  state VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  edges LONGBLOB NOT NULL,
  PRIMARY KEY (root_id, part)
) ENGINE=InnoDB;

-- A run of a workflow. `plan` is exactly what is to be done; `open_key` keeps the same thing from being proposed twice.
CREATE TABLE workflow_run (
  id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  workflow_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  revision CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  incident_id VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  trace_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  proposed_by VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reason TEXT NOT NULL,
  request LONGTEXT NOT NULL,
  plan LONGTEXT NOT NULL,
  open_key CHAR(64) CHARACTER SET ascii COLLATE ascii_bin,
  created_us BIGINT NOT NULL,
  started_us BIGINT,
  ended_us BIGINT,
  touched_us BIGINT NOT NULL DEFAULT 0,
  UNIQUE KEY open_once (open_key),
  KEY by_environment (environment, created_us),
  KEY by_incident (incident_id)
) ENGINE=InnoDB;

-- A step is written down before it is begun: one that is written down is never begun again.
CREATE TABLE workflow_step (
  run_id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  number SMALLINT UNSIGNED NOT NULL,
  part VARCHAR(4) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  status VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  name VARCHAR(200) COLLATE utf8mb4_bin NOT NULL,
  started_us BIGINT NOT NULL,
  ended_us BIGINT,
  result TEXT NOT NULL,
  PRIMARY KEY (run_id, number, part)
) ENGINE=InnoDB;

-- Who may let a run begin is bound to `digest`, the BLAKE3 of `document`: what is done, to what, in which state, why, until when.
CREATE TABLE approval (
  id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  run_id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  document LONGTEXT NOT NULL,
  proposed_by VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  needed TINYINT UNSIGNED NOT NULL,
  status VARCHAR(12) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_us BIGINT NOT NULL,
  expires_us BIGINT NOT NULL,
  decided_us BIGINT,
  KEY by_run (run_id),
  KEY by_status (status, created_us)
) ENGINE=InnoDB;

-- Append only: every attempt to decide or use an approval, also those that were refused.
CREATE TABLE approval_event (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  approval_id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  time_us BIGINT NOT NULL,
  actor VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  role VARCHAR(32) COLLATE utf8mb4_bin NOT NULL,
  via VARCHAR(16) COLLATE utf8mb4_bin NOT NULL,
  what VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  accepted BOOLEAN NOT NULL,
  digest VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  detail TEXT NOT NULL,
  KEY by_approval (approval_id, id)
) ENGINE=InnoDB;

-- An alert belongs to one incident at a time; the decisions say how it came there.
CREATE TABLE incident_alert (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  alert_id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  incident_id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  source VARCHAR(32) COLLATE utf8mb4_bin NOT NULL,
  fingerprint VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  joined_us BIGINT NOT NULL,
  PRIMARY KEY (environment, alert_id),
  KEY by_incident (incident_id),
  KEY by_fingerprint (environment, source, fingerprint, joined_us)
) ENGINE=InnoDB;

-- Why an alert or another incident (`subject`) was put into an incident or taken out of it. Never changed.
CREATE TABLE grouping_decision (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  incident_id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kind VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  subject VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  score DOUBLE NOT NULL,
  why TEXT NOT NULL,
  actor VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  time_us BIGINT NOT NULL,
  KEY by_incident (incident_id, id)
) ENGINE=InnoDB;

-- What happened to an incident beside its alerts. Never changed.
CREATE TABLE incident_event (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  incident_id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  time_us BIGINT NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  actor VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  text TEXT NOT NULL,
  details MEDIUMTEXT NOT NULL,
  KEY by_incident (incident_id, time_us),
  KEY by_kind (kind, time_us)
) ENGINE=InnoDB;

-- 'alerts' groups what comes from now on.
INSERT INTO follower (name, seq) VALUES ('alerts', 0);

-- Conversations: each question of a thread with what it was taken to be about, its answer, and what its asker thought of it.
CREATE TABLE conversation_turn (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  thread_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  number INT UNSIGNED NOT NULL,
  trace_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  incident_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_us BIGINT NOT NULL,
  question TEXT NOT NULL,
  focus MEDIUMTEXT NOT NULL,
  answer LONGTEXT NOT NULL,
  feedback TEXT NOT NULL,
  PRIMARY KEY (environment, thread_id, number),
  KEY by_time (environment, created_us)
) ENGINE=InnoDB;

-- What was posted in chats. `post_key` is a hash of what a message is about.
CREATE TABLE chat_message (
  surface VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  post_key CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  channel VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  thread VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  message_id VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  incident_id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  posted_us BIGINT NOT NULL,
  run_id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  PRIMARY KEY (surface, post_key),
  KEY by_thread (surface, channel, thread),
  KEY by_run (run_id)
) ENGINE=InnoDB;

-- Questions asked over `POST /chat` while they are worked on and after; `touched_us` says that somebody still works on one.
CREATE TABLE chat_run (
  id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  thread_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  owner VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  segment INT UNSIGNED NOT NULL,
  created_us BIGINT NOT NULL,
  touched_us BIGINT NOT NULL,
  question TEXT NOT NULL,
  PRIMARY KEY (id),
  KEY by_status (status, touched_us)
) ENGINE=InnoDB;

-- What a run told, in order: a client that was cut off reads on from where it was.
CREATE TABLE chat_event (
  run_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq INT UNSIGNED NOT NULL,
  name VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  data LONGTEXT NOT NULL,
  PRIMARY KEY (run_id, seq)
) ENGINE=InnoDB;

-- Versions of policies; which one holds is said by activations, the newest that is effective first.
CREATE TABLE policy (
  name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  version INT UNSIGNED NOT NULL,
  description TEXT NOT NULL,
  definition MEDIUMTEXT NOT NULL,
  created_us BIGINT NOT NULL,
  created_by VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  PRIMARY KEY (name, version)
) ENGINE=InnoDB;

-- An empty environment means every one that has no activation of its own.
CREATE TABLE policy_activation (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  version INT UNSIGNED NOT NULL,
  effective_us BIGINT NOT NULL,
  activated_us BIGINT NOT NULL,
  activated_by VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  KEY by_environment (environment, effective_us)
) ENGINE=InnoDB;

-- What a judge and a policy made of a run, with the signals that it was made of, so that another policy can be tried on them.
CREATE TABLE evaluation (
  id CHAR(17) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  trace_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_us BIGINT NOT NULL,
  judge VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  intent VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  outcome VARCHAR(16) COLLATE utf8mb4_bin NOT NULL,
  confidence DOUBLE NULL,
  policy VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  policy_version INT UNSIGNED NOT NULL,
  rule VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  action VARCHAR(24) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reason VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  severity VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  input_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  signals MEDIUMTEXT NOT NULL,
  gaps MEDIUMTEXT NOT NULL,
  UNIQUE KEY once (trace_id, judge, input_hash),
  KEY by_input (input_hash),
  KEY by_time (environment, created_us)
) ENGINE=InnoDB;

-- What people say of a run; the newest of a reviewer counts.
CREATE TABLE trace_review (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  trace_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reviewer VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  passed TINYINT NULL,
  note TEXT NOT NULL,
  tags TEXT NOT NULL,
  created_us BIGINT NOT NULL,
  KEY by_trace (trace_id, id)
) ENGINE=InnoDB;

CREATE TABLE review_case (
  id CHAR(17) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  trace_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  evaluation_id CHAR(17) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  incident_id VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  severity VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reason VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  service VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  title TEXT NOT NULL,
  opened_us BIGINT NOT NULL,
  changed_us BIGINT NOT NULL,
  UNIQUE KEY once (trace_id, reason),
  KEY by_status (status, opened_us)
) ENGINE=InnoDB;

-- Everything that happened to a case, in order; nothing is ever changed here.
CREATE TABLE case_event (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  case_id CHAR(17) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  time_us BIGINT NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  actor VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  text TEXT NOT NULL,
  KEY by_case (case_id, id)
) ENGINE=InnoDB;

-- What stands out and should be looked at by a person; a flag about the same thing is raised once per run.
CREATE TABLE trace_flag (
  trace_id VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  about VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  text TEXT NOT NULL,
  raised_us BIGINT NOT NULL,
  settled_us BIGINT NULL,
  settled_by VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
  PRIMARY KEY (trace_id, kind, about),
  KEY by_time (raised_us)
) ENGINE=InnoDB;

-- What model judges said, so that the same input is judged once by the same model under the same version of a policy.
CREATE TABLE model_opinion (
  input_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  model VARCHAR(191) COLLATE utf8mb4_bin NOT NULL,
  reply MEDIUMTEXT NOT NULL,
  created_us BIGINT NOT NULL,
  KEY by_time (created_us)
) ENGINE=InnoDB;

-- Places in families of templates that were found to hold names. What was opened stays open: rows are only ever added.
CREATE TABLE family_slot (
  environment VARCHAR(64) COLLATE utf8mb4_bin NOT NULL,
  version SMALLINT UNSIGNED NOT NULL,
  id BIGINT UNSIGNED NOT NULL,
  text TEXT NOT NULL,
  opened_us BIGINT NOT NULL,
  PRIMARY KEY (environment, version, id)
) ENGINE=InnoDB;
