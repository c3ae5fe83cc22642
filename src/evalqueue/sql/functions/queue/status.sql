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

-- procrastinate's rows moved: their jobs move with them. The only writer of jobs.status. Once per
-- statement, however many rows it moves.
CREATE OR REPLACE FUNCTION evalqueue_follow_tasks() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
-- By id only: a plan that was made for small tables must not read whole ones once they have grown.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    -- Set by evalqueue_claim_jobs. Without it, a lease until the worker sets its own.
    claiming CONSTANT text := NULLIF(current_setting('evalqueue.claiming_worker', true), '');
    lease_ends CONSTANT timestamptz := moment + make_interval(secs => CASE WHEN claiming IS NULL
        THEN 30 ELSE current_setting('evalqueue.claiming_lease')::double precision END);
    job jobs;
    change record;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM new_tasks JOIN old_tasks USING (id)
            WHERE new_tasks.status IS DISTINCT FROM old_tasks.status) THEN
        RETURN NULL;
    END IF;

    SELECT jobs.* INTO job FROM new_tasks
        JOIN old_tasks USING (id) JOIN jobs ON jobs.task_id = new_tasks.id
        WHERE new_tasks.status IN ('todo', 'doing') AND new_tasks.status <> old_tasks.status
            AND jobs.status IN ('completed', 'failed', 'cancelled')
        LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'Job % is % for ever: its task can''t run again', job.id, job.status
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Submit a new job instead.';
    END IF;

    FOR change IN
        WITH moved AS MATERIALIZED (
            SELECT new_tasks.id, new_tasks.queue_name, new_tasks.priority, new_tasks.scheduled_at,
                old_tasks.status = 'doing' AS was_running,
                CASE
                    WHEN new_tasks.status = 'doing' THEN 'running'
                    WHEN new_tasks.status = 'todo' THEN 'queued'
                    -- A task that is marked finished before it began was cancelled; procrastinate's
                    -- own log of events says so, too.
                    WHEN old_tasks.status = 'todo' THEN 'cancelled'
                    WHEN new_tasks.status = 'succeeded' THEN 'completed'
                    WHEN new_tasks.status = 'failed' THEN 'failed'
                    ELSE 'cancelled' END AS moved_to
            FROM new_tasks JOIN old_tasks USING (id)
            WHERE new_tasks.status IS DISTINCT FROM old_tasks.status
        ), followed AS (
            UPDATE jobs SET
                status = moved_to,
                attempt = jobs.attempt + CASE moved_to WHEN 'running' THEN 1 ELSE 0 END,
                started_at = CASE moved_to
                    WHEN 'running' THEN COALESCE(jobs.started_at, moment) ELSE jobs.started_at END,
                completed_at = CASE WHEN moved_to NOT IN ('running', 'queued') THEN moment END,
                worker = CASE moved_to
                    WHEN 'running' THEN COALESCE(claiming, jobs.worker) ELSE jobs.worker END,
                lease_expires_at = CASE moved_to WHEN 'running' THEN lease_ends END,
                -- Without a time of its own it goes back to its former position in the queue.
                queue = CASE moved_to WHEN 'queued' THEN moved.queue_name ELSE jobs.queue END,
                priority = CASE moved_to WHEN 'queued' THEN moved.priority ELSE jobs.priority END,
                due_at = CASE moved_to
                    WHEN 'queued' THEN COALESCE(moved.scheduled_at, jobs.due_at) ELSE jobs.due_at END,
                result = CASE moved_to
                    WHEN 'completed' THEN COALESCE(jobs.result, '{}') ELSE jobs.result END,
                error_message = CASE moved_to
                    WHEN 'completed' THEN NULL
                    WHEN 'failed' THEN COALESCE(jobs.error_message,
                        'Failed outside of evalqueue, with no reason given')
                    ELSE jobs.error_message END
            FROM moved WHERE jobs.task_id = moved.id AND jobs.status IN ('queued', 'running')
            RETURNING jobs.id, jobs.attempt, moved.moved_to, moved.was_running, moved.queue_name
        ), closed AS (
            -- A statement that moved the row without our functions leaves the attempt open.
            UPDATE job_attempts SET
                ended_at = moment,
                outcome = CASE moved_to WHEN 'queued' THEN 'released' ELSE moved_to END
            FROM followed
            WHERE job_attempts.job_id = followed.id AND moved_to <> 'running' AND was_running
                AND job_attempts.ended_at IS NULL
        )
        SELECT moved_to, was_running, queue_name,
            CASE WHEN moved_to = 'cancelled' THEN id END AS cancelled
        FROM followed GROUP BY 1, 2, 3, 4
    LOOP
        IF change.cancelled IS NOT NULL THEN
            PERFORM pg_notify('evalqueue_cancel_v1', change.cancelled::text);
            PERFORM evalqueue_audit_cancel(change.cancelled, change.was_running);
        END IF;
        IF change.moved_to = 'queued'
            -- In a limited queue a job that the limit held back may be claimed now.
            OR change.was_running AND EXISTS (SELECT 1 FROM job_queues WHERE name = change.queue_name
                AND (max_running IS NOT NULL OR max_running_per_owner IS NOT NULL))
        THEN
            PERFORM pg_notify('evalqueue_work_v1', change.queue_name);
        END IF;
    END LOOP;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_follow_tasks AFTER UPDATE ON procrastinate_jobs
    REFERENCING OLD TABLE AS old_tasks NEW TABLE AS new_tasks
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_follow_tasks();

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
        PERFORM evalqueue_audit_cancel(cancelled, OLD.status = 'doing');
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
