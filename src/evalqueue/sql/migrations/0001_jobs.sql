-- The state machine of a job.
--
-- A job is one request for work. Its status is never written by hand: it follows the procrastinate
-- row that carries it (jobs.task_id), by trigger, in the same transaction, whoever moved that row.
--
--   queued    -> running     a worker claimed it
--   queued    -> cancelled   cancelled before it began
--   running   -> queued      retried, released by a stopping worker, yielded, or its worker was lost
--   running   -> completed   its handler returned
--   running   -> failed      its handler failed for good, or its attempts are used up
--   running   -> cancelled   cancelled while it ran; the attempt's later writes are refused
--
-- completed, failed and cancelled are for ever: what is wanted again goes on as another job.
--
-- Order of locks, everywhere: first the procrastinate row, then the job's; a job's before those of
-- the jobs that hang on it (its hands, and whatever starts after it). A job's row is locked FOR NO
-- KEY UPDATE: whoever submits something that hangs on it, or claims its items, isn't in the way.

CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job_type text NOT NULL,
    status text NOT NULL DEFAULT 'queued',
    params jsonb NOT NULL DEFAULT '{}',
    result jsonb,
    progress jsonb NOT NULL DEFAULT '{"current": 0, "total": 0, "message": ""}',
    error_message text,
    owner text NOT NULL DEFAULT 'default',
    queue text NOT NULL DEFAULT 'evalqueue',
    priority integer NOT NULL DEFAULT 0,         -- higher first
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),  -- its place in line; not before
    task_id bigint UNIQUE REFERENCES procrastinate_jobs (id) ON DELETE SET NULL,
    attempt integer NOT NULL DEFAULT 0,          -- the fence: goes up with each claim, never down
    failed_attempts integer NOT NULL DEFAULT 0,  -- those that count against max_attempts
    max_attempts integer NOT NULL DEFAULT 3,
    worker text,                                 -- of the current or last attempt
    lease_expires_at timestamptz,                -- while running; database time only
    idempotency_key text,                        -- of its owner; kept as long as the job
    fingerprint text,                            -- of the request that came with that key
    parent_id uuid REFERENCES jobs ON DELETE CASCADE,    -- of a hand: the job it helps with
    retry_of uuid REFERENCES jobs ON DELETE SET NULL,    -- the job that this one continues
    after_id uuid REFERENCES jobs ON DELETE SET NULL,    -- the job it was to start after
    waiting boolean NOT NULL DEFAULT false,      -- until that one is completed
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
    CONSTRAINT jobs_idempotency_key_is_bounded CHECK (
        length(idempotency_key) BETWEEN 1 AND 255
        AND (idempotency_key IS NULL) = (fingerprint IS NULL)
    ),
    -- What every driver and every calendar can say.
    CONSTRAINT jobs_due_at_is_a_moment
        CHECK (due_at >= '1970-01-01 00:00+00' AND due_at < '9999-01-01 00:00+00'),
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
        CHECK (status <> 'completed' OR (result IS NOT NULL AND error_message IS NULL)),
    CONSTRAINT jobs_waiting_did_not_begin
        CHECK (NOT waiting OR (attempt = 0 AND status IN ('queued', 'cancelled')))
) WITH (fillfactor = 70);  -- progress is rewritten up to four times a second: room for HOT updates

CREATE INDEX jobs_newest ON jobs (created_at DESC, id DESC) WHERE parent_id IS NULL;
CREATE INDEX jobs_newest_of_status ON jobs (status, created_at DESC, id DESC)
    WHERE parent_id IS NULL;
CREATE INDEX jobs_newest_of_type ON jobs (job_type, created_at DESC, id DESC)
    WHERE parent_id IS NULL;
CREATE UNIQUE INDEX jobs_once_per_key ON jobs (owner, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX jobs_continued_once ON jobs (retry_of) WHERE retry_of IS NOT NULL;
CREATE INDEX jobs_hands ON jobs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX jobs_after ON jobs (after_id) WHERE after_id IS NOT NULL;
CREATE INDEX jobs_waiting ON jobs (after_id) WHERE waiting AND status = 'queued';

-- One line per queue, owner and job type, so that nobody has to walk past what he can't do. Jobs
-- before hands; a moment in the future is far behind in its line.
CREATE INDEX jobs_in_line ON jobs
    (queue, owner, job_type, priority DESC, (parent_id IS NOT NULL), due_at, task_id)
    WHERE status = 'queued' AND NOT waiting;
CREATE INDEX jobs_due ON jobs (due_at) WHERE status = 'queued' AND NOT waiting;
CREATE INDEX jobs_running ON jobs (queue, owner) WHERE status = 'running';
CREATE INDEX jobs_ended ON jobs (completed_at) WHERE completed_at IS NOT NULL;

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
        outcome IN ('completed', 'failed', 'retried', 'released', 'yielded', 'cancelled', 'lost')
    ),
    CONSTRAINT job_attempts_ended_has_an_outcome CHECK ((ended_at IS NULL) = (outcome IS NULL)),
    CONSTRAINT job_attempts_error_is_bounded CHECK (length(error) <= 4000)
);

-- Who works on which item of a job that several workers share, and what is done of it. A claim
-- holds as long as the attempt that made it runs. Gone when the job is over.
CREATE TABLE job_items (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    item text NOT NULL,
    holder uuid NOT NULL,           -- the job itself, or one of its hands
    attempt integer NOT NULL,       -- of the holder
    succeeded boolean,              -- NULL: not done yet

    PRIMARY KEY (job_id, item)
);

-- What a job reads, stored once and named by its content, so that no job carries it in its params.
CREATE TABLE datasets (
    id text PRIMARY KEY CHECK (id ~ '^sha256:[0-9a-f]{64}$'),
    content text NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes = octet_length(content)),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX jobs_reading ON jobs ((params ->> 'dataset_id')) WHERE params ? 'dataset_id';

-- A queue that has a row here is paused or limited; the others are neither.
CREATE TABLE job_queues (
    name text PRIMARY KEY,
    paused_at timestamptz,
    max_running integer CHECK (max_running >= 1),            -- over all workers, hands included
    max_running_per_owner integer CHECK (max_running_per_owner >= 1)
);

-- procrastinate's rows keep their worker for ever, and deleting a worker looks for them.
CREATE INDEX evalqueue_tasks_of_worker ON procrastinate_jobs (worker_id) WHERE worker_id IS NOT NULL;

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
                lease_expires_at = moment + interval '30 seconds'  -- until its worker says more
            WHERE id = job.id;
        WHEN 'todo' THEN
            -- Without a moment of its own it goes back to where it stood in line.
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

    -- In a limited queue, whoever was kept waiting by the limit may go now.
    IF OLD.status = 'doing' AND EXISTS (SELECT 1 FROM job_queues WHERE name = NEW.queue_name
            AND (max_running IS NOT NULL OR max_running_per_owner IS NOT NULL)) THEN
        PERFORM pg_notify('evalqueue_work_v1', NEW.queue_name);
    END IF;

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

-- Where a job stands in line follows its procrastinate row, too.
CREATE FUNCTION evalqueue_follow_place() RETURNS trigger
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

CREATE TRIGGER evalqueue_follow_place
    AFTER UPDATE OF priority, queue_name, scheduled_at ON procrastinate_jobs
    FOR EACH ROW WHEN (
        OLD.status = 'todo' AND NEW.status = 'todo'
        AND (OLD.priority, OLD.queue_name, OLD.scheduled_at)
            IS DISTINCT FROM (NEW.priority, NEW.queue_name, NEW.scheduled_at)
    )
    EXECUTE FUNCTION evalqueue_follow_place();

-- A job is over: so are its hands, and whoever waits for it begins or never will.
CREATE FUNCTION evalqueue_release_others() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM jobs WHERE parent_id = NEW.id) THEN
        PERFORM evalqueue_cancel_job(hand.id) FROM jobs AS hand
            WHERE hand.parent_id = NEW.id AND hand.completed_at IS NULL ORDER BY hand.task_id;
        DELETE FROM job_items WHERE job_id = NEW.id;
    END IF;
    -- A chain may be longer than the stack is deep: the next sweep goes on from here.
    IF pg_trigger_depth() > 50 THEN
        RETURN NULL;
    END IF;
    PERFORM evalqueue_let_begin(next) FROM jobs AS next
        WHERE next.after_id = NEW.id AND next.waiting AND next.status = 'queued'
        ORDER BY next.task_id;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_release_others AFTER UPDATE OF status ON jobs
    FOR EACH ROW WHEN (OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL)
    EXECUTE FUNCTION evalqueue_release_others();

-- What a job waited for is over: it may begin, or is cancelled with that reason.
CREATE FUNCTION evalqueue_let_begin(next jobs) RETURNS void
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
                COALESCE('job ' || next.after_id, 'a job'), CASE came_to WHEN 'failed' THEN 'failed' WHEN 'cancelled' THEN 'was cancelled' ELSE 'is gone' END)
            WHERE id = next.id AND waiting AND status = 'queued';
        PERFORM evalqueue_cancel_job(next.id);
    END IF;
END;
$$;

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
        PERFORM pg_notify('evalqueue_work_v1', OLD.queue_name);  -- it may have filled a limit
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

-- A job and its task appear together. Everything that makes jobs goes through here.
CREATE FUNCTION evalqueue_place_job(job jobs) RETURNS jobs
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    -- A moment that has passed is now: nobody gets ahead of others by it.
    scheduled_at CONSTANT timestamptz := CASE WHEN job.due_at > moment THEN job.due_at END;
    tasks bigint[];
BEGIN
    job.id := gen_random_uuid();
    job.due_at := COALESCE(scheduled_at, moment);
    tasks := procrastinate_defer_jobs_v1(ARRAY[ROW(
        job.queue, 'evalqueue.run_job', job.priority, NULL, NULL,
        jsonb_build_object('job_id', job.id), scheduled_at
    )::procrastinate_job_to_defer_v1]);
    INSERT INTO jobs (
        id, job_type, params, owner, queue, priority, due_at, task_id, max_attempts,
        idempotency_key, fingerprint, parent_id, retry_of, after_id, waiting
    ) VALUES (
        job.id, job.job_type, job.params, job.owner, job.queue, job.priority, job.due_at, tasks[1],
        job.max_attempts, job.idempotency_key, job.fingerprint, job.parent_id, job.retry_of,
        job.after_id, COALESCE(job.waiting, false)
    )
    -- In READ COMMITTED whoever was faster was waited for and found. A transaction that can't see it
    -- is told by this that it has to start again (serialization_failure).
    ON CONFLICT DO NOTHING RETURNING * INTO STRICT job;
    RETURN job;
END;
$$;

-- Submit: the job and its task appear in the caller's transaction, or neither does. The same
-- idempotency key of the same owner is the same job, whoever asks again and whenever.
CREATE FUNCTION evalqueue_submit_job_row(
    job_type text,
    params jsonb DEFAULT '{}',
    owner text DEFAULT 'default',
    priority integer DEFAULT 0,            -- higher first
    scheduled_at timestamptz DEFAULT NULL, -- NULL: as soon as possible
    queue text DEFAULT 'evalqueue',        -- 40 bytes at most: it names a NOTIFY channel
    max_attempts integer DEFAULT 3,
    idempotency_key text DEFAULT NULL,
    after uuid DEFAULT NULL,               -- not before this job is completed
    asked jsonb DEFAULT NULL               -- the params as they came; NULL: as they are
) RETURNS jobs
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    fingerprint text;
    content text;
    dataset text;
    predecessor text;
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

    IF idempotency_key IS NOT NULL THEN
        fingerprint := encode(sha256(convert_to(jsonb_build_array(
            job_type, COALESCE(asked, params), priority, EXTRACT(epoch FROM scheduled_at), queue,
            max_attempts, after)::text, 'UTF8')), 'hex');
        -- Whoever comes at the same moment waits here, and then finds the job.
        PERFORM pg_advisory_xact_lock(hashtextextended(owner || E'\n' || idempotency_key, 0));
        SELECT * INTO job FROM jobs
            WHERE jobs.owner = owner AND jobs.idempotency_key = idempotency_key;
        IF FOUND THEN
            IF job.fingerprint <> fingerprint THEN
                RAISE EXCEPTION 'This idempotency key was used for another request, job %', job.id
                    USING ERRCODE = 'unique_violation',
                          HINT = 'Send a new request with a new key.';
            END IF;
            RETURN job;
        END IF;
    END IF;

    IF after IS NOT NULL THEN
        SELECT jobs.status INTO predecessor FROM jobs WHERE jobs.id = after;
        IF predecessor IS NULL OR predecessor IN ('failed', 'cancelled') THEN
            RAISE EXCEPTION 'Job % is %: nothing can start after it', after,
                COALESCE(predecessor, 'not there')
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END IF;

    -- Old clients send a whole file inside the params: it is kept once, beside them.
    content := params ->> 'csv_content';
    IF content IS NOT NULL THEN
        dataset := 'sha256:' || encode(sha256(convert_to(content, 'UTF8')), 'hex');
        LOOP  -- until it is there and stays: an old one may be about to be deleted
            INSERT INTO datasets (id, content, size_bytes)
                VALUES (dataset, content, octet_length(content))
                ON CONFLICT DO NOTHING;
            PERFORM 1 FROM datasets WHERE id = dataset FOR KEY SHARE;
            EXIT WHEN FOUND;
        END LOOP;
        params := params - 'csv_content' || jsonb_build_object('dataset_id', dataset);
    END IF;

    job.job_type := job_type;
    job.params := params;
    job.owner := owner;
    job.priority := priority;
    job.due_at := scheduled_at;
    job.queue := queue;
    job.max_attempts := max_attempts;
    job.idempotency_key := idempotency_key;
    job.fingerprint := fingerprint;
    job.after_id := after;
    job.waiting := after IS NOT NULL AND predecessor <> 'completed';
    RETURN evalqueue_place_job(job);
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
    max_attempts integer DEFAULT 3,
    idempotency_key text DEFAULT NULL,
    after uuid DEFAULT NULL
) RETURNS uuid
LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT id FROM evalqueue_submit_job_row($1, $2, $3, $4, $5, $6, $7, $8, $9);
$$;

-- A job that is over and did not get everything done goes on as a new job, which does what is
-- missing or failed. Asking twice finds the same one. NULL: there is no such job.
CREATE FUNCTION evalqueue_retry_job(job_id uuid) RETURNS jobs
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    old jobs;
    job jobs;
BEGIN
    SELECT * INTO old FROM jobs WHERE jobs.id = job_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT * INTO job FROM jobs WHERE jobs.retry_of = job_id;
    IF FOUND AND job.completed_at IS NULL THEN
        RETURN job;
    END IF;
    CASE
        WHEN FOUND THEN
            RAISE EXCEPTION 'Job % was continued as job %', job_id, job.id
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Retry that one.';
        WHEN old.parent_id IS NOT NULL THEN
            RAISE EXCEPTION 'Job % only helps job %', job_id, old.parent_id
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Retry that one.';
        WHEN old.completed_at IS NULL THEN
            RAISE EXCEPTION 'Job % is %: only what is over can be retried', job_id, old.status
                USING ERRCODE = 'object_not_in_prerequisite_state';
        WHEN old.status = 'completed'
            AND old.result ->> 'run_status' IS DISTINCT FROM 'completed_with_errors' THEN
            RAISE EXCEPTION 'Job % is completed: nothing is missing or failed', job_id
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Submit a new job to do it all again.';
        ELSE
            job := old;
            job.due_at := NULL;
            job.idempotency_key := NULL;
            job.fingerprint := NULL;
            job.after_id := NULL;
            job.waiting := false;
            job.retry_of := job_id;
            RETURN evalqueue_place_job(job);
    END CASE;
END;
$$;

-- A running job asks for hands: auxiliary jobs of its type, which other workers take when they
-- have nothing better to do. There will be so many that are not over. False: the attempt is.
CREATE FUNCTION evalqueue_ask_for_hands(job_id uuid, attempt integer, wanted integer) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    job jobs;
    hand jobs;
BEGIN
    SELECT * INTO job FROM jobs
        WHERE jobs.id = job_id AND jobs.attempt = attempt AND jobs.status = 'running'
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    hand := job;
    hand.parent_id := job.id;
    hand.due_at := NULL;
    hand.idempotency_key := NULL;
    hand.fingerprint := NULL;
    hand.retry_of := NULL;
    hand.after_id := NULL;
    PERFORM evalqueue_place_job(hand) FROM generate_series(1, wanted - (
        SELECT count(*) FROM jobs WHERE parent_id = job_id AND completed_at IS NULL));
    RETURN true;
END;
$$;

-- Up to `wanted` of these items of a shared job are this attempt's from now on: those nobody has
-- done, and nobody else who still runs has claimed; whoever didn't hear the answer may ask again.
-- NULL: the attempt is over.
CREATE FUNCTION evalqueue_claim_items(
    job_id uuid, attempt integer, items text[], wanted integer
) RETURNS text[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    root uuid;
    claimed text[];
    seen bigint;
BEGIN
    SELECT COALESCE(jobs.parent_id, jobs.id) INTO root FROM jobs
        WHERE jobs.id = job_id AND jobs.attempt = attempt AND jobs.status = 'running' FOR SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    LOOP
        WITH free AS (
            SELECT wish.item FROM unnest(items) WITH ORDINALITY AS wish (item, place)
            LEFT JOIN job_items AS taken ON taken.job_id = root AND taken.item = wish.item
            WHERE taken.item IS NULL OR (taken.succeeded IS NULL AND NOT EXISTS (
                SELECT 1 FROM jobs WHERE jobs.id = taken.holder AND jobs.id <> job_id
                    AND jobs.attempt = taken.attempt AND jobs.status = 'running'))
            ORDER BY wish.place LIMIT wanted
        ), mine AS (
            INSERT INTO job_items AS taken (job_id, item, holder, attempt)
            SELECT root, free.item, evalqueue_claim_items.job_id, evalqueue_claim_items.attempt
            FROM free ORDER BY free.item
            ON CONFLICT ON CONSTRAINT job_items_pkey DO UPDATE SET
                holder = EXCLUDED.holder, attempt = EXCLUDED.attempt
                -- Whoever was faster keeps it.
                WHERE taken.succeeded IS NULL AND NOT EXISTS (
                    SELECT 1 FROM jobs WHERE jobs.id = taken.holder AND jobs.id <> job_id
                        AND jobs.attempt = taken.attempt AND jobs.status = 'running')
            RETURNING taken.item
        )
        SELECT COALESCE(array_agg(item), '{}'), (SELECT count(*) FROM free) INTO claimed, seen FROM mine;
        -- Others were faster with all of them: there may be more.
        EXIT WHEN cardinality(claimed) > 0 OR seen = 0;
    END LOOP;
    RETURN claimed;
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
--   released   back to its place in line, not counted (the worker is stopping)
--   yielded    back to the end of its line, not counted (it makes room for others)
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
        WHERE jobs.id = job_id AND jobs.attempt = attempt AND jobs.status = 'running'
        FOR NO KEY UPDATE;
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
        WHEN 'retry', 'released', 'yielded' THEN
            UPDATE jobs SET failed_attempts = used WHERE jobs.id = job.id;
            PERFORM procrastinate_retry_job_v2(job.task_id, CASE outcome
                WHEN 'retry' THEN clock_timestamp() + make_interval(secs => delay_seconds)
                WHEN 'yielded' THEN clock_timestamp() END, NULL, NULL, NULL);
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

-- Jobs whose lease ran out have lost their worker: back to their place in line, or failed when that
-- happened too often. Safe to call from anywhere at any time. Returns how many were found.
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
            FOR NO KEY UPDATE SKIP LOCKED;
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
            error_message = CASE WHEN failed_attempts + 1 >= max_attempts THEN (
                SELECT left(CASE WHEN count(*) >= max_attempts
                    THEN format('Quarantined: workers lost to it: %s', count(*))
                    ELSE format('Gave up after %s attempts. The last one lost its worker', failed_attempts + 1)
                    END || format(' (%s)', string_agg(worker, ', ' ORDER BY attempt)), 4000)
                FROM job_attempts WHERE job_id = jobs.id AND outcome = 'lost') END
        WHERE id = job.id;
        IF job.failed_attempts + 1 >= job.max_attempts THEN
            PERFORM procrastinate_finish_job_v1(job.task_id, 'failed', false);
        ELSE
            PERFORM procrastinate_retry_job_v2(job.task_id, NULL, NULL, NULL, NULL);
        END IF;
    END LOOP;
    RETURN reaped;
END;
$$;
