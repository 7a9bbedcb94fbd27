-- name: open_approval
INSERT INTO approval (id, run_id, environment, digest, document, proposed_by, needed, status, created_us, expires_us)
VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?)

-- name: approval_by_id
SELECT id, run_id, environment, digest, document, proposed_by, needed, status, created_us, expires_us, decided_us
FROM approval WHERE id = ?

-- name: lock_approval
SELECT id, run_id, environment, digest, document, proposed_by, needed, status, created_us, expires_us, decided_us
FROM approval WHERE id = ? FOR UPDATE

-- name: approvals_of_run
SELECT id, run_id, environment, digest, document, proposed_by, needed, status, created_us, expires_us, decided_us
FROM approval WHERE run_id = ? ORDER BY created_us DESC, id

-- name: list_approvals
SELECT id, run_id, environment, digest, document, proposed_by, needed, status, created_us, expires_us, decided_us
FROM approval WHERE (? = '' OR environment = ?) AND (? = '' OR status = ?) ORDER BY created_us DESC, id LIMIT ?

-- name: settle_approval
UPDATE approval SET status = ?, decided_us = ? WHERE id = ?

-- name: void_approvals
UPDATE approval SET status = 'void', decided_us = ? WHERE run_id = ? AND status IN ('pending', 'approved')

-- name: add_approval_event
INSERT INTO approval_event (approval_id, time_us, actor, role, via, what, accepted, digest, detail)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: approval_events
SELECT time_us, actor, role, via, what, accepted, digest, detail FROM approval_event WHERE approval_id = ? ORDER BY id

-- name: count_approvers
SELECT COUNT(DISTINCT actor) FROM approval_event WHERE approval_id = ? AND what = 'approve' AND accepted

-- name: refused_attempts
SELECT time_us, actor, role, via, what, accepted, digest, detail, approval_id FROM approval_event
WHERE NOT accepted ORDER BY id DESC LIMIT ?
