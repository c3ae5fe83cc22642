-- Jobs that depend on another one: its helper jobs, and the jobs that start after it.

-- A job is over: its helper jobs are cancelled, and the jobs that wait for it begin or never will.
CREATE OR REPLACE FUNCTION evalqueue_settle_dependents() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM jobs WHERE parent_id = NEW.id) THEN
        PERFORM evalqueue_cancel_job(helper.id) FROM jobs AS helper
            WHERE helper.parent_id = NEW.id AND helper.completed_at IS NULL ORDER BY helper.task_id;
        DELETE FROM job_items WHERE job_id = NEW.id;
    END IF;
    -- A chain may be longer than the stack is deep: the leader goes on from here.
    IF pg_trigger_depth() > 50 THEN
        RETURN NULL;
    END IF;
    PERFORM evalqueue_settle_dependent(next) FROM jobs AS next
        WHERE next.after_id = NEW.id AND next.waiting AND next.status = 'queued'
        ORDER BY next.task_id;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_settle_dependents AFTER UPDATE OF status ON jobs
    FOR EACH ROW WHEN (OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL)
    EXECUTE FUNCTION evalqueue_settle_dependents();

-- The job that `next` waits for is over: `next` may begin, or is cancelled with the reason.
CREATE OR REPLACE FUNCTION evalqueue_settle_dependent(next jobs) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    came_to CONSTANT text := (SELECT status FROM jobs WHERE id = next.after_id);
BEGIN
    PERFORM 1 FROM procrastinate_jobs WHERE id = next.task_id FOR UPDATE;
    IF came_to = 'completed' THEN
        UPDATE jobs SET waiting = false, due_at = GREATEST(due_at, clock_timestamp())
            WHERE id = next.id AND waiting AND status = 'queued';
        PERFORM pg_notify('evalqueue_work_v1', next.queue);
    ELSE
        UPDATE jobs SET error_message = format('It was to start after %s, which %s',
                COALESCE('job ' || next.after_id, 'a job'),
                CASE came_to WHEN 'failed' THEN 'failed' WHEN 'cancelled' THEN 'was cancelled' ELSE 'is gone' END)
            WHERE id = next.id AND waiting AND status = 'queued';
        PERFORM evalqueue_cancel_job(next.id);
    END IF;
END;
$$;
