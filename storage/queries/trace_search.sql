-- The filter of every query here: what is empty does not matter.
-- name: trace_filter
started_us >= ? AND started_us < ?
  AND (? = '' OR environment = ?)
  AND (? = '' OR source = ?)
  AND (? = '' OR status = ?)
  AND (? = '' OR outcome = ?)
  AND (? = '' OR action = ?)
  AND (? = '' OR service = ?)
  AND (? = '' OR intent = ?)
  AND (? = '' OR model = ?)
  AND (? = '' OR thread_id = ?)
  AND (? = '' OR user_id = ?)
  AND (? = 0 OR (open_spans > 0 AND status <> 'running'))
  AND (? = '' OR search_text LIKE ? OR question LIKE ?)

-- name: search_traces
SELECT id, environment, question, status, outcome, action, started_us, ended_us, decisions, queries, evidence,
  source, external_id, name, service, intent, thread_id, user_id, model, tokens, cost, spans, open_spans, failed_spans
FROM trace
WHERE {{trace_filter}}
ORDER BY started_us DESC, id DESC LIMIT ? OFFSET ?

-- name: trace_facets
WITH found AS (
  SELECT environment, source, status, outcome, action, service, intent, model FROM trace
  WHERE {{trace_filter}}
)
SELECT 'environment', CAST(environment AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin, COUNT(*) FROM found GROUP BY environment
UNION ALL SELECT 'source', CAST(source AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin, COUNT(*) FROM found GROUP BY source
UNION ALL SELECT 'status', CAST(status AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin, COUNT(*) FROM found GROUP BY status
UNION ALL SELECT 'outcome', CAST(outcome AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin, COUNT(*) FROM found GROUP BY outcome
UNION ALL SELECT 'action', CAST(action AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin, COUNT(*) FROM found GROUP BY action
UNION ALL SELECT 'service', CAST(service AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin, COUNT(*) FROM found GROUP BY service
UNION ALL SELECT 'intent', CAST(intent AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin, COUNT(*) FROM found GROUP BY intent
UNION ALL SELECT 'model', CAST(model AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin, COUNT(*) FROM found GROUP BY model

-- name: trace_sums
SELECT COUNT(*), COALESCE(SUM(tokens), 0), COALESCE(SUM(cost), 0), COALESCE(SUM(spans), 0), COALESCE(SUM(open_spans), 0),
  COALESCE(SUM(failed_spans), 0), COALESCE(SUM(open_spans > 0 AND status <> 'running'), 0)
FROM trace
WHERE {{trace_filter}}

-- name: trace_durations
SELECT DISTINCT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY spent) OVER (), PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY spent) OVER ()
FROM (
  SELECT (ended_us - started_us) / 1000000 AS spent FROM trace
  WHERE {{trace_filter}}
    AND ended_us IS NOT NULL
) AS ended
