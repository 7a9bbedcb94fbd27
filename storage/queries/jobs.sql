-- Leases are measured by the database's clock, so that the clocks of workers need not agree.
-- name: database_now
SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)

-- name: insert_job
INSERT INTO job (queue, idempotency_key, payload, status, attempts, run_after_us, lease_until_us, created_us)
VALUES (?, ?, ?, 'queued', 0, ?, 0, ?)
ON DUPLICATE KEY UPDATE id = id

-- name: job_by_key
SELECT id, queue, payload, status, attempts, run_after_us, lease_until_us, created_us, ended_us, result
FROM job WHERE queue = ? AND idempotency_key = ?

-- name: job_by_id
SELECT id, queue, payload, status, attempts, run_after_us, lease_until_us, created_us, ended_us, result
FROM job WHERE queue = ? AND id = ?

-- name: next_abandoned_job
SELECT id, queue, payload, status, attempts, run_after_us, lease_until_us, created_us, ended_us, result
FROM job WHERE queue = ? AND status = 'running' AND lease_until_us < ?
ORDER BY run_after_us, id LIMIT 1 FOR UPDATE SKIP LOCKED

-- name: next_due_job
SELECT id, queue, payload, status, attempts, run_after_us, lease_until_us, created_us, ended_us, result
FROM job WHERE queue = ? AND status = 'queued' AND run_after_us <= ?
ORDER BY run_after_us, id LIMIT 1 FOR UPDATE SKIP LOCKED

-- name: start_job
UPDATE job SET status = 'running', attempts = ?, lease_until_us = ? WHERE id = ?

-- `attempts` is the fencing token: a worker whose lease was taken over holds an older number and changes nothing.
-- name: extend_job
UPDATE job SET lease_until_us = ? WHERE id = ? AND status = 'running' AND attempts = ?

-- name: end_job
UPDATE job SET status = ?, ended_us = ?, result = ? WHERE id = ? AND status = 'running' AND attempts = ?

-- name: requeue_job
UPDATE job SET status = 'queued', attempts = ?, run_after_us = ?, lease_until_us = 0, result = ?
WHERE id = ? AND status = 'running' AND attempts = ?

-- name: count_jobs
SELECT status, COUNT(*) FROM job WHERE queue = ? GROUP BY status
