-- name: create_cursor
CREATE TABLE IF NOT EXISTS cursor (
  source TEXT NOT NULL,
  key TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (source, key)
) WITHOUT ROWID

-- name: create_outbox
CREATE TABLE IF NOT EXISTS outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL,
  body BLOB NOT NULL,
  lines INTEGER NOT NULL,
  stored_us INTEGER NOT NULL
)

-- name: create_counter
CREATE TABLE IF NOT EXISTS counter (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID

-- name: create_fact
CREATE TABLE IF NOT EXISTS fact (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID

-- name: set_cursor
INSERT INTO cursor (source, key, value) VALUES (?, ?, ?)
ON CONFLICT (source, key) DO UPDATE SET value = excluded.value

-- name: forget_cursor
DELETE FROM cursor WHERE source = ? AND key = ?

-- name: cursors
SELECT key, value FROM cursor WHERE source = ?

-- name: all_cursors
SELECT source, key, value FROM cursor ORDER BY source, key

-- name: add_batch
INSERT INTO outbox (key, body, lines, stored_us) VALUES (?, ?, ?, ?)

-- name: oldest_batch
SELECT id, key, body, lines FROM outbox ORDER BY id LIMIT 1

-- name: drop_batch
DELETE FROM outbox WHERE id = ?

-- name: waiting
SELECT COUNT(*), COALESCE(SUM(LENGTH(body)), 0), COALESCE(SUM(lines), 0), COALESCE(MIN(stored_us), 0) FROM outbox

-- name: add_to_counter
INSERT INTO counter (name, value) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET value = value + excluded.value

-- name: counters
SELECT name, value FROM counter ORDER BY name

-- name: set_fact
INSERT INTO fact (name, value) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: facts
SELECT name, value FROM fact ORDER BY name
