-- What LLM calls have cost.

-- costs --
-- The calls of runs that were created since a moment, and of such jobs without a run, in groups; the
-- dearest first
SELECT CASE %(by)s
        WHEN 'model' THEN log.provider || '/' || log.model
        WHEN 'evaluator' THEN log.evaluator
        WHEN 'run' THEN COALESCE(log.run_id::text, 'no run')
        WHEN 'owner' THEN log.owner
        WHEN 'month' THEN to_char(log.started_at AT TIME ZONE 'UTC', 'YYYY-MM')
    END AS name,
    count(*) AS calls, count(*) FILTER (WHERE log.batched) AS batched_calls,
    sum(log.tokens_in) AS tokens_in, sum(log.tokens_out) AS tokens_out,
    sum(log.cost_usd) AS cost_usd,
    count(*) FILTER (WHERE log.cost_usd IS NULL AND log.tokens_in IS NOT NULL) AS unpriced_calls
FROM (
    SELECT run.owner, log.run_id, log.provider, log.model, log.evaluator, log.started_at, log.batched,
        log.tokens_in, log.tokens_out, log.cost_usd, log.outcome
    FROM eval_runs AS run JOIN api_logs AS log ON log.run_id = run.id
    WHERE run.created_at >= %(since)s
    UNION ALL
    SELECT job.owner, NULL, log.provider, log.model, log.evaluator, log.started_at, log.batched,
        log.tokens_in, log.tokens_out, log.cost_usd, log.outcome
    FROM jobs AS job JOIN api_logs AS log ON log.job_id = job.id AND log.run_id IS NULL
    WHERE job.created_at >= %(since)s
) AS log
WHERE outcome <> 'reused' AND (%(owner)s::text IS NULL OR owner = %(owner)s)
GROUP BY 1 ORDER BY cost_usd DESC NULLS LAST, calls DESC, name LIMIT %(limit)s
