-- Calls per edge and minute.

-- name: call_minutes_known
SELECT c.environment, c.caller, c.callee, c.observed_by, c.minute_us, c.count, c.errors, c.durations
FROM JSON_TABLE(?, '$[*]' COLUMNS (
  environment VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[0]',
  caller VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[1]',
  callee VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[2]',
  observed_by VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin PATH '$[3]',
  minute_us BIGINT PATH '$[4]')) AS j
STRAIGHT_JOIN call_minute AS c FORCE INDEX (PRIMARY) ON c.environment = j.environment AND c.caller = j.caller
  AND c.callee = j.callee AND c.observed_by = j.observed_by AND c.minute_us = j.minute_us

-- name: call_minutes_put
INSERT INTO call_minute (environment, caller, callee, observed_by, minute_us, count, errors, durations)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE count = VALUES(count), errors = VALUES(errors), durations = VALUES(durations)

-- name: call_minutes_remove
DELETE FROM call_minute WHERE environment = ? AND caller = ? AND callee = ? AND observed_by = ? AND minute_us = ?

-- name: call_minutes_drop_peer
DELETE FROM call_minute WHERE environment = ? AND caller = ? AND callee = ? AND observed_by = ?

-- name: call_minutes_between
SELECT environment, caller, callee, observed_by, minute_us, count, errors, durations
FROM call_minute FORCE INDEX (by_minute) WHERE environment = ? AND minute_us >= ? AND minute_us < ?
ORDER BY caller, callee, observed_by, minute_us LIMIT 200000

-- name: call_minutes_of_edge
SELECT environment, caller, callee, observed_by, minute_us, count, errors, durations
FROM call_minute WHERE environment = ? AND caller = ? AND callee = ? AND minute_us >= ? AND minute_us < ?
ORDER BY minute_us, observed_by LIMIT 20000
