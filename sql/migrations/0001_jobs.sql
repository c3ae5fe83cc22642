-- The state machine of a job.
--
-- A job is one request for work. Its status is never written by hand: it follows the procrastinate
-- row that carries it (jobs.task_id), by trigger, in the same transaction, whoever moved that row.
--
--   queued    -> running     a worker claimed it
--   queued    -> cancelled   cancelled before it began
--   running   -> queued      retried, released by a stopping worker, parked, or its worker was lost
--   running   -> completed   its handler returned
--   running   -> failed      its handler failed for good, or its attempts are used up
--   running   -> cancelled   cancelled while it ran; the attempt's later writes are refused
--
-- completed, failed and cancelled are for ever.
--
-- Order of locks, everywhere: first the procrastinate row, then the job's.

CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job_type text NOT NULL,
    status text NOT NULL DEFAULT 'queued',
    params jsonb NOT NULL DEFAULT '{}',
    result jsonb,
    progress jsonb NOT NULL DEFAULT '{"current": 0, "total": 0, "message": ""}',
    error_message text,
    owner text NOT NULL DEFAULT 'default',
    task_id bigint UNIQUE REFERENCES procrastinate_jobs (id) ON DELETE SET NULL,
    attempt integer NOT NULL DEFAULT 0,          -- the fence: goes up with each claim, never down
    failed_attempts integer NOT NULL DEFAULT 0,  -- those that count against max_attempts
    max_attempts integer NOT NULL DEFAULT 3,
    worker text,                                 -- of the current or last attempt
    lease_expires_at timestamptz,                -- while running; database time only
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,                      -- of the first attempt
    completed_at timestamptz,

    CONSTRAINT jobs_job_type_is_a_name CHECK (job_type ~ '^[a-z][a-z0-9-]{0,49}$'),
    CONSTRAINT jobs_status_is_known
        CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    CONSTRAINT jobs_params_is_an_object CHECK (jsonb_typeof(params) = 'object'),
    CONSTRAINT jobs_progress_is_sound CHECK (
        jsonb_typeof(progress -> 'current') IS NOT DISTINCT FROM 'number'
        AND jsonb_typeof(progress -> 'total') IS NOT DISTINCT FROM 'number'
        AND jsonb_typeof(progress -> 'message') IS NOT DISTINCT FROM 'string'
    ),
    CONSTRAINT jobs_error_is_bounded CHECK (length(error_message) BETWEEN 1 AND 4000),
    CONSTRAINT jobs_owner_is_bounded CHECK (length(owner) BETWEEN 1 AND 200),
    CONSTRAINT jobs_attempts_are_sane
        CHECK (attempt >= 0 AND failed_attempts BETWEEN 0 AND attempt AND max_attempts >= 1),
    CONSTRAINT jobs_terminal_iff_completed_at
        CHECK ((completed_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
    CONSTRAINT jobs_running_has_a_lease CHECK (
        (status = 'running') = (lease_expires_at IS NOT NULL)
        AND (status <> 'running' OR (started_at IS NOT NULL AND attempt > 0))
    ),
    CONSTRAINT jobs_failed_has_a_reason CHECK (status <> 'failed' OR error_message IS NOT NULL),
    CONSTRAINT jobs_completed_has_a_result
        CHECK (status <> 'completed' OR (result IS NOT NULL AND error_message IS NULL))
) WITH (fillfactor = 70);  -- progress is rewritten up to four times a second: room for HOT updates

CREATE INDEX jobs_newest ON jobs (created_at DESC, id DESC);
CREATE INDEX jobs_newest_of_status ON jobs (status, created_at DESC, id DESC);
CREATE INDEX jobs_newest_of_type ON jobs (job_type, created_at DESC, id DESC);

-- One try at a job. The open row (ended_at IS NULL) is the attempt that runs now.
CREATE TABLE job_attempts (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    attempt integer NOT NULL,
    worker text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    outcome text,
    error text,

    PRIMARY KEY (job_id, attempt),
    CONSTRAINT job_attempts_outcome_is_known CHECK (
        outcome IN ('completed', 'failed', 'retried', 'released', 'parked', 'cancelled', 'lost')
    ),
    CONSTRAINT job_attempts_ended_has_an_outcome CHECK ((ended_at IS NULL) = (outcome IS NULL)),
    CONSTRAINT job_attempts_error_is_bounded CHECK (length(error) <= 4000)
);

-- What a job reads, stored once and named by its content, so that no job carries it in its params.
CREATE TABLE datasets (
    id text PRIMARY KEY CHECK (id ~ '^sha256:[0-9a-f]{64}$'),
    content text NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes = octet_length(content)),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- procrastinate's rows keep their worker for ever, and deleting a worker scans for them: these two
-- keep both small.
CREATE INDEX evalqueue_tasks_of_worker ON procrastinate_jobs (worker_id) WHERE worker_id IS NOT NULL;
CREATE INDEX evalqueue_tasks_due ON procrastinate_jobs (scheduled_at)
    WHERE status = 'todo' AND scheduled_at IS NOT NULL;

CREATE FUNCTION evalqueue_forget_worker() RETURNS trigger
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
CREATE FUNCTION evalqueue_follow_task() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    -- A task that is called finished before anyone began it was cancelled; so procrastinate's own
    -- log of events has it.
    moved_to CONSTANT text := CASE
        WHEN OLD.status = 'todo' AND NEW.status IN ('succeeded', 'failed') THEN 'cancelled'
        ELSE NEW.status::text END;
    job jobs;
BEGIN
    SELECT * INTO job FROM jobs WHERE task_id = NEW.id FOR UPDATE;
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
                lease_expires_at = moment + interval '30 seconds'  -- until its worker says more
            WHERE id = job.id;
        WHEN 'todo' THEN
            UPDATE jobs SET status = 'queued', lease_expires_at = NULL WHERE id = job.id;
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

    -- Whoever moved the row without going through our functions leaves the attempt open: close it.
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

-- procrastinate's own way to cancel a running job only asks for it. Here a cancel is final at once.
CREATE FUNCTION evalqueue_abort_at_once() RETURNS trigger
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
CREATE FUNCTION evalqueue_follow_deleted_task() RETURNS trigger
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
    END IF;
    RETURN OLD;
END;
$$;

CREATE TRIGGER evalqueue_follow_deleted_task BEFORE DELETE ON procrastinate_jobs
    FOR EACH ROW EXECUTE FUNCTION evalqueue_follow_deleted_task();

-- Told once per transaction, ids only: whoever watches reads the row.
CREATE FUNCTION evalqueue_tell() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_notify('evalqueue_job_v1', NEW.id::text);
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_tell_new AFTER INSERT ON jobs
    FOR EACH ROW EXECUTE FUNCTION evalqueue_tell();
CREATE TRIGGER evalqueue_tell_changed AFTER UPDATE OF status, progress ON jobs
    FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.progress IS DISTINCT FROM NEW.progress)
    EXECUTE FUNCTION evalqueue_tell();

-- Submit: the job and its task appear in the caller's transaction, or neither does.
CREATE FUNCTION evalqueue_submit_job_row(
    job_type text,
    params jsonb DEFAULT '{}',
    owner text DEFAULT 'default',
    priority integer DEFAULT 0,            -- higher first
    scheduled_at timestamptz DEFAULT NULL, -- NULL: as soon as possible
    queue text DEFAULT 'evalqueue',        -- 40 bytes at most: it names a NOTIFY channel
    max_attempts integer DEFAULT 3
) RETURNS jobs
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    job_id CONSTANT uuid := gen_random_uuid();
    content text;
    dataset text;
    tasks bigint[];
    job jobs;
BEGIN
    IF jsonb_typeof(params) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'The params of a job are a JSON object'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    IF scheduled_at >= '9999-01-01 00:00+00' THEN
        RAISE EXCEPTION 'scheduled_at is later than any job can wait'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- A row is no place for a secret, and every door leads through here.
    IF COALESCE(params ->> 'api_key', params ->> 'service_account_path') IS NOT NULL THEN
        RAISE EXCEPTION 'Credentials never travel in a job'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Set them in the environment of the worker.';
    END IF;

    -- Old clients send a whole file inside the params: it is kept once, beside them.
    content := params ->> 'csv_content';
    IF content IS NOT NULL THEN
        dataset := 'sha256:' || encode(sha256(convert_to(content, 'UTF8')), 'hex');
        INSERT INTO datasets (id, content, size_bytes)
            VALUES (dataset, content, octet_length(content))
            ON CONFLICT DO NOTHING;
        params := params - 'csv_content' || jsonb_build_object('dataset_id', dataset);
    END IF;

    tasks := procrastinate_defer_jobs_v1(ARRAY[ROW(
        queue, 'evalqueue.run_job', priority, NULL, NULL,
        jsonb_build_object('job_id', job_id), scheduled_at
    )::procrastinate_job_to_defer_v1]);

    INSERT INTO jobs (id, job_type, params, owner, task_id, max_attempts)
        VALUES (job_id, job_type, params, owner, tasks[1], max_attempts)
        RETURNING * INTO job;
    RETURN job;
END;
$$;

-- The same, for callers that only want the id.
CREATE FUNCTION evalqueue_submit_job(
    job_type text,
    params jsonb DEFAULT '{}',
    owner text DEFAULT 'default',
    priority integer DEFAULT 0,
    scheduled_at timestamptz DEFAULT NULL,
    queue text DEFAULT 'evalqueue',
    max_attempts integer DEFAULT 3
) RETURNS uuid
LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT id FROM evalqueue_submit_job_row($1, $2, $3, $4, $5, $6, $7);
$$;

-- A claimed task begins its attempt: no row when the claim is no longer this worker's.
CREATE FUNCTION evalqueue_start_job(
    task_id bigint, worker_id bigint, worker text, lease_seconds double precision
) RETURNS SETOF jobs
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    job jobs;
BEGIN
    PERFORM 1 FROM procrastinate_jobs AS task
        WHERE task.id = task_id AND task.status = 'doing' AND task.worker_id = worker_id
        FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE jobs SET
        worker = evalqueue_start_job.worker,
        lease_expires_at = clock_timestamp() + make_interval(secs => lease_seconds)
    WHERE jobs.task_id = evalqueue_start_job.task_id AND status = 'running'
    RETURNING jobs.* INTO job;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- A worker that never got the answer asks again.
    INSERT INTO job_attempts (job_id, attempt, worker) VALUES (job.id, job.attempt, worker)
        ON CONFLICT DO NOTHING;
    RETURN NEXT job;
END;
$$;

-- The fence: true while this attempt is the one that runs. Holds it so until the transaction ends.
CREATE FUNCTION evalqueue_hold_job(job_id uuid, attempt integer) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
BEGIN
    PERFORM 1 FROM jobs
        WHERE jobs.id = job_id AND jobs.attempt = attempt AND jobs.status = 'running'
        FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- Whoever is frozen while holding it must not hold up a cancel for ever.
    PERFORM set_config('idle_in_transaction_session_timeout', '15s', true);
    RETURN true;
END;
$$;

-- One statement per job and interval: fence, lease, progress. False: the attempt is over, stop.
-- Progress is merged into what is there, and its count never goes backwards.
CREATE FUNCTION evalqueue_flush_job(
    job_id uuid, attempt integer, progress jsonb, lease_seconds double precision
) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    lease CONSTANT interval := make_interval(secs => lease_seconds);
BEGIN
    IF progress IS NULL THEN
        -- Nothing to write while most of the lease is left: reading is enough to know the fence.
        PERFORM 1 FROM jobs
            WHERE jobs.id = job_id AND jobs.attempt = attempt AND jobs.status = 'running'
                AND jobs.lease_expires_at > clock_timestamp() + lease * 2 / 3;
        IF FOUND THEN
            RETURN true;
        END IF;
    END IF;
    UPDATE jobs SET
        lease_expires_at = clock_timestamp() + lease,
        progress = CASE WHEN progress IS NULL THEN jobs.progress ELSE
            jobs.progress || progress || jsonb_build_object('current', GREATEST(
                (jobs.progress ->> 'current')::integer, (progress ->> 'current')::integer))
            END
    WHERE jobs.id = job_id AND jobs.attempt = attempt AND jobs.status = 'running';
    RETURN FOUND;
END;
$$;

-- An attempt ends. Returns the job's status afterwards; NULL: the attempt was already over, and
-- nothing was changed.
--
--   completed  its handler returned `result`
--   failed     for good, because of `error`
--   retry      again after `delay_seconds`, unless its attempts are used up
--   released   back to the queue, due at once, not counted (the worker is stopping)
--   parked     put aside until a worker comes that knows its type, not counted
CREATE FUNCTION evalqueue_finish_job(
    job_id uuid,
    attempt integer,
    outcome text,
    result jsonb DEFAULT NULL,
    error text DEFAULT NULL,
    delay_seconds double precision DEFAULT 0,
    delete_task boolean DEFAULT false
) RETURNS text
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    job jobs;
    used integer;
BEGIN
    PERFORM 1 FROM procrastinate_jobs AS task
        WHERE task.id = (SELECT jobs.task_id FROM jobs WHERE jobs.id = job_id) FOR UPDATE;
    SELECT * INTO job FROM jobs
        WHERE jobs.id = job_id AND jobs.attempt = attempt AND jobs.status = 'running' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    error := left(error, 4000);
    used := job.failed_attempts + CASE WHEN outcome IN ('failed', 'retry') THEN 1 ELSE 0 END;
    IF outcome = 'retry' AND used >= job.max_attempts THEN
        outcome := 'failed';
        error := left(format('Gave up after %s attempts. The last one: %s', used, error), 4000);
    END IF;

    UPDATE job_attempts SET
        ended_at = clock_timestamp(),
        outcome = CASE evalqueue_finish_job.outcome WHEN 'retry' THEN 'retried' ELSE evalqueue_finish_job.outcome END,
        error = evalqueue_finish_job.error
    WHERE job_attempts.job_id = job.id AND job_attempts.attempt = job.attempt;

    CASE outcome
        WHEN 'completed', 'failed' THEN
            UPDATE jobs SET
                result = evalqueue_finish_job.result,
                error_message = CASE outcome WHEN 'failed' THEN error END,
                failed_attempts = used
            WHERE jobs.id = job.id;
            PERFORM procrastinate_finish_job_v1(
                job.task_id,
                CASE outcome WHEN 'completed' THEN 'succeeded' ELSE 'failed' END::procrastinate_job_status,
                false
            );
            IF delete_task THEN
                DELETE FROM procrastinate_jobs WHERE id = job.task_id;
            END IF;
        WHEN 'retry', 'released' THEN
            UPDATE jobs SET failed_attempts = used WHERE jobs.id = job.id;
            PERFORM procrastinate_retry_job_v2(
                job.task_id, clock_timestamp() + make_interval(secs => delay_seconds), NULL, NULL, NULL);
        WHEN 'parked' THEN
            UPDATE jobs SET progress = progress || jsonb_build_object('message', error)
                WHERE jobs.id = job.id;
            PERFORM procrastinate_retry_job_v2(
                job.task_id, '9999-01-01 00:00+00', NULL, NULL, NULL);
    END CASE;
    RETURN (SELECT jobs.status FROM jobs WHERE jobs.id = job.id);
END;
$$;

-- Cancel, in one transaction, whatever the job is doing. True: this call cancelled it. False: it
-- was over already. NULL: there is no such job.
CREATE FUNCTION evalqueue_cancel_job(job_id uuid) RETURNS boolean
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

-- Jobs whose lease ran out have lost their worker: back to the queue, or failed when that happened
-- too often. Safe to call from anywhere at any time. Returns how many were found.
CREATE FUNCTION evalqueue_reap_jobs() RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    lost record;
    job jobs;
    reaped integer := 0;
BEGIN
    FOR lost IN
        SELECT jobs.id, task.id AS task_id
        FROM jobs JOIN procrastinate_jobs AS task ON task.id = jobs.task_id
        WHERE jobs.status = 'running' AND jobs.lease_expires_at < clock_timestamp()
        ORDER BY task.id LIMIT 100
        FOR UPDATE OF task SKIP LOCKED
    LOOP
        -- An attempt that is in the middle of keeping something holds its row: it lives, or its
        -- transaction will be ended for it, and the next look finds it.
        SELECT * INTO job FROM jobs
            WHERE id = lost.id AND status = 'running' AND lease_expires_at < clock_timestamp()
            FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        reaped := reaped + 1;
        UPDATE job_attempts SET
            ended_at = clock_timestamp(), outcome = 'lost', error = 'Its worker stopped answering'
        WHERE job_id = job.id AND ended_at IS NULL;
        IF NOT FOUND THEN  -- claimed, and lost before it began
            INSERT INTO job_attempts (job_id, attempt, worker, ended_at, outcome, error) VALUES (
                job.id, job.attempt, COALESCE(job.worker, 'unknown'), clock_timestamp(), 'lost',
                'Its worker claimed it and never began')
            ON CONFLICT DO NOTHING;
        END IF;
        UPDATE jobs SET
            failed_attempts = failed_attempts + 1,
            error_message = CASE WHEN job.failed_attempts + 1 >= max_attempts THEN format(
                'Gave up after %s attempts. The last one lost its worker (%s stopped answering)',
                job.failed_attempts + 1, COALESCE(job.worker, 'unknown')) END
        WHERE id = job.id;
        IF job.failed_attempts + 1 >= job.max_attempts THEN
            PERFORM procrastinate_finish_job_v1(job.task_id, 'failed', false);
        ELSE
            PERFORM procrastinate_retry_job_v2(job.task_id, clock_timestamp(), NULL, NULL, NULL);
        END IF;
    END LOOP;
    RETURN reaped;
END;
$$;

-- A worker that knows these job types makes the parked ones of its queues due; NULL: all queues.
CREATE FUNCTION evalqueue_unpark_jobs(job_types text[], queues text[]) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    unparked integer;
BEGIN
    UPDATE procrastinate_jobs SET scheduled_at = NULL WHERE id IN (
        SELECT task.id
        FROM procrastinate_jobs AS task JOIN jobs ON jobs.task_id = task.id
        WHERE task.status = 'todo' AND task.scheduled_at = '9999-01-01 00:00+00'
            AND jobs.job_type = ANY (job_types)
            AND (queues IS NULL OR task.queue_name = ANY (queues))
        FOR UPDATE OF task SKIP LOCKED
    );
    GET DIAGNOSTICS unparked = ROW_COUNT;
    RETURN unparked;
END;
$$;

-- Seconds until something is due that no NOTIFY will tell: a scheduled or retried job, a lease
-- that may run out. NULL: nothing is.
CREATE FUNCTION evalqueue_next_due() RETURNS double precision
LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT EXTRACT(epoch FROM min(due) - clock_timestamp())::double precision FROM (
        -- What became due within the last second may have slipped between fetch and this look.
        (SELECT scheduled_at AS due FROM procrastinate_jobs
            WHERE status = 'todo' AND scheduled_at > clock_timestamp() - interval '1 second'
                AND scheduled_at < '9999-01-01 00:00+00'
            ORDER BY scheduled_at LIMIT 1)
        UNION ALL
        (SELECT min(lease_expires_at) FROM jobs WHERE status = 'running')
    ) AS dues;
$$;
