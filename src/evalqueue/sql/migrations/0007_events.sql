-- What whoever watches needs: a number that goes up with every change of a job, and how many stand
-- before it in its queue.

-- No index has it: a progress update stays within its page (HOT).
ALTER TABLE jobs ADD COLUMN revision bigint NOT NULL DEFAULT 1;

CREATE FUNCTION evalqueue_revise() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.revision := OLD.revision + 1;
    RETURN NEW;
END;
$$;

-- Whatever a watcher shows; a lease that is extended changes none of it. What changes only together
-- with the status (attempt, started_at, completed_at) need not be compared.
CREATE TRIGGER evalqueue_revise BEFORE UPDATE ON jobs
    FOR EACH ROW WHEN (
        (OLD.status, OLD.progress, OLD.queue, OLD.priority, OLD.due_at, OLD.waiting, OLD.worker,
            OLD.failed_attempts, OLD.error_message, OLD.result)
        IS DISTINCT FROM
        (NEW.status, NEW.progress, NEW.queue, NEW.priority, NEW.due_at, NEW.waiting, NEW.worker,
            NEW.failed_attempts, NEW.error_message, NEW.result)
    )
    EXECUTE FUNCTION evalqueue_revise();

-- Told of every revision, whatever brought it about.
DROP TRIGGER evalqueue_tell_changed ON jobs;
CREATE TRIGGER evalqueue_tell_changed AFTER UPDATE ON jobs
    FOR EACH ROW WHEN (OLD.revision <> NEW.revision)
    EXECUTE FUNCTION evalqueue_tell();

-- A job that is continued says so: that changes it, too.
CREATE FUNCTION evalqueue_note_continued() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE jobs SET revision = revision + 1 WHERE id = NEW.retry_of;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_note_continued AFTER INSERT ON jobs
    FOR EACH ROW WHEN (NEW.retry_of IS NOT NULL)
    EXECUTE FUNCTION evalqueue_note_continued();

-- A queue in the order of its jobs, whoever they belong to and without hands.
CREATE INDEX jobs_in_queue ON jobs (queue, priority DESC, due_at, task_id)
    WHERE status = 'queued' AND NOT waiting AND parent_id IS NULL;

-- The first of those that are due in a queue, and how many stand before each: at most so many, since
-- shares are fair, and whoever has less running goes first. Hops from priority to priority, so that
-- nobody walks past what is scheduled for later.
CREATE FUNCTION evalqueue_line(queue text, at_most integer)
RETURNS TABLE (job_id uuid, owner text, ahead integer)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT
-- In the order of jobs_in_queue, which needs no sorting: jobs_due looks cheaper than it is.
SET enable_sort = off SET enable_incremental_sort = off AS $$
DECLARE
    moment CONSTANT timestamptz := statement_timestamp();
    level integer;
    told integer := 0;
    told_here integer;
BEGIN
    SELECT max(line.priority) INTO level FROM jobs AS line
        WHERE line.status = 'queued' AND NOT line.waiting AND line.parent_id IS NULL
            AND line.queue = evalqueue_line.queue;
    WHILE level IS NOT NULL AND told < at_most LOOP
        RETURN QUERY
            SELECT first.id, first.owner, told + (row_number() OVER ())::integer - 1 FROM (
                SELECT line.id, line.owner FROM jobs AS line
                WHERE line.status = 'queued' AND NOT line.waiting AND line.parent_id IS NULL
                    AND line.queue = evalqueue_line.queue AND line.priority = level
                    AND line.due_at <= moment
                ORDER BY line.due_at, line.task_id LIMIT at_most - told
            ) AS first;
        GET DIAGNOSTICS told_here = ROW_COUNT;
        told := told + told_here;
        SELECT max(line.priority) INTO level FROM jobs AS line
            WHERE line.status = 'queued' AND NOT line.waiting AND line.parent_id IS NULL
                AND line.queue = evalqueue_line.queue AND line.priority < level;
    END LOOP;
END;
$$;

-- What is to be known of some jobs that is in no column of theirs: how many stand before them,
-- counted to 1,000 (NULL: it is no question of its turn), which job continues them, and whether one
-- could.
CREATE FUNCTION evalqueue_places(ids uuid[])
RETURNS TABLE (job_id uuid, ahead integer, continued_by uuid, retryable boolean)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH asked AS MATERIALIZED (
        SELECT jobs.id, jobs.queue, (SELECT next.id FROM jobs AS next WHERE next.retry_of = jobs.id)
                AS continued_by,
            jobs.parent_id IS NULL AND (jobs.status IN ('failed', 'cancelled')
                OR jobs.status = 'completed'
                    AND jobs.result ->> 'run_status' = 'completed_with_errors') AS left_something,
            jobs.status = 'queued' AND NOT jobs.waiting
            AND jobs.parent_id IS NULL AND jobs.due_at <= statement_timestamp() AS is_due
        FROM jobs WHERE jobs.id = ANY ($1)
    ), lines AS MATERIALIZED (
        SELECT line.job_id, line.ahead
        FROM (SELECT DISTINCT asked.queue FROM asked WHERE is_due) AS busy
            CROSS JOIN LATERAL evalqueue_line(busy.queue, 1000) AS line
    )
    SELECT asked.id, CASE WHEN asked.is_due THEN COALESCE(lines.ahead, 1000) END,
        asked.continued_by, COALESCE(asked.left_something AND asked.continued_by IS NULL, false)
    FROM asked LEFT JOIN lines ON lines.job_id = asked.id;
$$;
