-- The calls of jobs without a run.

-- recorded --
-- Answers that were bought, for a conversation or all, newest first
SELECT request_hash, response AS text, model, request_id, duration_ms AS latency_ms,
    tokens_in, tokens_out, tokens_cached, tokens_reasoning
FROM api_logs
WHERE job_id = %(job_id)s AND run_id IS NULL AND request_hash IS NOT NULL
    AND (%(thread_id)s::text IS NULL OR thread_id = %(thread_id)s)
ORDER BY id DESC

-- usage --
-- What the calls of each evaluator used, about one conversation or all
SELECT evaluator, count(*) AS calls, COALESCE(sum(tokens_in), 0) AS tokens_in,
    COALESCE(sum(tokens_out), 0) AS tokens_out, sum(cost_usd) AS cost_usd
FROM api_logs
WHERE job_id = %(job_id)s AND run_id IS NULL
    AND (%(thread_id)s::text IS NULL OR thread_id = %(thread_id)s)
GROUP BY evaluator ORDER BY evaluator
