-- name: policy_versions
SELECT name, version, description, definition, created_us, created_by FROM policy WHERE name = ? ORDER BY version DESC

-- name: policy_version
SELECT name, version, description, definition, created_us, created_by FROM policy WHERE name = ? AND version = ?

-- name: newest_policies
SELECT p.name, p.version, p.description, p.definition, p.created_us, p.created_by FROM policy p
WHERE p.version = (SELECT MAX(q.version) FROM policy q WHERE q.name = p.name) ORDER BY p.name

-- Locked, so that two who add a version at once get two numbers.
-- name: last_policy_version
SELECT COALESCE(MAX(version), 0) FROM policy WHERE name = ? FOR UPDATE

-- name: insert_policy
INSERT INTO policy (name, version, description, definition, created_us, created_by) VALUES (?, ?, ?, ?, ?, ?)

-- name: insert_policy_activation
INSERT INTO policy_activation (environment, name, version, effective_us, activated_us, activated_by) VALUES (?, ?, ?, ?, ?, ?)

-- name: policy_activations
SELECT environment, name, version, effective_us, activated_us, activated_by FROM policy_activation ORDER BY id DESC LIMIT ?

-- An environment's own activation goes before one for all.
-- name: active_policy
SELECT a.name, a.version, p.definition FROM policy_activation a
LEFT JOIN policy p ON p.name = a.name AND p.version = a.version
WHERE a.environment IN (?, '') AND a.effective_us <= ?
ORDER BY a.environment <> '' DESC, a.effective_us DESC, a.id DESC LIMIT 1

-- name: insert_evaluation
INSERT IGNORE INTO evaluation (id, environment, trace_id, created_us, judge, service, intent, outcome, confidence, policy,
  policy_version, rule, action, reason, severity, input_hash, signals, gaps)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: evaluation_once
SELECT id, environment, trace_id, created_us, judge, service, intent, outcome, confidence, policy, policy_version, rule, action,
  reason, severity, input_hash, signals, gaps
FROM evaluation WHERE trace_id = ? AND judge = ? AND input_hash = ?

-- name: evaluation_of_input
SELECT id, environment, trace_id, created_us, judge, service, intent, outcome, confidence, policy, policy_version, rule, action,
  reason, severity, input_hash, signals, gaps
FROM evaluation WHERE input_hash = ? ORDER BY created_us LIMIT 1

-- name: evaluations_of_trace
SELECT id, environment, trace_id, created_us, judge, service, intent, outcome, confidence, policy, policy_version, rule, action,
  reason, severity, input_hash, signals, gaps
FROM evaluation WHERE trace_id = ? ORDER BY created_us, id

-- name: evaluations_between
SELECT id, environment, trace_id, created_us, judge, service, intent, outcome, confidence, policy, policy_version, rule, action,
  reason, severity, input_hash, signals, gaps
FROM evaluation WHERE (? = '' OR environment = ?) AND created_us >= ? AND created_us < ? ORDER BY created_us DESC, id DESC LIMIT ?

-- name: insert_trace_review
INSERT INTO trace_review (trace_id, reviewer, passed, note, tags, created_us) VALUES (?, ?, ?, ?, ?, ?)

-- name: trace_reviews
SELECT trace_id, reviewer, passed, note, tags, created_us FROM trace_review WHERE trace_id = ? ORDER BY id

-- name: trace_reviews_since
SELECT trace_id, reviewer, passed, note, tags, created_us FROM trace_review WHERE created_us >= ? ORDER BY id LIMIT ?

-- name: insert_case
INSERT IGNORE INTO review_case (id, environment, trace_id, evaluation_id, incident_id, status, severity, reason, service, title,
  opened_us, changed_us)
VALUES (?, ?, ?, ?, ?, 'open', ?, ?, ?, ?, ?, ?)

-- name: case_once
SELECT id, environment, trace_id, evaluation_id, incident_id, status, severity, reason, service, title, opened_us, changed_us
FROM review_case WHERE trace_id = ? AND reason = ?

-- name: one_case
SELECT id, environment, trace_id, evaluation_id, incident_id, status, severity, reason, service, title, opened_us, changed_us
FROM review_case WHERE id = ?

-- name: lock_case
SELECT id, environment, trace_id, evaluation_id, incident_id, status, severity, reason, service, title, opened_us, changed_us
FROM review_case WHERE id = ? FOR UPDATE

-- name: list_cases
SELECT id, environment, trace_id, evaluation_id, incident_id, status, severity, reason, service, title, opened_us, changed_us
FROM review_case WHERE (? = '' OR environment = ?) AND (? = '' OR status = ?) AND opened_us < ?
ORDER BY opened_us DESC, id DESC LIMIT ?

-- name: count_cases
SELECT status, COUNT(*) FROM review_case WHERE (? = '' OR environment = ?) GROUP BY status

-- name: move_case
UPDATE review_case SET status = ?, changed_us = ? WHERE id = ?

-- name: insert_case_event
INSERT INTO case_event (case_id, time_us, kind, actor, text) VALUES (?, ?, ?, ?, ?)

-- name: case_events
SELECT case_id, time_us, kind, actor, text FROM case_event WHERE case_id = ? ORDER BY id

-- name: cases_of_trace
SELECT id, environment, trace_id, evaluation_id, incident_id, status, severity, reason, service, title, opened_us, changed_us
FROM review_case WHERE trace_id = ? ORDER BY opened_us, id

-- name: insert_trace_flag
INSERT IGNORE INTO trace_flag (trace_id, kind, about, text, raised_us, settled_us, settled_by) VALUES (?, ?, ?, ?, ?, NULL, '')

-- name: list_trace_flags
SELECT trace_id, kind, about, text, raised_us, settled_us, settled_by FROM trace_flag
WHERE (settled_us IS NOT NULL) = ? ORDER BY raised_us DESC, trace_id DESC LIMIT ?

-- name: settle_trace_flags
UPDATE trace_flag SET settled_us = ?, settled_by = ? WHERE trace_id = ? AND settled_us IS NULL

-- name: newest_evaluation
SELECT COALESCE(MAX(created_us), 0) FROM evaluation

-- name: model_opinion
SELECT reply FROM model_opinion WHERE input_hash = ?

-- name: insert_model_opinion
INSERT IGNORE INTO model_opinion (input_hash, model, reply, created_us) VALUES (?, ?, ?, ?)

-- name: drop_model_opinions
DELETE FROM model_opinion WHERE created_us < ? LIMIT 1000
