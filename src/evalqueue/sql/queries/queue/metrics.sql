-- fleet --
-- What is read when metrics are scraped, one row for each figure; `complete` is 0 if more jobs wait than
-- are counted
WITH waiting AS MATERIALIZED (
    SELECT queue, job_type, due, later, oldest_due_at, is_complete
    FROM evalqueue_waiting_jobs(%(queues)s, %(priorities)s, %(entries)s)
), alive AS (
    SELECT slots FROM job_workers WHERE seen_at > clock_timestamp() - interval '30 seconds'
)
SELECT 'due' AS figure, queue, job_type, due::double precision AS value FROM waiting
    WHERE due IS NOT NULL
UNION ALL SELECT 'later', queue, job_type, later FROM waiting WHERE later IS NOT NULL
UNION ALL SELECT 'oldest_due', queue, job_type,
        EXTRACT(epoch FROM statement_timestamp() - oldest_due_at)
    FROM waiting WHERE oldest_due_at IS NOT NULL
UNION ALL SELECT 'running', queue, job_type, count(*) FROM jobs
    WHERE status = 'running' AND parent_id IS NULL GROUP BY queue, job_type
UNION ALL SELECT 'paused', name, '', 1 FROM job_queues WHERE paused_at IS NOT NULL
UNION ALL SELECT 'complete', '', '', (
    SELECT count(DISTINCT queue) < %(queues)s AND COALESCE(bool_and(is_complete), true) FROM waiting
)::integer
UNION ALL SELECT 'workers', '', '', count(*) FROM alive
UNION ALL SELECT 'slots', '', '', COALESCE(sum(slots), 0) FROM alive
UNION ALL SELECT 'leaders', '', '', count(*) FROM job_leader WHERE ends_at > clock_timestamp()
UNION ALL SELECT 'leases_run_out', '', '', count(*) FROM jobs
    WHERE status = 'running' AND lease_expires_at < clock_timestamp() - interval '30 seconds'
