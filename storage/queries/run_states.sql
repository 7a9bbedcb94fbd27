-- The states in which runs of the team were kept; they are known by the ids of their traces.

-- name: drop_checkpoints
DELETE FROM checkpoints WHERE thread_id = ?

-- name: drop_checkpoint_blobs
DELETE FROM checkpoint_blobs WHERE thread_id = ?

-- name: drop_checkpoint_writes
DELETE FROM checkpoint_writes WHERE thread_id = ?

-- name: old_run_states
SELECT thread_id FROM checkpoints WHERE thread_id LIKE 'trc\_%'
GROUP BY thread_id HAVING MAX(JSON_VALUE(checkpoint, '$.ts')) < ? LIMIT 500
