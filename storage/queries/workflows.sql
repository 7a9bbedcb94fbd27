-- name: open_workflow_run
INSERT INTO workflow_run (id, environment, workflow_id, revision, incident_id, trace_id, proposed_by, status, reason, request, plan, open_key, created_us, touched_us)
VALUES (?, ?, ?, ?, ?, ?, ?, 'preparing', '', ?, '', ?, ?, ?)
ON DUPLICATE KEY UPDATE id = id

-- name: workflow_run_by_id
SELECT id, environment, workflow_id, revision, incident_id, trace_id, proposed_by, status, reason, request, plan, created_us, started_us, ended_us, touched_us
FROM workflow_run WHERE id = ?

-- name: workflow_run_by_key
SELECT id, environment, workflow_id, revision, incident_id, trace_id, proposed_by, status, reason, request, plan, created_us, started_us, ended_us, touched_us
FROM workflow_run WHERE open_key = ?

-- name: list_workflow_runs
SELECT id, environment, workflow_id, revision, incident_id, trace_id, proposed_by, status, reason, request, plan, created_us, started_us, ended_us, touched_us
FROM workflow_run WHERE (? = '' OR environment = ?) AND (? = '' OR incident_id = ?) AND (? = '' OR workflow_id = ?)
ORDER BY created_us DESC, id LIMIT ?

-- name: touch_workflow_run
UPDATE workflow_run SET touched_us = ? WHERE id = ? AND status = 'preparing'

-- name: abandoned_workflow_runs
SELECT id, environment, workflow_id, revision, incident_id, trace_id, proposed_by, status, reason, request, plan, created_us, started_us, ended_us, touched_us
FROM workflow_run WHERE open_key IS NOT NULL AND status = 'preparing' AND touched_us < ? ORDER BY touched_us LIMIT ?

-- name: plan_workflow_run
UPDATE workflow_run SET plan = ?, status = 'proposed' WHERE id = ? AND status IN ('preparing', 'proposed')

-- name: lock_workflow_run
SELECT status FROM workflow_run WHERE id = ? FOR UPDATE

-- name: begin_workflow_run
UPDATE workflow_run SET status = 'running', started_us = ? WHERE id = ?

-- name: end_workflow_run
UPDATE workflow_run SET status = ?, reason = ?, ended_us = ?, open_key = NULL WHERE id = ? AND ended_us IS NULL

-- name: count_running_workflows
SELECT COUNT(*) FROM workflow_run WHERE environment = ? AND status = 'running' AND id <> ?

-- name: count_started_workflows
SELECT COUNT(*) FROM workflow_run WHERE environment = ? AND started_us >= ? AND id <> ?

-- name: start_workflow_step
INSERT IGNORE INTO workflow_step (run_id, number, part, status, name, started_us, result) VALUES (?, ?, ?, 'started', ?, ?, '')

-- name: end_workflow_step
UPDATE workflow_step SET status = ?, ended_us = ?, result = ? WHERE run_id = ? AND number = ? AND part = ? AND status = 'started'

-- name: workflow_steps
SELECT number, part, status, name, started_us, ended_us, result FROM workflow_step WHERE run_id = ?
ORDER BY started_us, number, part

-- name: take_workflow_lock
SELECT GET_LOCK(CONCAT('causegraph-workflow-', DATABASE()), ?)

-- name: release_workflow_lock
SELECT RELEASE_LOCK(CONCAT('causegraph-workflow-', DATABASE()))

-- What a verification looks at. Only requests that have ended count.
-- name: requests_taken_in
SELECT COUNT(*), COALESCE(SUM(error), 0) FROM span
WHERE environment = ? AND service = ? AND start_us >= ? AND start_us < ? AND (kind IN (2, 5) OR parent_id = '')

-- name: lines_written
SELECT COUNT(*), COALESCE(SUM(level >= 17), 0) FROM log_event
WHERE environment = ? AND service = ? AND time_us >= ? AND time_us < ?
