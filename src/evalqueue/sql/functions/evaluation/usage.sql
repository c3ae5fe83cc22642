-- What LLM calls have used.

CREATE OR REPLACE FUNCTION evalqueue_add_usage(added llm_usage[]) RETURNS void
LANGUAGE sql SET search_path FROM CURRENT AS $$
    INSERT INTO llm_usage AS usage
    -- In one order, so that two statements which add to the same rows don't deadlock.
    SELECT * FROM unnest(added) ORDER BY owner, hour, run_id, provider, model, evaluator
    ON CONFLICT (owner, hour, run_id, provider, model, evaluator) DO UPDATE SET
        calls = usage.calls + EXCLUDED.calls,
        batched_calls = usage.batched_calls + EXCLUDED.batched_calls,
        tokens_in = COALESCE(usage.tokens_in + EXCLUDED.tokens_in, usage.tokens_in, EXCLUDED.tokens_in),
        tokens_out =
            COALESCE(usage.tokens_out + EXCLUDED.tokens_out, usage.tokens_out, EXCLUDED.tokens_out),
        cost_usd = COALESCE(usage.cost_usd + EXCLUDED.cost_usd, usage.cost_usd, EXCLUDED.cost_usd),
        unpriced_calls = usage.unpriced_calls + EXCLUDED.unpriced_calls
$$;

-- Adds up the calls that a statement has logged. One whose job and run are gone has no owner. A run
-- that goes on after retention has deleted its calls has some again.
CREATE OR REPLACE FUNCTION evalqueue_count_usage() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM evalqueue_add_usage(array_agg(ROW(used.*)::llm_usage)) FROM (
        SELECT COALESCE(run.owner, job.owner) AS owner,
            date_trunc('hour', log.started_at, 'UTC') AS hour,
            log.run_id, log.provider, log.model, log.evaluator,
            count(*) AS calls, count(*) FILTER (WHERE log.batched) AS batched_calls,
            sum(log.tokens_in) AS tokens_in, sum(log.tokens_out) AS tokens_out,
            sum(log.cost_usd) AS cost_usd,
            count(*) FILTER (WHERE log.cost_usd IS NULL AND log.tokens_in IS NOT NULL)
        FROM new_calls AS log
            LEFT JOIN eval_runs AS run ON run.id = log.run_id
            LEFT JOIN jobs AS job ON log.run_id IS NULL AND job.id = log.job_id
        WHERE log.outcome <> 'reused' AND COALESCE(run.owner, job.owner) IS NOT NULL
        GROUP BY 1, 2, 3, 4, 5, 6
    ) AS used;
    UPDATE eval_runs SET has_calls = true
    WHERE NOT has_calls AND id IN (SELECT run_id FROM new_calls);
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_count_usage AFTER INSERT ON api_logs
    REFERENCING NEW TABLE AS new_calls
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_count_usage();

-- What the calls of deleted runs have used remains, without the runs.
CREATE OR REPLACE FUNCTION evalqueue_keep_usage() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    remaining llm_usage[];
BEGIN
    WITH removed AS (
        DELETE FROM llm_usage WHERE run_id IN (SELECT id FROM old_runs) RETURNING *
    ), used AS (
        SELECT owner, hour, NULL::uuid, provider, model, evaluator, sum(calls)::bigint,
            sum(batched_calls)::bigint, sum(tokens_in)::bigint, sum(tokens_out)::bigint,
            sum(cost_usd), sum(unpriced_calls)::bigint
        FROM removed GROUP BY owner, hour, provider, model, evaluator
    )
    SELECT array_agg(ROW(used.*)::llm_usage) INTO remaining FROM used;
    PERFORM evalqueue_add_usage(remaining);
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_keep_usage AFTER DELETE ON eval_runs
    REFERENCING OLD TABLE AS old_runs
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_keep_usage();
