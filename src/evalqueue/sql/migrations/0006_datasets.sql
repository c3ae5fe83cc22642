-- What is evaluated: conversations, read once, kept once, and read one at a time.
--
-- A dataset is its content: whoever brings the same file brings the same dataset. Who has it, and
-- under which name, is in dataset_owners; the content goes when nobody has it and no job or run
-- needs it. A dataset with `content` came by plain SQL and was not read yet: the first worker that
-- needs it does so, and puts dataset_threads in the content's place.

ALTER TABLE datasets
    ALTER COLUMN content DROP NOT NULL,
    ADD COLUMN format text,
    ADD COLUMN mapping jsonb,              -- our column: the file's header; NULL: they are the same
    ADD COLUMN messages integer,
    ADD COLUMN threads integer,
    ADD COLUMN users integer,
    ADD COLUMN first_at timestamptz,       -- NULL: the file has no times
    ADD COLUMN last_at timestamptz,
    ADD COLUMN intents json,               -- label: messages, in order, which jsonb would not keep
    ADD COLUMN messages_with_images integer,
    ADD COLUMN messages_with_errors integer,
    ADD CONSTRAINT datasets_mapping_is_an_object CHECK (jsonb_typeof(mapping) = 'object'),
    ADD CONSTRAINT datasets_was_read_or_is_there CHECK (
        (content IS NULL) = (format IS NOT NULL) AND num_nulls(format, messages, threads, users,
            intents, messages_with_images, messages_with_errors) IN (0, 7)
    );

-- One conversation: `turns` is an array of {number, timestamp, user_text, bot_text, routed_intent,
-- routed_query_type, has_image, error, session_id, response_id}, in the order they happened.
CREATE TABLE dataset_threads (
    dataset_id text NOT NULL REFERENCES datasets ON DELETE CASCADE,
    position integer NOT NULL CHECK (position >= 1),  -- in order of first appearance
    thread_id text NOT NULL CHECK (length(thread_id) BETWEEN 1 AND 500),
    user_id text NOT NULL,                 -- of its first turn
    messages integer NOT NULL CHECK (messages >= 1),
    first_at timestamptz,                  -- NULL: the file has no times
    last_at timestamptz,
    has_images boolean NOT NULL,
    has_errors boolean NOT NULL,
    opening text NOT NULL CHECK (length(opening) <= 200),  -- what the user said first
    turns jsonb NOT NULL CHECK (jsonb_typeof(turns) = 'array'),

    PRIMARY KEY (dataset_id, thread_id),
    CONSTRAINT dataset_threads_stand_in_a_row UNIQUE (dataset_id, position)
);

CREATE TABLE dataset_owners (
    dataset_id text NOT NULL REFERENCES datasets ON DELETE CASCADE,
    owner text NOT NULL CHECK (length(owner) BETWEEN 1 AND 200),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 500),
    -- Put there to stay; or it came with a job, and may go when no job and no run needs it.
    kept boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (dataset_id, owner)
);
CREATE INDEX dataset_owners_newest ON dataset_owners (owner, created_at DESC, dataset_id);

ALTER TABLE eval_runs ADD COLUMN dataset_id text REFERENCES datasets ON DELETE SET NULL;
CREATE INDEX eval_runs_reading ON eval_runs (dataset_id) WHERE dataset_id IS NOT NULL;

INSERT INTO dataset_owners (dataset_id, owner, name)
    SELECT DISTINCT jobs.params ->> 'dataset_id', jobs.owner, 'csv_content'
    FROM jobs JOIN datasets ON datasets.id = jobs.params ->> 'dataset_id';
UPDATE eval_runs SET dataset_id = datasets.id
    FROM jobs, datasets
    WHERE jobs.id = eval_runs.job_id AND datasets.id = jobs.params ->> 'dataset_id';

-- Whether a job, a schedule, a run or somebody who put it there needs a dataset.
CREATE FUNCTION evalqueue_dataset_is_needed(dataset text) RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT EXISTS (SELECT 1 FROM dataset_owners WHERE dataset_id = dataset AND kept)
        OR EXISTS (SELECT 1 FROM jobs WHERE params ? 'dataset_id' AND params ->> 'dataset_id' = dataset)
        OR EXISTS (SELECT 1 FROM eval_runs WHERE dataset_id = dataset)
        OR EXISTS (SELECT 1 FROM job_schedules WHERE params ->> 'dataset_id' = dataset);
$$;

-- An owner has a dataset no longer (NULL: nobody has). 'gone': its content went, too; 'kept': others
-- have it, or a job or run needs it; 'read': a job of theirs that is not over reads it, and nothing
-- was changed. NULL: they have none with this id.
CREATE FUNCTION evalqueue_remove_dataset(dataset text, owner text) RETURNS text
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
BEGIN
    -- Whoever submits a job that reads it waits, or is seen here.
    PERFORM 1 FROM datasets WHERE id = dataset FOR UPDATE;
    IF NOT EXISTS (SELECT 1 FROM dataset_owners AS entry
            WHERE entry.dataset_id = dataset AND (owner IS NULL OR entry.owner = owner)) THEN
        RETURN NULL;
    END IF;
    IF EXISTS (SELECT 1 FROM jobs
            WHERE params ? 'dataset_id' AND params ->> 'dataset_id' = dataset
                AND completed_at IS NULL AND (owner IS NULL OR jobs.owner = owner)) THEN
        RETURN 'read';
    END IF;
    DELETE FROM dataset_owners AS entry
        WHERE entry.dataset_id = dataset AND (owner IS NULL OR entry.owner = owner);
    DELETE FROM datasets WHERE id = dataset AND NOT evalqueue_dataset_is_needed(dataset)
        AND NOT EXISTS (SELECT 1 FROM dataset_owners WHERE dataset_id = dataset);
    RETURN CASE WHEN FOUND THEN 'gone' ELSE 'kept' END;
END;
$$;

-- As before, but that whoever sends a file has it, and that a dataset stays while it is submitted.
CREATE OR REPLACE FUNCTION evalqueue_submit_job_row(
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
        INSERT INTO dataset_owners AS entry (dataset_id, owner, name)
            VALUES (dataset, owner, 'csv_content') ON CONFLICT DO NOTHING;
        params := params - 'csv_content' || jsonb_build_object('dataset_id', dataset);
    ELSE
        -- Nobody deletes it between here and the end of this transaction.
        PERFORM 1 FROM datasets WHERE id = params ->> 'dataset_id' FOR KEY SHARE;
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

-- A run is opened with its job, and knows what it will read where its job says so.
CREATE OR REPLACE FUNCTION evalqueue_open_run() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO eval_runs (
        id, job_id, command, app_id, name, description, llm_provider, llm_model, data_path, owner,
        dataset_id
    ) VALUES (
        (NEW.progress ->> 'run_id')::uuid, NEW.id, NEW.job_type, NEW.params ->> 'app_id',
        NEW.params ->> 'name', NEW.params ->> 'description', NEW.params ->> 'llm_provider',
        NEW.params ->> 'llm_model', NEW.params ->> 'data_path', NEW.owner,
        (SELECT id FROM datasets WHERE id = NEW.params ->> 'dataset_id')
    )
    ON CONFLICT (id) DO UPDATE SET
        job_id = EXCLUDED.job_id, status = 'pending', completed_at = NULL,
        duration_seconds = NULL, error_message = NULL, summary = NULL
        WHERE eval_runs.completed_at IS NOT NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'Run % is not over: job % can''t be retried now',
                NEW.progress ->> 'run_id', NEW.retry_of
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Another job goes on with it: wait for that one, or cancel it.';
    END IF;
    RETURN NULL;
END;
$$;

-- What is old goes, a chunk at a time. NULL keeps for ever. Returns how many rows went; 0: all did.
--
--   keep_jobs  jobs that are over, with their attempts, tasks, and datasets nobody needs any more
--   keep_runs  runs that are over, with their threads and calls
--   keep_logs  the LLM calls of runs that are over
CREATE OR REPLACE FUNCTION evalqueue_prune(
    keep_jobs interval, keep_runs interval, keep_logs interval, chunk integer DEFAULT 1000
) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    old uuid[];
    tasks bigint[];
    unneeded text[];
    gone integer;
    total integer := 0;
BEGIN
    IF keep_logs IS NOT NULL THEN
        DELETE FROM api_logs WHERE id IN (
            SELECT log.id FROM eval_runs AS run JOIN api_logs AS log ON log.run_id = run.id
            WHERE run.completed_at < moment - keep_logs LIMIT chunk);
        GET DIAGNOSTICS gone = ROW_COUNT;
        total := total + gone;
    END IF;
    IF keep_runs IS NOT NULL THEN
        -- One run may have ten thousand threads.
        DELETE FROM eval_runs WHERE id IN (
            SELECT id FROM eval_runs WHERE completed_at < moment - keep_runs
            ORDER BY completed_at LIMIT GREATEST(chunk / 100, 1) FOR UPDATE SKIP LOCKED);
        GET DIAGNOSTICS gone = ROW_COUNT;
        total := total + gone;
    END IF;
    IF keep_jobs IS NOT NULL THEN
        old := ARRAY(SELECT id FROM jobs
            WHERE completed_at < moment - keep_jobs AND parent_id IS NULL
            ORDER BY completed_at LIMIT chunk);
        tasks := ARRAY(SELECT task_id FROM jobs
            WHERE (id = ANY (old) OR parent_id = ANY (old)) AND task_id IS NOT NULL ORDER BY task_id);
        DELETE FROM procrastinate_jobs WHERE id = ANY (tasks);
        DELETE FROM jobs WHERE id = ANY (old);
        total := total + cardinality(old);
        unneeded := ARRAY(SELECT id FROM datasets
            WHERE created_at < moment - keep_jobs AND NOT evalqueue_dataset_is_needed(id)
            LIMIT GREATEST(chunk / 500, 1) FOR UPDATE SKIP LOCKED);  -- each may have 100,000 threads
        -- Looked at again, now that they are locked: a job may just have been submitted.
        DELETE FROM datasets WHERE id = ANY (unneeded) AND NOT evalqueue_dataset_is_needed(id);
        GET DIAGNOSTICS gone = ROW_COUNT;
        total := total + gone;
    END IF;
    RETURN total;
END;
$$;
