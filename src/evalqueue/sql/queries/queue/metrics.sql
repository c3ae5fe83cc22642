-- fleet --
-- What is read when metrics are scraped, one row for each figure. However many jobs wait, it reads
-- 100 queues, 100 priorities of each and 50,000 entries of jobs_in_order at most; `complete` is 0 if
-- more wait. The oldest due job of a queue is found in any case
WITH RECURSIVE queues AS (
    (SELECT queue FROM jobs WHERE status = 'queued' AND NOT waiting AND parent_id IS NULL
        ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT next.queue FROM queues AS last CROSS JOIN LATERAL (
        SELECT queue FROM jobs
        WHERE status = 'queued' AND NOT waiting AND parent_id IS NULL AND queue > last.queue
        ORDER BY queue LIMIT 1
    ) AS next
), listed AS MATERIALIZED (
    SELECT queue FROM queues LIMIT %(queues)s
), share AS (
    SELECT %(entries)s / GREATEST(count(*), 1) AS entries FROM listed
), depths AS MATERIALIZED (
    SELECT listed.queue, entry.job_type, count(*) AS jobs,
        count(*) FILTER (WHERE entry.due_at <= statement_timestamp()) AS due,
        min(entry.due_at) AS first_due_at
    FROM listed CROSS JOIN LATERAL (
        SELECT job_type, due_at FROM jobs
        WHERE status = 'queued' AND NOT waiting AND parent_id IS NULL AND queue = listed.queue
        ORDER BY priority DESC, due_at LIMIT (SELECT entries FROM share)
    ) AS entry
    GROUP BY listed.queue, entry.job_type
), heads AS (  -- of each priority
    SELECT listed.queue, head.job_type, head.due_at FROM listed CROSS JOIN LATERAL (
        WITH RECURSIVE hops AS (
            (SELECT job_type, priority, due_at FROM jobs
                WHERE status = 'queued' AND NOT waiting AND parent_id IS NULL
                    AND queue = listed.queue
                ORDER BY priority DESC, due_at LIMIT 1)
            UNION ALL
            SELECT next.* FROM hops AS last CROSS JOIN LATERAL (
                SELECT job_type, priority, due_at FROM jobs
                WHERE status = 'queued' AND NOT waiting AND parent_id IS NULL
                    AND queue = listed.queue AND priority < last.priority
                ORDER BY priority DESC, due_at LIMIT 1
            ) AS next
        )
        SELECT job_type, due_at FROM hops LIMIT %(priorities)s
    ) AS head
), firsts AS (
    SELECT queue, job_type, first_due_at AS due_at FROM depths
    UNION ALL SELECT queue, job_type, due_at FROM heads
), alive AS (
    SELECT slots FROM job_workers WHERE seen_at > clock_timestamp() - interval '30 seconds'
)
SELECT 'due' AS figure, queue, job_type, due::double precision AS value FROM depths
UNION ALL SELECT 'later', queue, job_type, jobs - due FROM depths
UNION ALL SELECT 'oldest_due', queue, job_type,
        EXTRACT(epoch FROM statement_timestamp() - min(due_at))
    FROM firsts WHERE due_at <= statement_timestamp() GROUP BY queue, job_type
UNION ALL SELECT 'running', queue, job_type, count(*) FROM jobs
    WHERE status = 'running' AND parent_id IS NULL GROUP BY queue, job_type
UNION ALL SELECT 'paused', name, '', 1 FROM job_queues WHERE paused_at IS NOT NULL
UNION ALL SELECT 'complete', '', '', (
    (SELECT count(*) FROM listed) < %(queues)s
    AND NOT EXISTS (SELECT FROM depths GROUP BY queue
        HAVING sum(jobs) >= (SELECT entries FROM share))
)::integer
UNION ALL SELECT 'workers', '', '', count(*) FROM alive
UNION ALL SELECT 'slots', '', '', COALESCE(sum(slots), 0) FROM alive
UNION ALL SELECT 'leaders', '', '', count(*) FROM job_leader WHERE ends_at > clock_timestamp()
UNION ALL SELECT 'leases_run_out', '', '', count(*) FROM jobs
    WHERE status = 'running' AND lease_expires_at < clock_timestamp() - interval '30 seconds'
