-- An attempt, from its first fenced write to its end.

-- The fence: true while this attempt is the one that runs. It holds until the transaction ends.
CREATE OR REPLACE FUNCTION evalqueue_hold_job(job_id uuid, attempt integer) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
BEGIN
    PERFORM 1 FROM jobs
        WHERE jobs.id = job_id AND jobs.attempt = attempt AND jobs.status = 'running'
        FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- A process that is frozen while it holds the row must not block a cancel for ever.
    PERFORM set_config('idle_in_transaction_session_timeout', '15s', true);
    RETURN true;
END;
$$;

-- One statement per job and interval: fence, lease, progress. False: the attempt is over, stop.
-- Progress is merged into the stored one, and its count never goes down.
CREATE OR REPLACE FUNCTION evalqueue_flush_job(
    job_id uuid, attempt integer, progress jsonb, lease_seconds double precision
) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    lease CONSTANT interval := make_interval(secs => lease_seconds);
BEGIN
    IF progress IS NULL THEN
        -- Nothing to write while most of the lease is left: reading is enough to check the fence.
        PERFORM 1 FROM jobs
            WHERE jobs.id = job_id AND jobs.attempt = attempt AND jobs.status = 'running'
                AND jobs.lease_expires_at > clock_timestamp() + lease * 2 / 3;
        IF FOUND THEN
            RETURN true;
        END IF;
    END IF;
    UPDATE jobs SET
        lease_expires_at = clock_timestamp() + lease,
        progress = CASE WHEN progress IS NULL THEN jobs.progress ELSE
            jobs.progress || progress || jsonb_build_object('current', GREATEST(
                (jobs.progress ->> 'current')::integer, (progress ->> 'current')::integer))
            END
    WHERE jobs.id = job_id AND jobs.attempt = attempt AND jobs.status = 'running';
    RETURN FOUND;
END;
$$;

-- The same for many attempts at once: `held` is an array of `{"job_id", "attempt", "progress"}`. True:
-- alive, and what was to be written is. False: the attempt is over. NULL: another transaction locks
-- the job's row, and nothing was written; one job that is locked holds up none of the others.
CREATE OR REPLACE FUNCTION evalqueue_flush_jobs(held jsonb, lease_seconds double precision)
RETURNS TABLE (job_id uuid, alive boolean)
LANGUAGE sql SET search_path FROM CURRENT
-- By id only: a plan that was made for small tables must not read whole ones once they have grown.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH held AS MATERIALIZED (
        SELECT given.job_id, given.attempt, NULLIF(given.progress, 'null') AS progress,
            make_interval(secs => $2) AS lease
        FROM jsonb_to_recordset($1) AS given (job_id uuid, attempt integer, progress jsonb)
    ), seen AS MATERIALIZED (
        SELECT held.*, (jobs.attempt = held.attempt AND jobs.status = 'running') IS TRUE AS alive,
            -- Nothing to write while most of the lease is left: reading is enough.
            held.progress IS NULL AND jobs.lease_expires_at > clock_timestamp() + lease * 2 / 3
                AS is_fresh
        FROM held LEFT JOIN jobs ON jobs.id = held.job_id
    ), locked AS MATERIALIZED (
        SELECT jobs.id, seen.progress, seen.lease
        FROM seen JOIN jobs ON jobs.id = seen.job_id
        WHERE seen.alive AND NOT seen.is_fresh
            AND jobs.attempt = seen.attempt AND jobs.status = 'running'
        FOR NO KEY UPDATE OF jobs SKIP LOCKED
    ), written AS (
        UPDATE jobs SET
            lease_expires_at = clock_timestamp() + locked.lease,
            progress = CASE WHEN locked.progress IS NULL THEN jobs.progress ELSE
                jobs.progress || locked.progress || jsonb_build_object('current', GREATEST(
                    (jobs.progress ->> 'current')::integer,
                    (locked.progress ->> 'current')::integer)) END
        FROM locked WHERE jobs.id = locked.id RETURNING jobs.id
    )
    SELECT seen.job_id,
        CASE WHEN NOT seen.alive THEN false WHEN seen.is_fresh OR written.id IS NOT NULL THEN true END
    FROM seen LEFT JOIN written ON written.id = seen.job_id;
$$;

-- An attempt ends. Returns the job's status afterwards; NULL: the attempt was already over, and
-- nothing was changed.
--
--   completed  its handler returned `result`
--   failed     for good, because of `error`
--   retry      again after `delay_seconds`, unless its attempts are used up
--   released   back to its position in the queue, not counted (the worker is stopping)
--   yielded    back to the end of its queue, not counted (it yields the slot to another job)
--   postponed  again after `delay_seconds`, not counted (it waits for something outside)
CREATE OR REPLACE FUNCTION evalqueue_finish_job(
    job_id uuid,
    attempt integer,
    outcome text,
    result jsonb DEFAULT NULL,
    error text DEFAULT NULL,
    delay_seconds double precision DEFAULT 0,
    delete_task boolean DEFAULT false
) RETURNS text
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    job jobs;
    used integer;
BEGIN
    PERFORM 1 FROM procrastinate_jobs AS task
        WHERE task.id = (SELECT jobs.task_id FROM jobs WHERE jobs.id = job_id) FOR UPDATE;
    SELECT * INTO job FROM jobs
        WHERE jobs.id = job_id AND jobs.attempt = attempt AND jobs.status = 'running'
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    error := left(error, 4000);
    used := job.failed_attempts + CASE WHEN outcome IN ('failed', 'retry') THEN 1 ELSE 0 END;
    IF outcome = 'retry' AND used >= job.max_attempts THEN
        outcome := 'failed';
        error := left(format('Gave up after %s attempts. The last one: %s', used, error), 4000);
    END IF;

    UPDATE job_attempts SET
        ended_at = clock_timestamp(),
        outcome = CASE evalqueue_finish_job.outcome WHEN 'retry' THEN 'retried' ELSE evalqueue_finish_job.outcome END,
        error = evalqueue_finish_job.error
    WHERE job_attempts.job_id = job.id AND job_attempts.attempt = job.attempt;

    CASE outcome
        WHEN 'completed', 'failed' THEN
            UPDATE jobs SET
                result = evalqueue_finish_job.result,
                error_message = CASE outcome WHEN 'failed' THEN error END,
                failed_attempts = used
            WHERE jobs.id = job.id;
            PERFORM procrastinate_finish_job_v1(
                job.task_id,
                CASE outcome WHEN 'completed' THEN 'succeeded' ELSE 'failed' END::procrastinate_job_status,
                false
            );
            IF delete_task THEN
                DELETE FROM procrastinate_jobs WHERE id = job.task_id;
            END IF;
        WHEN 'retry', 'released', 'yielded', 'postponed' THEN
            UPDATE jobs SET failed_attempts = used WHERE jobs.id = job.id;
            PERFORM procrastinate_retry_job_v2(job.task_id, CASE outcome
                WHEN 'yielded' THEN clock_timestamp()
                WHEN 'released' THEN NULL
                ELSE clock_timestamp() + make_interval(secs => delay_seconds) END, NULL, NULL, NULL);
    END CASE;
    RETURN (SELECT jobs.status FROM jobs WHERE jobs.id = job.id);
END;
$$;

-- Attempts that completed: `ended` is an array of `{"job_id", "attempt", "result"}`. Returns the job's
-- status afterwards, as evalqueue_finish_job does, of each of them that was recorded or that was over
-- already (NULL). One whose rows are locked by another transaction is not among them, and nothing of
-- it was changed: it holds up none of the others.
CREATE OR REPLACE FUNCTION evalqueue_finish_jobs(ended jsonb)
RETURNS TABLE (job_id uuid, status text)
LANGUAGE plpgsql SET search_path FROM CURRENT
-- By id only: a plan that was made for small tables must not read whole ones once they have grown.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    tasks bigint[];
    locked uuid[];
BEGIN
    SELECT array_agg(id) INTO tasks FROM (
        SELECT task.id
        FROM jsonb_to_recordset(ended) AS given (job_id uuid, attempt integer)
            JOIN jobs USING (attempt) JOIN procrastinate_jobs AS task ON task.id = jobs.task_id
        WHERE jobs.id = given.job_id AND jobs.status = 'running'
        ORDER BY task.id FOR UPDATE OF task SKIP LOCKED) AS free;
    SELECT array_agg(id), array_agg(task_id) INTO locked, tasks FROM (
        SELECT jobs.id, jobs.task_id
        FROM jsonb_to_recordset(ended) AS given (job_id uuid, attempt integer)
            JOIN jobs USING (attempt)
        WHERE jobs.id = given.job_id AND jobs.status = 'running' AND jobs.task_id = ANY (tasks)
        ORDER BY jobs.task_id FOR NO KEY UPDATE OF jobs SKIP LOCKED) AS free;

    UPDATE job_attempts SET ended_at = moment, outcome = 'completed', error = NULL
        FROM jsonb_to_recordset(ended) AS given (job_id uuid, attempt integer)
        WHERE job_attempts.job_id = given.job_id AND job_attempts.attempt = given.attempt
            AND given.job_id = ANY (locked);
    UPDATE jobs SET result = given.result, error_message = NULL
        FROM jsonb_to_recordset(ended) AS given (job_id uuid, result jsonb)
        WHERE jobs.id = given.job_id AND jobs.id = ANY (locked)
            -- Without them the row gets its empty result together with its status.
            AND (given.result <> '{}' OR jobs.result IS NOT NULL);
    -- As procrastinate_finish_job_v1 does it, for all of them.
    UPDATE procrastinate_jobs SET
        status = 'succeeded', abort_requested = false, attempts = attempts + 1
    WHERE id = ANY (tasks);

    RETURN QUERY
        SELECT given.job_id,
            CASE WHEN jobs.attempt = given.attempt AND given.job_id = ANY (locked)
                THEN jobs.status END
        FROM jsonb_to_recordset(ended) AS given (job_id uuid, attempt integer)
            LEFT JOIN jobs ON jobs.id = given.job_id
        WHERE given.job_id = ANY (locked)
            OR (jobs.attempt = given.attempt AND jobs.status = 'running') IS NOT TRUE;
END;
$$;
