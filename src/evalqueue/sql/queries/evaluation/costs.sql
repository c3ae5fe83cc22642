-- What LLM calls have cost.

-- costs --
-- The calls since an hour, in groups; the dearest first
SELECT CASE %(by)s
        WHEN 'model' THEN provider || '/' || model
        WHEN 'evaluator' THEN evaluator
        WHEN 'run' THEN COALESCE(run_id::text, 'no run')
        WHEN 'owner' THEN owner
        WHEN 'month' THEN to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM')
    END AS name,
    sum(calls)::bigint AS calls, sum(batched_calls)::bigint AS batched_calls,
    sum(tokens_in)::bigint AS tokens_in, sum(tokens_out)::bigint AS tokens_out,
    sum(cost_usd) AS cost_usd, sum(unpriced_calls)::bigint AS unpriced_calls
FROM llm_usage
WHERE hour >= date_trunc('hour', %(since)s, 'UTC')
    AND (%(owner)s::text IS NULL OR owner = %(owner)s)
GROUP BY 1 ORDER BY cost_usd DESC NULLS LAST, calls DESC, name LIMIT %(limit)s
