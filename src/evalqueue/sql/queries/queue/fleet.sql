-- register --
-- A worker begins
SELECT id, name FROM evalqueue_register_worker(
    %(name)s, %(host)s, %(pid)s, %(version)s, %(queues)s, %(job_types)s, %(slots)s, %(session_key)s
)

-- heartbeat --
-- A worker is alive; false when its record was deleted
SELECT evalqueue_heartbeat(
    %(worker_id)s, %(stuck)s, %(draining)s, %(listening)s, %(troubles)s
)

-- unregister --
SELECT evalqueue_unregister_worker(%(worker_id)s)

-- claim --
-- queued -> running, in fair order
SELECT JOB_COLUMNS FROM evalqueue_claim_jobs(
    %(worker_id)s, %(worker)s, %(queues)s, %(job_types)s, %(slots)s, %(lease_seconds)s, %(skipped)s
)

-- try_claims --
-- Which jobs can't be claimed, after a claim that raised
SELECT job_id, problem FROM evalqueue_try_claims(
    %(worker_id)s, %(worker)s, %(queues)s, %(job_types)s, %(slots)s, %(lease_seconds)s, %(skipped)s
)

-- unacknowledged --
-- What a worker has claimed without ever getting the answer
SELECT JOB_COLUMNS FROM (
    SELECT jobs.* FROM jobs JOIN procrastinate_jobs AS task ON task.id = jobs.task_id
    WHERE task.worker_id = %(worker_id)s AND task.status = 'doing' AND jobs.id <> ALL (%(held)s)
) AS claimed

-- to_yield --
-- Which of these jobs should go back, so that others get their share
SELECT evalqueue_jobs_to_yield(
    %(worker)s, %(held)s, %(queues)s, %(job_types)s, %(slice_seconds)s
)

-- next_due --
SELECT evalqueue_next_due(%(queues)s, %(worker)s)

-- lead --
-- running -> queued | failed for all that lost their lease, if this worker is the leader
SELECT is_leader, recovered, due_in FROM evalqueue_lead(%(worker)s, %(term_seconds)s)

-- without_session --
-- Whose process may have ended
SELECT absent, is_leader, looks FROM evalqueue_workers_without_session(%(worker)s)

-- lose --
-- running -> queued | failed for all jobs of a worker whose process has ended; NULL: it is alive
SELECT evalqueue_lose_worker(%(worker_id)s, %(silent_seconds)s)

-- workers --
SELECT id, name, host, pid, version, queues, job_types, slots, stuck, draining, listening,
    troubles, started_at, seen_at, clock_timestamp() - seen_at AS silent_for,
    CASE WHEN session_key IS NOT NULL AND seen_at < clock_timestamp() - interval '15 seconds'
        THEN NOT EXISTS (SELECT 1 FROM pg_locks
            WHERE locktype = 'advisory' AND objsubid = 1
                AND classid = ((session_key >> 32) & x'ffffffff'::bigint)::oid
                AND objid = (session_key & x'ffffffff'::bigint)::oid) ELSE false END AS has_ended,
    (SELECT count(*) FROM jobs WHERE status = 'running' AND worker = name) AS running
FROM job_workers ORDER BY id

-- leader --
SELECT worker, term, since, ends_at, ends_at > clock_timestamp() AS is_current FROM job_leader

-- queues --
-- Every queue that has something in it, is worked on, or has rules; 1,000 in which jobs wait. What waits
-- is counted to a limit, without helper jobs; those that run have a number of their own, as limits
-- include them
WITH waiting AS MATERIALIZED (
    SELECT queue, sum(due) AS due, sum(later) AS later, min(oldest_due_at) AS oldest_due_at,
        bool_and(is_complete) AS is_complete
    FROM evalqueue_waiting_jobs(1000, 100, %(at_most)s) GROUP BY queue
), dependent AS MATERIALIZED (  -- they wait for another job
    SELECT queue FROM jobs WHERE waiting AND status = 'queued' ORDER BY after_id LIMIT %(at_most)s
), numbers AS (
    SELECT queue AS name, count(*) FILTER (WHERE parent_id IS NULL) AS running,
            count(parent_id) AS helpers, 0 AS due, 0 AS later
        FROM jobs WHERE status = 'running' GROUP BY queue
    UNION ALL SELECT queue, 0, 0, due, later FROM waiting
    UNION ALL SELECT queue, 0, 0, 0, count(*) FROM dependent GROUP BY queue
    UNION ALL SELECT name, 0, 0, 0, 0 FROM job_queues
    UNION ALL SELECT unnest(queues), 0, 0, 0, 0 FROM job_workers
)
SELECT name, rules.paused_at, rules.max_running, rules.max_running_per_owner,
    sum(running)::bigint AS running, sum(helpers)::bigint AS helpers,
    COALESCE(sum(numbers.due), 0)::bigint AS due,
    COALESCE(sum(numbers.later), 0)::bigint AS later,
    COALESCE(waiting.is_complete, (SELECT count(*) FROM waiting) < 1000)
        AND (SELECT count(*) FROM dependent) < %(at_most)s AS counts_complete,
    statement_timestamp() - waiting.oldest_due_at AS oldest_waits
FROM numbers LEFT JOIN job_queues AS rules USING (name) LEFT JOIN waiting ON waiting.queue = name
GROUP BY name, rules.paused_at, rules.max_running, rules.max_running_per_owner, waiting.is_complete,
    waiting.oldest_due_at
ORDER BY name

-- pause --
-- This and the changes below say by `evalqueue.actor` who makes them
INSERT INTO job_queues (name, paused_at)
SELECT %(queue)s, clock_timestamp() WHERE set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL
ON CONFLICT (name) DO UPDATE SET paused_at = COALESCE(job_queues.paused_at, EXCLUDED.paused_at)

-- resume --
UPDATE job_queues SET paused_at = NULL
WHERE name = %(queue)s AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL

-- limit --
-- NULL: no limit
INSERT INTO job_queues (name, max_running, max_running_per_owner)
SELECT %(queue)s, %(max_running)s, %(max_running_per_owner)s
WHERE set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL
ON CONFLICT (name) DO UPDATE SET
    max_running = EXCLUDED.max_running, max_running_per_owner = EXCLUDED.max_running_per_owner

-- misplaced --
-- Jobs that should not be in the state they are in, oldest first, and why
SELECT id, job_type, queue, owner, problem, since FROM (
    SELECT id, job_type, queue, owner, 'lease' AS problem, lease_expires_at AS since FROM jobs
        WHERE status = 'running' AND lease_expires_at < clock_timestamp() - interval '30 seconds'
    UNION ALL
    SELECT id, job_type, queue, owner, 'unknown_type', due_at FROM jobs
        WHERE status = 'queued' AND NOT waiting AND parent_id IS NULL
            AND due_at < clock_timestamp() - interval '30 seconds'
            AND NOT EXISTS (SELECT 1 FROM job_workers WHERE jobs.job_type = ANY (job_types)
                AND (queues IS NULL OR jobs.queue = ANY (queues)))
    UNION ALL
    SELECT id, job_type, queue, owner, 'waits_for_nothing', created_at FROM jobs
        WHERE status = 'queued' AND waiting AND NOT EXISTS (
            SELECT 1 FROM jobs AS before
            WHERE before.id = jobs.after_id AND before.completed_at IS NULL)
    UNION ALL
    SELECT jobs.id, job_type, queue, owner, 'disagrees', jobs.created_at
        FROM jobs JOIN procrastinate_jobs AS task ON task.id = task_id
        WHERE jobs.status IN ('queued', 'running')
            AND task.status::text <> CASE jobs.status WHEN 'queued' THEN 'todo' ELSE 'doing' END
) AS odd
ORDER BY since LIMIT %(limit)s

-- health --
-- How the fleet is; cheap enough for every probe
SELECT
    (SELECT count(*) FROM job_workers
        WHERE seen_at > clock_timestamp() - interval '30 seconds') AS workers_alive,
    (SELECT clock_timestamp() - due_at FROM jobs WHERE status = 'queued' AND NOT waiting
        AND due_at <= clock_timestamp() ORDER BY due_at LIMIT 1) AS oldest_waits,
    (SELECT count(*) FROM jobs WHERE status = 'running'
        AND lease_expires_at < clock_timestamp() - interval '30 seconds') AS leases_run_out,
    (SELECT count(*) FROM job_workers WHERE seen_at > clock_timestamp() - interval '30 seconds'
        AND troubles @? '$[*] ? (!exists(@.job_id))') AS troubled_workers,
    (SELECT count(DISTINCT trouble ->> 'job_id')
        FROM job_workers, jsonb_array_elements(troubles) AS trouble
        WHERE seen_at > clock_timestamp() - interval '30 seconds') AS refused_jobs,
    (SELECT count(*) FROM job_schedules WHERE paused_at IS NOT NULL AND problem IS NOT NULL)
        AS refused_schedules,
    (SELECT clock_timestamp() - min(xact_start) FROM pg_stat_activity
        WHERE backend_xmin IS NOT NULL AND datname = current_database()
            AND pid <> pg_backend_pid()) AS oldest_snapshot

-- statistics --
-- The database's time, and how many jobs are over; counted up to a limit
SELECT clock_timestamp() AS moment, (SELECT count(*) FROM (
    SELECT 1 FROM jobs WHERE completed_at IS NOT NULL LIMIT %(at_most)s) AS numbers) AS jobs_over

-- old_snapshots --
-- What keeps VACUUM from removing dead rows. Sessions of other roles are seen with pg_read_all_stats
-- only; one transaction that is prepared, or a replication slot, holds back as a session does
SELECT holder, who, pid, age FROM (
    SELECT 'session' AS holder, COALESCE(NULLIF(application_name, ''), 'without a name') AS who, pid,
        clock_timestamp() - xact_start AS age
    FROM pg_stat_activity
    WHERE backend_xmin IS NOT NULL AND datname = current_database() AND pid <> pg_backend_pid()
    UNION ALL
    SELECT 'prepared', gid, NULL, clock_timestamp() - prepared
    FROM pg_prepared_xacts WHERE database = current_database()
) AS held
WHERE age > %(older_than)s ORDER BY age DESC LIMIT 10

-- unused_slots --
SELECT slot_name::text AS name, xmin IS NOT NULL OR catalog_xmin IS NOT NULL AS keeps_rows,
    COALESCE(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
        ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint AS wal_bytes,
    clock_timestamp() - (to_jsonb(slot) ->> 'inactive_since')::timestamptz AS unused_for
FROM pg_replication_slots AS slot
WHERE NOT active AND NOT temporary AND restart_lsn IS NOT NULL
ORDER BY slot_name LIMIT 10
