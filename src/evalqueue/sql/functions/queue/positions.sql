-- How many jobs are ahead of a job in its queue, and what else readers ask that is in no column.

-- The first jobs that are due in a queue, and how many are ahead of each: at most so many, since
-- shares are fair, and an owner with fewer running jobs goes first. Hops from priority to priority,
-- so that jobs that are scheduled for later are not read.
CREATE OR REPLACE FUNCTION evalqueue_queue_positions(queue text, at_most integer)
RETURNS TABLE (job_id uuid, owner text, ahead integer)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT
-- In the order of jobs_in_order, which needs no sorting: jobs_due looks cheaper than it is.
SET enable_sort = off SET enable_incremental_sort = off AS $$
DECLARE
    moment CONSTANT timestamptz := statement_timestamp();
    level integer;
    returned integer := 0;
    returned_here integer;
BEGIN
    SELECT max(due.priority) INTO level FROM jobs AS due
        WHERE due.status = 'queued' AND NOT due.waiting AND due.parent_id IS NULL
            AND due.queue = evalqueue_queue_positions.queue;
    WHILE level IS NOT NULL AND returned < at_most LOOP
        RETURN QUERY
            SELECT first.id, first.owner, returned + (row_number() OVER ())::integer - 1 FROM (
                SELECT due.id, due.owner FROM jobs AS due
                WHERE due.status = 'queued' AND NOT due.waiting AND due.parent_id IS NULL
                    AND due.queue = evalqueue_queue_positions.queue AND due.priority = level
                    AND due.due_at <= moment
                ORDER BY due.due_at, due.task_id LIMIT at_most - returned
            ) AS first;
        GET DIAGNOSTICS returned_here = ROW_COUNT;
        returned := returned + returned_here;
        SELECT max(due.priority) INTO level FROM jobs AS due
            WHERE due.status = 'queued' AND NOT due.waiting AND due.parent_id IS NULL
                AND due.queue = evalqueue_queue_positions.queue AND due.priority < level;
    END LOOP;
END;
$$;

-- What readers ask about some jobs that is in no column: how many are ahead of them, counted to
-- 1,000 (NULL: the job is not due, or not queued), which job continues them, and whether one could.
CREATE OR REPLACE FUNCTION evalqueue_outlook(ids uuid[])
RETURNS TABLE (job_id uuid, ahead integer, continued_by uuid, retryable boolean)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH requested AS MATERIALIZED (
        SELECT jobs.id, jobs.queue, (SELECT next.id FROM jobs AS next WHERE next.retry_of = jobs.id)
                AS continued_by,
            jobs.parent_id IS NULL AND evalqueue_is_incomplete(jobs.status, jobs.result)
                AS is_incomplete,
            jobs.status = 'queued' AND NOT jobs.waiting
            AND jobs.parent_id IS NULL AND jobs.due_at <= statement_timestamp() AS is_due
        FROM jobs WHERE jobs.id = ANY ($1)
    ), positions AS MATERIALIZED (
        SELECT position.job_id, position.ahead
        FROM (SELECT DISTINCT requested.queue FROM requested WHERE is_due) AS busy
            CROSS JOIN LATERAL evalqueue_queue_positions(busy.queue, 1000) AS position
    )
    SELECT requested.id, CASE WHEN requested.is_due THEN COALESCE(positions.ahead, 1000) END,
        requested.continued_by,
        COALESCE(requested.is_incomplete AND requested.continued_by IS NULL, false)
    FROM requested LEFT JOIN positions ON positions.job_id = requested.id;
$$;
