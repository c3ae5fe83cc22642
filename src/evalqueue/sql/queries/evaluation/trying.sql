-- What evaluators found where they were tried.

-- keep --
INSERT INTO tried_conversations (job_id, thread_id, findings)
VALUES (%(job_id)s, %(thread_id)s, %(findings)s)
ON CONFLICT DO NOTHING

-- found --
SELECT thread_id, findings FROM tried_conversations WHERE job_id = %(job_id)s ORDER BY id

-- recorded --
-- Answers that were bought for a conversation, newest first
SELECT request_hash, response AS text, model, request_id, duration_ms AS latency_ms,
    tokens_in, tokens_out, tokens_cached, tokens_reasoning
FROM api_logs
WHERE job_id = %(job_id)s AND run_id IS NULL AND thread_id = %(thread_id)s
    AND request_hash IS NOT NULL
ORDER BY id DESC

-- usage --
-- What the calls of each evaluator used, about one conversation or all
SELECT evaluator, count(*) AS calls, COALESCE(sum(tokens_in), 0) AS tokens_in,
    COALESCE(sum(tokens_out), 0) AS tokens_out, sum(cost_usd) AS cost_usd
FROM api_logs
WHERE job_id = %(job_id)s AND run_id IS NULL
    AND (%(thread_id)s::text IS NULL OR thread_id = %(thread_id)s)
GROUP BY evaluator ORDER BY evaluator
