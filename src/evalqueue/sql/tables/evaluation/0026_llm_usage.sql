-- What LLM calls have used, added up as they are logged: costs are read without reading each call, and
-- outlast the calls, which retention deletes.

CREATE TABLE llm_usage (
    owner text NOT NULL,
    hour timestamptz NOT NULL,   -- in which the calls started; whole hours in UTC
    run_id uuid,                 -- NULL: of jobs without a run, and of runs that were deleted
    provider text NOT NULL,
    model text NOT NULL,         -- as served
    evaluator text NOT NULL,
    calls bigint NOT NULL,       -- without those that an earlier answer served
    batched_calls bigint NOT NULL,
    tokens_in bigint,            -- NULL: no call reported any
    tokens_out bigint,
    cost_usd numeric,            -- of calls whose price is known; NULL: of none
    unpriced_calls bigint NOT NULL,
    UNIQUE NULLS NOT DISTINCT (owner, hour, run_id, provider, model, evaluator)
) WITH (fillfactor = 50);

CREATE INDEX llm_usage_of_run ON llm_usage (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX llm_usage_of_hour ON llm_usage (hour);

INSERT INTO llm_usage
SELECT COALESCE(run.owner, job.owner), date_trunc('hour', log.started_at, 'UTC'), log.run_id,
    log.provider, log.model, log.evaluator, count(*), count(*) FILTER (WHERE log.batched),
    sum(log.tokens_in), sum(log.tokens_out), sum(log.cost_usd),
    count(*) FILTER (WHERE log.cost_usd IS NULL AND log.tokens_in IS NOT NULL)
FROM api_logs AS log
    LEFT JOIN eval_runs AS run ON run.id = log.run_id
    LEFT JOIN jobs AS job ON log.run_id IS NULL AND job.id = log.job_id
WHERE log.outcome <> 'reused' AND COALESCE(run.owner, job.owner) IS NOT NULL
GROUP BY 1, 2, 3, 4, 5, 6;
