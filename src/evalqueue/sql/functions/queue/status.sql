-- The status of a job follows its procrastinate row: the state machine of tables/queue/0001_jobs.sql.

-- procrastinate's rows would name their worker for ever.
CREATE OR REPLACE FUNCTION evalqueue_forget_worker() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.worker_id := NULL;
    RETURN NEW;
END;
$$;

CREATE TRIGGER evalqueue_forget_worker BEFORE UPDATE OF status ON procrastinate_jobs
    FOR EACH ROW WHEN (OLD.status = 'doing' AND NEW.status <> 'doing')
    EXECUTE FUNCTION evalqueue_forget_worker();

-- procrastinate's row moved: the job moves with it. The only writer of jobs.status.
CREATE OR REPLACE FUNCTION evalqueue_follow_task() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    -- A task that is marked finished before it began was cancelled; procrastinate's own log of
    -- events says so, too.
    moved_to CONSTANT text := CASE
        WHEN OLD.status = 'todo' AND NEW.status IN ('succeeded', 'failed') THEN 'cancelled'
        ELSE NEW.status::text END;
    job jobs;
BEGIN
    SELECT * INTO job FROM jobs WHERE task_id = NEW.id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF job.status IN ('completed', 'failed', 'cancelled') THEN
        IF NEW.status IN ('todo', 'doing') THEN
            RAISE EXCEPTION 'Job % is % for ever: its task can''t run again', job.id, job.status
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Submit a new job instead.';
        END IF;
        RETURN NULL;
    END IF;

    CASE moved_to
        WHEN 'doing' THEN
            UPDATE jobs SET
                status = 'running',
                attempt = attempt + 1,
                started_at = COALESCE(started_at, moment),
                lease_expires_at = moment + interval '30 seconds'  -- until its worker sets its own
            WHERE id = job.id;
        WHEN 'todo' THEN
            -- Without a time of its own it goes back to its former position in the queue.
            UPDATE jobs SET
                status = 'queued', lease_expires_at = NULL,
                queue = NEW.queue_name, priority = NEW.priority,
                due_at = COALESCE(NEW.scheduled_at, due_at)
            WHERE id = job.id;
            PERFORM pg_notify('evalqueue_work_v1', NEW.queue_name);
        WHEN 'succeeded' THEN
            UPDATE jobs SET
                status = 'completed', completed_at = moment, lease_expires_at = NULL,
                result = COALESCE(result, '{}'), error_message = NULL
            WHERE id = job.id;
        WHEN 'failed' THEN
            UPDATE jobs SET
                status = 'failed', completed_at = moment, lease_expires_at = NULL,
                error_message = COALESCE(error_message, 'Failed outside of evalqueue, with no reason given')
            WHERE id = job.id;
        ELSE  -- cancelled, aborted
            UPDATE jobs SET
                status = 'cancelled', completed_at = moment, lease_expires_at = NULL
            WHERE id = job.id;
            PERFORM pg_notify('evalqueue_cancel_v1', job.id::text);
    END CASE;

    -- In a limited queue a job that the limit held back may be claimed now.
    IF OLD.status = 'doing' AND EXISTS (SELECT 1 FROM job_queues WHERE name = NEW.queue_name
            AND (max_running IS NOT NULL OR max_running_per_owner IS NOT NULL)) THEN
        PERFORM pg_notify('evalqueue_work_v1', NEW.queue_name);
    END IF;

    -- A statement that moved the row without our functions leaves the attempt open: close it.
    IF NEW.status <> 'doing' THEN
        UPDATE job_attempts SET
            ended_at = moment,
            outcome = CASE moved_to
                WHEN 'todo' THEN 'released' WHEN 'succeeded' THEN 'completed'
                WHEN 'failed' THEN 'failed' ELSE 'cancelled' END
        WHERE job_id = job.id AND ended_at IS NULL;
    END IF;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_follow_task AFTER UPDATE OF status ON procrastinate_jobs
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION evalqueue_follow_task();

-- A job's position in the queue follows its procrastinate row, too.
CREATE OR REPLACE FUNCTION evalqueue_follow_position() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE jobs SET
        queue = NEW.queue_name, priority = NEW.priority,
        due_at = CASE WHEN NEW.scheduled_at IS DISTINCT FROM OLD.scheduled_at
            THEN COALESCE(NEW.scheduled_at, clock_timestamp()) ELSE due_at END
    WHERE task_id = NEW.id;
    PERFORM pg_notify('evalqueue_work_v1', NEW.queue_name);
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_follow_position
    AFTER UPDATE OF priority, queue_name, scheduled_at ON procrastinate_jobs
    FOR EACH ROW WHEN (
        OLD.status = 'todo' AND NEW.status = 'todo'
        AND (OLD.priority, OLD.queue_name, OLD.scheduled_at)
            IS DISTINCT FROM (NEW.priority, NEW.queue_name, NEW.scheduled_at)
    )
    EXECUTE FUNCTION evalqueue_follow_position();

-- procrastinate's own way to cancel a running job only requests it. Here a cancel is final at once.
CREATE OR REPLACE FUNCTION evalqueue_abort_at_once() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM jobs WHERE task_id = NEW.id) THEN
        PERFORM procrastinate_finish_job_v1(NEW.id, 'aborted', false);
    END IF;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_abort_at_once AFTER UPDATE OF abort_requested ON procrastinate_jobs
    FOR EACH ROW WHEN (NEW.abort_requested AND NEW.status = 'doing')
    EXECUTE FUNCTION evalqueue_abort_at_once();

-- Deleting the task of a job that is not over cancels the job.
CREATE OR REPLACE FUNCTION evalqueue_follow_deleted_task() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    cancelled uuid;
BEGIN
    UPDATE jobs SET status = 'cancelled', completed_at = clock_timestamp(), lease_expires_at = NULL
        WHERE task_id = OLD.id AND status IN ('queued', 'running')
        RETURNING id INTO cancelled;
    IF FOUND THEN
        UPDATE job_attempts SET ended_at = clock_timestamp(), outcome = 'cancelled'
            WHERE job_id = cancelled AND ended_at IS NULL;
        PERFORM pg_notify('evalqueue_cancel_v1', cancelled::text);
        PERFORM pg_notify('evalqueue_work_v1', OLD.queue_name);  -- it may have filled a limit
    END IF;
    RETURN OLD;
END;
$$;

CREATE TRIGGER evalqueue_follow_deleted_task BEFORE DELETE ON procrastinate_jobs
    FOR EACH ROW EXECUTE FUNCTION evalqueue_follow_deleted_task();

-- Cancel, in one transaction, whatever the job is doing. True: this call cancelled it. False: it
-- was over already. NULL: there is no such job.
CREATE OR REPLACE FUNCTION evalqueue_cancel_job(job_id uuid) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    task procrastinate_jobs;
BEGIN
    PERFORM 1 FROM jobs WHERE id = job_id;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT * INTO task FROM procrastinate_jobs AS t
        WHERE t.id = (SELECT jobs.task_id FROM jobs WHERE jobs.id = job_id) FOR UPDATE;
    CASE task.status
        WHEN 'todo' THEN
            PERFORM procrastinate_cancel_job_v1(task.id, false, false);
        WHEN 'doing' THEN
            PERFORM procrastinate_finish_job_v1(task.id, 'aborted', false);
        ELSE
            RETURN false;
    END CASE;
    RETURN true;
END;
$$;
