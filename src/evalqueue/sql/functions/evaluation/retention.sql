-- Delete LLM calls of the runs that were over before a moment, oldest first, at most so many. A run
-- that has none is remembered: otherwise each look would read all old runs, which are kept longer.
-- Returns how many; 0: none is left.
CREATE OR REPLACE FUNCTION evalqueue_prune_calls(before timestamptz, chunk integer) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    old uuid[];
    deleted integer;
BEGIN
    LOOP
        -- Locked: a call that is logged meanwhile waits, and sets has_calls again.
        old := ARRAY(SELECT id FROM eval_runs WHERE has_calls AND completed_at < before
            ORDER BY completed_at LIMIT GREATEST(chunk / 50, 1) FOR UPDATE SKIP LOCKED);
        EXIT WHEN old = '{}';
        DELETE FROM api_logs WHERE id IN (
            SELECT id FROM api_logs WHERE run_id = ANY (old) LIMIT chunk);
        GET DIAGNOSTICS deleted = ROW_COUNT;
        IF deleted < chunk THEN
            UPDATE eval_runs SET has_calls = false WHERE id = ANY (old);
        END IF;
        EXIT WHEN deleted > 0;
    END LOOP;
    RETURN COALESCE(deleted, 0);
END;
$$;

-- Delete what is old, one chunk at a time. NULL keeps for ever. Returns how many rows were deleted;
-- 0: none is left.
--
--   keep_jobs  jobs that are over, with their attempts, tasks, caps, and datasets and apps that
--              nothing needs; posted conversations, by their last message
--   keep_runs  runs that are over, with their threads and calls
--   keep_logs  the LLM calls of runs, and of jobs without a run, that are over
--   keep_audit rows of the audit log
--
-- The audit log says of the first chunk that deletes something what is deleted.
CREATE OR REPLACE FUNCTION evalqueue_prune(
    keep_jobs interval, keep_runs interval, keep_logs interval, chunk integer DEFAULT 1000,
    keep_audit interval DEFAULT NULL, is_recorded boolean DEFAULT false
) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    unneeded text[];
    deleted integer;
    total integer := 0;
BEGIN
    -- The calls of a job without a run stay as long as the job.
    DELETE FROM api_logs WHERE id IN (
        SELECT log.id FROM api_logs AS log LEFT JOIN jobs ON jobs.id = log.job_id
        WHERE log.run_id IS NULL AND (jobs.id IS NULL OR jobs.completed_at < moment - keep_logs)
        LIMIT chunk);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    total := total + deleted;
    IF keep_logs IS NOT NULL THEN
        total := total + evalqueue_prune_calls(moment - keep_logs, chunk);
    END IF;
    IF keep_runs IS NOT NULL THEN
        -- One run may have ten thousand threads.
        DELETE FROM eval_runs WHERE id IN (
            SELECT id FROM eval_runs WHERE completed_at < moment - keep_runs
            ORDER BY completed_at LIMIT GREATEST(chunk / 100, 1) FOR UPDATE SKIP LOCKED);
        GET DIAGNOSTICS deleted = ROW_COUNT;
        total := total + deleted;
    END IF;
    IF keep_jobs IS NOT NULL THEN
        total := total + evalqueue_prune_jobs(keep_jobs, chunk);
        unneeded := ARRAY(SELECT id FROM datasets
            WHERE created_at < moment - keep_jobs AND NOT evalqueue_dataset_is_needed(id)
            LIMIT GREATEST(chunk / 500, 1) FOR UPDATE SKIP LOCKED);  -- each may have 100,000 threads
        -- Checked again, now that they are locked: a job may just have been submitted.
        DELETE FROM datasets WHERE id = ANY (unneeded) AND NOT evalqueue_dataset_is_needed(id);
        GET DIAGNOSTICS deleted = ROW_COUNT;
        total := total + deleted;
        -- A monthly cap is needed for as long as the month.
        DELETE FROM llm_caps WHERE scope IN (
            SELECT scope FROM llm_caps
            WHERE created_at < moment - GREATEST(keep_jobs, interval '32 days')
                AND (scope LIKE 'month %' OR NOT EXISTS (
                    SELECT FROM jobs WHERE 'job ' || jobs.id = scope))
            LIMIT chunk FOR UPDATE SKIP LOCKED);
        GET DIAGNOSTICS deleted = ROW_COUNT;
        total := total + deleted;
        unneeded := ARRAY(SELECT digest FROM apps
            WHERE created_at < moment - keep_jobs AND NOT evalqueue_app_is_needed(digest)
            LIMIT chunk FOR UPDATE SKIP LOCKED);
        DELETE FROM apps WHERE digest = ANY (unneeded) AND NOT evalqueue_app_is_needed(digest);
        GET DIAGNOSTICS deleted = ROW_COUNT;
        total := total + deleted;
        -- Old is what has had no message for so long, read or not. One may have 10,000.
        DELETE FROM posted_threads WHERE (owner, thread_id) IN (
            SELECT owner, thread_id FROM posted_threads WHERE posted_at < moment - keep_jobs
            LIMIT GREATEST(chunk / 10, 1) FOR UPDATE SKIP LOCKED);
        GET DIAGNOSTICS deleted = ROW_COUNT;
        total := total + deleted;
        -- Rows that no job has stored. They came in about the order of their ids.
        DELETE FROM watched_rows WHERE id IN (
            SELECT id FROM (SELECT id, arrived_at FROM watched_rows ORDER BY id LIMIT chunk) AS first
            WHERE arrived_at < moment - keep_jobs);
        GET DIAGNOSTICS deleted = ROW_COUNT;
        total := total + deleted;
        DELETE FROM source_readings WHERE id IN (
            SELECT id FROM source_readings WHERE run_id IS NULL AND read_at < moment - keep_jobs
            LIMIT chunk);
        GET DIAGNOSTICS deleted = ROW_COUNT;
        total := total + deleted;
    END IF;
    IF keep_audit IS NOT NULL THEN
        total := total + evalqueue_prune_audit(keep_audit, chunk);
    END IF;
    IF total > 0 AND NOT is_recorded THEN
        PERFORM evalqueue_audit('rows.prune', 'retention',
            concat_ws(', ', CASE WHEN keep_jobs IS NOT NULL THEN 'jobs' END,
                CASE WHEN keep_runs IS NOT NULL THEN 'runs' END,
                CASE WHEN keep_logs IS NOT NULL THEN 'logs' END,
                CASE WHEN keep_audit IS NOT NULL THEN 'audit' END),
            jsonb_strip_nulls(jsonb_build_object('keep_jobs', keep_jobs, 'keep_runs', keep_runs,
                'keep_logs', keep_logs, 'keep_audit', keep_audit)));
    END IF;
    RETURN total;
END;
$$;
