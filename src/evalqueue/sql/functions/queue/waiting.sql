-- What waits in each queue, by job type: without helper jobs, and without jobs that wait for another
-- one. However many jobs wait, it reads so many queues, so many priorities of each, and so many entries
-- of jobs_in_order at most, which the queues share. `due` and `later` are NULL for a type that was not
-- reached, and `is_complete` is false where more wait in the queue than that. The oldest due job of a
-- queue is found also then, unless its priority is behind that many others.
CREATE OR REPLACE FUNCTION evalqueue_waiting_jobs(
    queues_max integer, priorities_max integer, entries_max integer
) RETURNS TABLE (
    queue text, job_type text, due bigint, later bigint, oldest_due_at timestamptz,
    is_complete boolean
)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH RECURSIVE queues AS (
        (SELECT jobs.queue FROM jobs
            WHERE status = 'queued' AND NOT waiting AND parent_id IS NULL
            ORDER BY jobs.queue LIMIT 1)
        UNION ALL
        SELECT next.queue FROM queues AS last CROSS JOIN LATERAL (
            SELECT jobs.queue FROM jobs
            WHERE status = 'queued' AND NOT waiting AND parent_id IS NULL
                AND jobs.queue > last.queue
            ORDER BY jobs.queue LIMIT 1
        ) AS next
    ), listed AS MATERIALIZED (
        SELECT queues.queue FROM queues LIMIT queues_max
    ), share AS (
        SELECT entries_max / GREATEST(count(*), 1) AS entries FROM listed
    ), reached AS MATERIALIZED (
        SELECT listed.queue, entry.job_type, count(*) AS jobs,
            count(*) FILTER (WHERE entry.due_at <= statement_timestamp()) AS due,
            min(entry.due_at) AS first_due_at
        FROM listed CROSS JOIN LATERAL (
            SELECT jobs.job_type, due_at FROM jobs
            WHERE status = 'queued' AND NOT waiting AND parent_id IS NULL
                AND jobs.queue = listed.queue
            ORDER BY priority DESC, due_at LIMIT (SELECT entries FROM share)
        ) AS entry
        GROUP BY listed.queue, entry.job_type
    ), heads AS (  -- of each priority
        SELECT listed.queue, head.job_type, head.due_at FROM listed CROSS JOIN LATERAL (
            WITH RECURSIVE hops AS (
                (SELECT jobs.job_type, priority, due_at FROM jobs
                    WHERE status = 'queued' AND NOT waiting AND parent_id IS NULL
                        AND jobs.queue = listed.queue
                    ORDER BY priority DESC, due_at LIMIT 1)
                UNION ALL
                SELECT next.* FROM hops AS last CROSS JOIN LATERAL (
                    SELECT jobs.job_type, priority, due_at FROM jobs
                    WHERE status = 'queued' AND NOT waiting AND parent_id IS NULL
                        AND jobs.queue = listed.queue AND priority < last.priority
                    ORDER BY priority DESC, due_at LIMIT 1
                ) AS next
            )
            SELECT hops.job_type, hops.due_at FROM hops LIMIT priorities_max
        ) AS head
    ), firsts AS (
        SELECT each.queue, each.job_type, min(each.due_at) AS due_at FROM (
            SELECT reached.queue, reached.job_type, first_due_at AS due_at FROM reached
            UNION ALL SELECT heads.queue, heads.job_type, heads.due_at FROM heads
        ) AS each
        GROUP BY each.queue, each.job_type
    ), totals AS (
        SELECT reached.queue, sum(jobs) AS jobs FROM reached GROUP BY reached.queue
    )
    SELECT firsts.queue, firsts.job_type, reached.due, reached.jobs - reached.due,
        CASE WHEN firsts.due_at <= statement_timestamp() THEN firsts.due_at END,
        totals.jobs < (SELECT entries FROM share)
    FROM firsts JOIN totals ON totals.queue = firsts.queue
        LEFT JOIN reached ON reached.queue = firsts.queue AND reached.job_type = firsts.job_type
$$;
