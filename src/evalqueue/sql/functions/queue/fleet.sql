-- Workers, and what the leader does for all of them.

CREATE OR REPLACE FUNCTION evalqueue_register_worker(
    name text, host text, pid integer, version text, queues text[], job_types text[], slots integer,
    session_key bigint DEFAULT NULL
) RETURNS job_workers
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    worker job_workers;
BEGIN
    INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id INTO worker.id;
    INSERT INTO job_workers (id, name, host, pid, version, queues, job_types, slots, session_key)
        -- A restarted process may have its predecessor's host and number: the id tells them apart.
        VALUES (worker.id, format('%s@%s:%s/%s', name, host, pid, worker.id), host, pid, version,
            queues, job_types, slots, session_key)
        RETURNING * INTO worker;
    RETURN worker;
END;
$$;

-- A worker is alive. False: its record was deleted, and it has to register again.
CREATE OR REPLACE FUNCTION evalqueue_heartbeat(
    worker_id bigint, stuck integer, draining boolean, listening boolean,
    troubles jsonb DEFAULT '[]'
) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    me job_workers;
BEGIN
    UPDATE procrastinate_workers SET last_heartbeat = clock_timestamp() WHERE id = worker_id;
    SELECT * INTO me FROM job_workers WHERE id = worker_id FOR NO KEY UPDATE;
    IF me.lost_at IS NOT NULL THEN
        BEGIN
            PERFORM evalqueue_worker_is_back(me.name, me.lost_at);
        EXCEPTION WHEN query_canceled OR OTHERS THEN
            RAISE WARNING 'Attempts that % lost can''t be given back: %', me.name, SQLERRM;
        END;
    END IF;
    UPDATE job_workers SET lost_at = NULL,
        stuck = evalqueue_heartbeat.stuck, draining = evalqueue_heartbeat.draining,
        listening = evalqueue_heartbeat.listening, troubles = evalqueue_heartbeat.troubles, seen_at = clock_timestamp()
    WHERE id = worker_id;
    RETURN FOUND;
END;
$$;

CREATE OR REPLACE FUNCTION evalqueue_unregister_worker(worker_id bigint) RETURNS void
LANGUAGE sql SET search_path FROM CURRENT AS $$
    UPDATE job_leader SET ends_at = clock_timestamp()
        WHERE worker = (SELECT name FROM job_workers WHERE id = $1) AND ends_at > clock_timestamp();
    DELETE FROM procrastinate_workers WHERE id = $1;
$$;

-- Why an attempt that lost its worker is not charged.
--
--   later     the worker claimed another job so much later that this one can't be the reason
--   beside    so, and that other job is isolated: it is the one that is charged
--   together  the worker had claimed several jobs shortly after each other, and one of them may be it
CREATE OR REPLACE FUNCTION evalqueue_spared_because(reason text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE $1
        WHEN 'later' THEN 'Its worker was lost soon after it claimed another job'
        WHEN 'beside' THEN 'Its worker was lost soon after it claimed a job that runs apart from others'
        WHEN 'together' THEN 'Its worker was lost with several jobs that it had claimed together' END;
$$;

-- What becomes of the open attempts of a worker that is lost: those that are not charged, and why.
CREATE OR REPLACE FUNCTION evalqueue_spared_attempts(worker text)
RETURNS TABLE (job_id uuid, attempt integer, reason text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH held AS (
        SELECT jobs.id, jobs.attempt, jobs.isolated,
            open.started_at >= max(open.started_at) OVER () - evalqueue_apart() AS is_late
        FROM jobs JOIN job_attempts AS open ON open.job_id = jobs.id AND open.attempt = jobs.attempt
        WHERE jobs.status = 'running' AND jobs.worker = $1 AND open.ended_at IS NULL
    ), seen AS (
        SELECT held.id, held.attempt, CASE
            WHEN NOT is_late AND bool_or(is_late AND isolated) OVER () THEN 'beside'
            WHEN NOT is_late THEN 'later'
            WHEN NOT isolated AND count(*) FILTER (WHERE is_late) OVER () > 1 THEN 'together'
            END AS reason
        FROM held
    )
    SELECT seen.id, seen.attempt, evalqueue_spared_because(seen.reason) FROM seen
    WHERE seen.reason IS NOT NULL;
$$;

-- A job whose lease ran out has lost its worker: back to its position in the queue, or failed when
-- that happened too often.
--
-- A worker that dies of one job takes its others with it. Those that it had for 5 s longer are not
-- charged, as often as they may fail. Of several that it claimed within 5 s none is charged: after
-- the second such loss each of them is isolated, and the next time the one that is the reason is lost
-- alone. So every loss brings a job nearer to its end.
CREATE OR REPLACE FUNCTION evalqueue_recover_job(job jobs) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    later CONSTANT text := evalqueue_spared_because('later');
    beside CONSTANT text := evalqueue_spared_because('beside');
    together CONSTANT text := evalqueue_spared_because('together');
    try job_attempts;
    why text;
    times integer;  -- that it was spared for this reason, with this time
BEGIN
    SELECT * INTO try FROM job_attempts WHERE job_id = job.id AND ended_at IS NULL;
    IF NOT FOUND THEN  -- claimed, and lost before it began
        INSERT INTO job_attempts (job_id, attempt, worker) VALUES (
            job.id, job.attempt, COALESCE(job.worker, 'unknown'))
            ON CONFLICT DO NOTHING RETURNING * INTO try;
        try.error := 'Its worker claimed it and never began';
    END IF;

    IF try.error IN (later, beside, together) THEN  -- another job of this worker was recovered before
        why := try.error;
    ELSE
        SELECT reason INTO why FROM evalqueue_spared_attempts(job.worker) WHERE job_id = job.id;
        BEGIN
            -- The leases of the others may run out later than this one.
            UPDATE job_attempts SET error = other.reason
            FROM (
                SELECT spared.* FROM evalqueue_spared_attempts(job.worker) AS spared
                    JOIN job_attempts AS free USING (job_id, attempt)
                WHERE spared.job_id <> job.id FOR NO KEY UPDATE OF free SKIP LOCKED
            ) AS other
            WHERE job_attempts.job_id = other.job_id AND job_attempts.attempt = other.attempt;
        EXCEPTION WHEN query_canceled OR OTHERS THEN
            RAISE WARNING 'The jobs of % can''t be spared: %', job.worker, SQLERRM;
        END;
    END IF;
    IF why IS NOT NULL THEN
        SELECT 1 + count(*) INTO times FROM job_attempts AS earlier
            WHERE earlier.job_id = job.id AND earlier.ended_at IS NOT NULL AND earlier.error = why;
    END IF;

    IF why IN (beside, together) OR why = later AND times <= job.max_attempts THEN
        UPDATE job_attempts SET ended_at = clock_timestamp(), outcome = 'released', error = why
            WHERE job_id = job.id AND ended_at IS NULL;
        IF why = together AND times >= 2 THEN
            UPDATE jobs SET isolated = true WHERE id = job.id;
        END IF;
        PERFORM procrastinate_retry_job_v2(job.task_id, NULL, NULL, NULL, NULL);
        RETURN;
    END IF;

    UPDATE job_attempts SET
        ended_at = clock_timestamp(), outcome = 'lost',
        error = COALESCE(NULLIF(try.error, later), 'Its worker stopped answering')
    WHERE job_id = job.id AND ended_at IS NULL;
    UPDATE jobs SET
        failed_attempts = failed_attempts + 1,
        error_message = CASE WHEN failed_attempts + 1 >= max_attempts THEN (
            SELECT left(CASE WHEN count(*) >= max_attempts
                THEN format('Quarantined: workers lost to it: %s', count(*))
                ELSE format('Gave up after %s attempts. The last one lost its worker', failed_attempts + 1)
                END || format(' (%s)', string_agg(worker, ', ' ORDER BY attempt)), 4000)
            FROM job_attempts WHERE job_id = jobs.id AND outcome = 'lost') END
    WHERE id = job.id;
    IF job.failed_attempts + 1 >= job.max_attempts THEN
        PERFORM procrastinate_finish_job_v1(job.task_id, 'failed', false);
    ELSE
        PERFORM procrastinate_retry_job_v2(job.task_id, NULL, NULL, NULL, NULL);
    END IF;
END;
$$;

-- Recover the jobs that have lost their worker. Safe to call from anywhere at any time. Returns how
-- many there were. One that can't be recovered (a trigger refuses it) is left as it is, with a
-- warning.
CREATE OR REPLACE FUNCTION evalqueue_recover_jobs() RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    lost record;
    job jobs;
    recovered integer := 0;
BEGIN
    FOR lost IN
        SELECT jobs.id, task.id AS task_id
        FROM jobs JOIN procrastinate_jobs AS task ON task.id = jobs.task_id
        WHERE jobs.status = 'running' AND jobs.lease_expires_at < clock_timestamp()
        ORDER BY task.id LIMIT 100
        FOR UPDATE OF task SKIP LOCKED
    LOOP
        -- An attempt that is storing something holds its row: it is alive, or Postgres will end its
        -- transaction (evalqueue_hold_job), and the next call finds it.
        SELECT * INTO job FROM jobs
            WHERE id = lost.id AND status = 'running' AND lease_expires_at < clock_timestamp()
            FOR NO KEY UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        BEGIN
            PERFORM evalqueue_recover_job(job);
            recovered := recovered + 1;
        EXCEPTION WHEN query_canceled OR OTHERS THEN
            RAISE WARNING 'Job % has lost its worker and can''t be recovered: %', job.id, SQLERRM;
        END;
    END LOOP;
    RETURN recovered;
END;
$$;

-- Lead the fleet, one worker at a time: become the leader if there is none, or renew the term; then
-- recover jobs that lost their worker, delete the records of workers that are gone, and release jobs
-- that wait for a job that is over. `due_in` is the number of seconds until this worker should call
-- again.
CREATE OR REPLACE FUNCTION evalqueue_lead(
    worker text, term_seconds double precision,
    OUT is_leader boolean, OUT recovered integer, OUT due_in double precision
)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    term CONSTANT interval := make_interval(secs => term_seconds);
    moment CONSTANT timestamptz := clock_timestamp();
    unattended CONSTANT interval := moment - (SELECT job_leader.ends_at FROM job_leader);
    ends timestamptz;
    gone bigint;
    next jobs;
    settled integer := 0;
BEGIN
    recovered := 0;
    INSERT INTO job_leader AS held (worker, ends_at) VALUES (worker, moment + term)
        ON CONFLICT (one) DO UPDATE SET
            worker = EXCLUDED.worker, ends_at = EXCLUDED.ends_at,
            term = held.term + CASE WHEN held.worker = EXCLUDED.worker THEN 0 ELSE 1 END,
            since = CASE WHEN held.worker = EXCLUDED.worker THEN held.since ELSE EXCLUDED.since END
        WHERE held.worker = EXCLUDED.worker OR held.ends_at < clock_timestamp();
    is_leader := FOUND;
    IF NOT is_leader THEN
        SELECT job_leader.ends_at INTO ends FROM job_leader;
        due_in := GREATEST(EXTRACT(epoch FROM ends - clock_timestamp()), 0);
        RETURN;
    END IF;

    -- Without any leader the database was away, and no worker could extend a lease: those that are
    -- alive extend theirs within a term.
    IF unattended > term / 2 THEN
        BEGIN
            UPDATE jobs SET lease_expires_at = GREATEST(lease_expires_at, moment + term)
                WHERE status = 'running';
        EXCEPTION WHEN query_canceled OR OTHERS THEN
            RAISE WARNING 'Leases can''t be extended after an outage: %', SQLERRM;
        END;
    END IF;

    -- The leader's row is locked until this ends: there is no second one, however slow this is.
    recovered := evalqueue_recover_jobs();
    -- What a trigger refuses for one row must not end the rest.
    FOR gone IN SELECT id FROM procrastinate_workers
        WHERE last_heartbeat < clock_timestamp() - interval '1 minute'
        ORDER BY id FOR UPDATE SKIP LOCKED
    LOOP
        BEGIN
            DELETE FROM procrastinate_workers WHERE id = gone;
        EXCEPTION WHEN query_canceled OR OTHERS THEN
            RAISE WARNING 'The record of worker % can''t be deleted: %', gone, SQLERRM;
        END;
    END LOOP;
    FOR next IN SELECT waits.* FROM jobs AS waits LEFT JOIN jobs AS before ON before.id = waits.after_id
        WHERE waits.waiting AND waits.status = 'queued'
            AND (before.id IS NULL OR before.completed_at IS NOT NULL)
        ORDER BY waits.task_id
    LOOP
        BEGIN
            PERFORM evalqueue_settle_dependent(next);
            settled := settled + 1;
        EXCEPTION WHEN query_canceled OR OTHERS THEN
            RAISE WARNING 'Job % waits for a job that is over and can''t be released: %', next.id,
                SQLERRM;
        END;
    END LOOP;
    IF settled > 0 THEN  -- a chain that was too long for one transaction may go on
        due_in := 0;
        RETURN;
    END IF;
    SELECT min(lease_expires_at) INTO ends FROM jobs WHERE status = 'running';
    due_in := GREATEST(LEAST(EXTRACT(epoch FROM ends - clock_timestamp()), term_seconds / 2), 0);
END;
$$;
