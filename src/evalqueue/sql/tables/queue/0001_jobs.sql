-- Jobs, their attempts, and the items of a job that several workers share.
--
-- A job is one request for work. No statement of ours writes its status: it follows the
-- procrastinate row that carries it (jobs.task_id), by trigger, in the same transaction, whatever
-- moved that row (functions/queue/status.sql).
--
--   queued    -> running     a worker claimed it
--   queued    -> cancelled   cancelled before it began
--   running   -> queued      retried, released by a stopping worker, yielded, or its worker was lost
--   running   -> completed   its handler returned
--   running   -> failed      its handler failed for good, or its attempts are used up
--   running   -> cancelled   cancelled while it ran; the attempt's later writes are refused
--
-- completed, failed and cancelled are final: what is wanted again is another job.
--
-- Order of locks, everywhere: first the procrastinate row, then the job's; a job's before those of
-- the jobs that depend on it (its helper jobs, and the jobs that start after it). A job's row is
-- locked FOR NO KEY UPDATE: it does not block a transaction that submits a dependent job (a foreign
-- key) or claims one of its items.

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
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),  -- not before; earlier goes first
    task_id bigint UNIQUE REFERENCES procrastinate_jobs (id) ON DELETE SET NULL,
    attempt integer NOT NULL DEFAULT 0,          -- the fence: goes up with each claim, never down
    failed_attempts integer NOT NULL DEFAULT 0,  -- those that count against max_attempts
    max_attempts integer NOT NULL DEFAULT 3,
    worker text,                                 -- of the current or last attempt
    lease_expires_at timestamptz,                -- while running; database time only
    idempotency_key text,                        -- unique per owner, as long as the job exists
    fingerprint text,                            -- of the request that came with that key
    parent_id uuid REFERENCES jobs ON DELETE CASCADE,    -- of a helper job: the job it helps with
    retry_of uuid REFERENCES jobs ON DELETE SET NULL,    -- the job that this one continues
    after_id uuid REFERENCES jobs ON DELETE SET NULL,    -- the job it was to start after
    waiting boolean NOT NULL DEFAULT false,      -- until that one is completed
    -- Goes up with every change that a watcher shows. In no index: a progress update stays within
    -- its page (HOT).
    revision bigint NOT NULL DEFAULT 1,
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
    -- What every driver and every calendar can represent.
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
) WITH (fillfactor = 70);  -- progress is rewritten up to four times a second: space for HOT updates

CREATE INDEX jobs_newest ON jobs (created_at DESC, id DESC) WHERE parent_id IS NULL;
CREATE INDEX jobs_newest_of_status ON jobs (status, created_at DESC, id DESC)
    WHERE parent_id IS NULL;
CREATE INDEX jobs_newest_of_type ON jobs (job_type, created_at DESC, id DESC)
    WHERE parent_id IS NULL;
-- A caller who sees one owner's jobs does not wait for a scan of all owners'.
CREATE INDEX jobs_newest_of_owner ON jobs (owner, created_at DESC, id DESC)
    WHERE parent_id IS NULL;
CREATE UNIQUE INDEX jobs_once_per_key ON jobs (owner, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX jobs_continued_once ON jobs (retry_of) WHERE retry_of IS NOT NULL;
CREATE INDEX jobs_helpers ON jobs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX jobs_after ON jobs (after_id) WHERE after_id IS NOT NULL;
CREATE INDEX jobs_waiting ON jobs (after_id) WHERE waiting AND status = 'queued';

-- What may be claimed, in one ordered stretch per queue, owner and job type: a claim never reads
-- past jobs that its worker can't do. Jobs before helper jobs; one that is due in the future is far
-- behind in its stretch.
CREATE INDEX jobs_claimable ON jobs
    (queue, owner, job_type, priority DESC, (parent_id IS NOT NULL), due_at, task_id)
    WHERE status = 'queued' AND NOT waiting;
-- A queue in the order of its jobs, over all owners and without helper jobs: positions are read here.
CREATE INDEX jobs_in_queue ON jobs (queue, priority DESC, due_at, task_id)
    WHERE status = 'queued' AND NOT waiting AND parent_id IS NULL;
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

-- Which job works on which item of a job that several workers share, and which items are done. A
-- claim holds as long as the attempt that made it runs. Deleted when the job is over.
CREATE TABLE job_items (
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    item text NOT NULL,
    holder uuid NOT NULL,           -- the job itself, or one of its helper jobs
    attempt integer NOT NULL,       -- of the holder
    succeeded boolean,              -- NULL: not done yet

    PRIMARY KEY (job_id, item)
);

-- A queue that has a row here is paused or limited; the others are neither.
CREATE TABLE job_queues (
    name text PRIMARY KEY,
    paused_at timestamptz,
    max_running integer CHECK (max_running >= 1),            -- over all workers, helpers included
    max_running_per_owner integer CHECK (max_running_per_owner >= 1)
);

-- procrastinate never clears the worker of a row, and deleting a worker looks for its rows.
CREATE INDEX evalqueue_tasks_of_worker ON procrastinate_jobs (worker_id) WHERE worker_id IS NOT NULL;
