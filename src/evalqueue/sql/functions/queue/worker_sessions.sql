-- Workers whose process has ended, long before their leases do.

-- Whose session is gone: for the leader, workers with jobs that run; for others, the leader. `looks`
-- is the number of workers that ask this. A session may be gone while its worker is not: it opens a
-- new one, and meanwhile proves by frequent heartbeats that it lives.
CREATE OR REPLACE FUNCTION evalqueue_workers_without_session(
    worker text, OUT absent bigint[], OUT is_leader boolean, OUT looks bigint
)
LANGUAGE sql SET search_path FROM CURRENT AS $$
    WITH leader AS MATERIALIZED (
        SELECT job_leader.worker AS name FROM job_leader
    ), watched AS MATERIALIZED (
        SELECT id, session_key FROM job_workers
        WHERE session_key IS NOT NULL AND name <> $1 AND CASE WHEN $1 = (SELECT name FROM leader)
            THEN EXISTS (SELECT 1 FROM jobs WHERE status = 'running' AND jobs.worker = job_workers.name)
            ELSE name = (SELECT name FROM leader) END
    )
    -- Where the lock can be had alone, no session holds it. It ends with this statement.
    SELECT (SELECT COALESCE(array_agg(id), '{}') FROM watched WHERE pg_try_advisory_xact_lock(session_key)),
        $1 IS NOT DISTINCT FROM (SELECT name FROM leader),
        (SELECT count(*) FROM job_workers);
$$;

-- A worker whose session has been gone for `silent_seconds`, in which it sent no heartbeat either, is
-- lost: so are its jobs and, if it was the leader, its term. Returns how many jobs were recovered;
-- NULL: it is alive.
CREATE OR REPLACE FUNCTION evalqueue_lose_worker(worker_id bigint, silent_seconds double precision)
RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    lost job_workers;
    theirs uuid;
BEGIN
    SELECT * INTO lost FROM job_workers WHERE id = worker_id FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR lost.seen_at > clock_timestamp() - make_interval(secs => silent_seconds)
        OR NOT pg_try_advisory_xact_lock(lost.session_key)
    THEN
        RETURN NULL;
    END IF;
    UPDATE job_workers SET lost_at = COALESCE(lost_at, clock_timestamp()) WHERE id = worker_id;
    UPDATE job_leader SET ends_at = clock_timestamp()
        WHERE worker = lost.name AND ends_at > clock_timestamp();
    FOR theirs IN SELECT id FROM jobs WHERE status = 'running' AND worker = lost.name
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        BEGIN
            UPDATE jobs SET lease_expires_at = clock_timestamp() WHERE id = theirs;
        EXCEPTION WHEN query_canceled OR OTHERS THEN
            RAISE WARNING 'Job % has lost its worker and can''t be recovered: %', theirs, SQLERRM;
        END;
    END LOOP;
    RETURN evalqueue_recover_jobs();
END;
$$;

-- A worker that was taken for lost sends a heartbeat: its network was cut. What that cost its jobs is
-- given back to those that are not over.
CREATE OR REPLACE FUNCTION evalqueue_worker_is_back(worker text, lost_at timestamptz) RETURNS void
LANGUAGE sql SET search_path FROM CURRENT AS $$
    WITH given_back AS (
        SELECT try.job_id, try.attempt, try.outcome = 'lost' AS was_charged
        FROM job_attempts AS try JOIN jobs ON jobs.id = try.job_id
        WHERE jobs.status IN ('queued', 'running') AND try.worker = $1 AND try.ended_at >= $2
            AND (try.outcome = 'lost'
                OR try.outcome = 'released' AND try.error = evalqueue_spared_because('together'))
    ), spared AS (
        UPDATE job_attempts SET outcome = 'released', error = 'Its worker was cut off, and came back'
        FROM given_back AS this
        WHERE job_attempts.job_id = this.job_id AND job_attempts.attempt = this.attempt
        RETURNING this.job_id, this.was_charged
    )
    UPDATE jobs SET
        failed_attempts = GREATEST(failed_attempts - charged.times, 0),
        isolated = isolated AND charged.times > 0
    FROM (
        -- It may have lost several attempts at the same job.
        SELECT job_id, count(*) FILTER (WHERE was_charged)::integer AS times
        FROM spared GROUP BY job_id
    ) AS charged WHERE jobs.id = charged.job_id;
$$;
