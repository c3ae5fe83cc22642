-- Submit and retry.

-- Why JSON can't be the params of a job; NULL: it can. The limits are those of the HTTP API: every
-- reader of the row can decode it.
CREATE OR REPLACE FUNCTION evalqueue_json_problem(value jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN $1 @? 'strict $.**{100} ? (@.type() == "object" || @.type() == "array")'
            THEN 'Nested deeper than 100 levels'
        WHEN $1 @? 'strict $.** ? (@.type() == "number" && (@ > 1.7e308 || @ < -1.7e308))'
            THEN 'It has a number that is too large'
        END;
$$;

-- Refuse a job whose params are too large, as they are stored. A list of jobs has them all.
CREATE OR REPLACE FUNCTION evalqueue_check_size(params jsonb) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    size_limit CONSTANT integer := 256 * 1024;
BEGIN
    IF octet_length(params::text) > size_limit THEN
        RAISE EXCEPTION 'The params of a job have at most % bytes of JSON', size_limit
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Conversations travel as a dataset.';
    END IF;
END;
$$;

-- The trace that a caller is in, as W3C Trace Context writes it (https://www.w3.org/TR/trace-context/).
-- NULL: it is malformed, and ignored. Of a later version what this one knows is read.
CREATE OR REPLACE FUNCTION evalqueue_traceparent(value text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT '00' || substr($1, 3, 53)
    WHERE $1 ~ '^(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$|(?!00|ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-|$))'
        AND substr($1, 4, 32) <> repeat('0', 32) AND substr($1, 37, 16) <> repeat('0', 16);
$$;

-- A job and its task appear together. Every function that makes a job calls this one. It returns the
-- id alone: a row would be another one for a caller that waited here for a migration.
CREATE OR REPLACE FUNCTION evalqueue_insert_job(job jobs) RETURNS uuid
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    -- A time in the past is now: it brings no job ahead of others.
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
        idempotency_key, fingerprint, parent_id, retry_of, after_id, waiting,
        traceparent
    ) VALUES (
        job.id, job.job_type, job.params, job.owner, job.queue, job.priority, job.due_at, tasks[1],
        job.max_attempts, job.idempotency_key, job.fingerprint, job.parent_id, job.retry_of,
        job.after_id, COALESCE(job.waiting, false), evalqueue_traceparent(job.traceparent)
    )
    -- In READ COMMITTED a faster transaction was waited for, and its job found. A transaction whose
    -- snapshot can't see it gets an error that tells it to start again (serialization_failure).
    ON CONFLICT DO NOTHING RETURNING jobs.params INTO STRICT job.params;
    PERFORM evalqueue_check_size(job.params);
    RETURN job.id;
END;
$$;

-- What identifies a request that came with an idempotency key: SHA-256, hexadecimal. `requested` are
-- the params as they came.
CREATE OR REPLACE FUNCTION evalqueue_fingerprint(
    job_type text, requested jsonb, priority integer, scheduled_at timestamptz, queue text,
    max_attempts integer, after uuid
) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT encode(sha256(convert_to(
        jsonb_build_array($1, $2, $3, EXTRACT(epoch FROM $4), $5, $6, $7)::text, 'UTF8')), 'hex');
$$;

-- Submissions with the same key of the same owner wait for each other until their transactions end.
-- A submission of many jobs locks the owner, which takes one lock however many keys there are.
CREATE OR REPLACE FUNCTION evalqueue_lock_key(owner text, idempotency_key text) RETURNS void
LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT pg_advisory_xact_lock_shared(hashtextextended('evalqueue owner' || E'\n' || $1, 0));
    SELECT pg_advisory_xact_lock(hashtextextended($1 || E'\n' || $2, 0));
$$;

CREATE OR REPLACE FUNCTION evalqueue_lock_keys_of(owner text) RETURNS void
LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('evalqueue owner' || E'\n' || $1, 0));
$$;

-- Submit: the job and its task appear in the caller's transaction, or neither does. The same
-- idempotency key of the same owner is the same job, whenever it is sent again. Triggers on jobs may
-- replace params before they are stored; the fingerprint is of the request as it came.
CREATE OR REPLACE FUNCTION evalqueue_add_job(
    job_type text,
    params jsonb DEFAULT '{}',
    owner text DEFAULT 'default',
    priority integer DEFAULT 0,            -- higher first
    scheduled_at timestamptz DEFAULT NULL, -- NULL: as soon as possible
    queue text DEFAULT 'evalqueue',        -- 40 bytes at most: it names a NOTIFY channel
    max_attempts integer DEFAULT 3,
    idempotency_key text DEFAULT NULL,
    after uuid DEFAULT NULL,               -- not before this job is completed
    requested jsonb DEFAULT NULL,          -- the params as they came; NULL: `params`
    traceparent text DEFAULT NULL          -- the trace it belongs to; malformed: none
) RETURNS uuid
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    -- Of what triggers may still replace: a file of conversations becomes a dataset.
    sent_limit CONSTANT integer := 64 * 1024 * 1024;
    fingerprint text;
    predecessor text;
    problem text;
    job jobs;
BEGIN
    -- By the length alone, before anything is read or copied.
    IF pg_column_size(params) > sent_limit THEN
        RAISE EXCEPTION 'The params of a job have at most % bytes when they are sent', sent_limit
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Conversations travel as a dataset.';
    END IF;

    IF jsonb_typeof(params) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'The params of a job are a JSON object'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    problem := evalqueue_json_problem(params);
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'The params: %', problem USING ERRCODE = 'invalid_parameter_value';
    END IF;

    problem := COALESCE('queue: ' || evalqueue_line_problem(queue),
        'owner: ' || evalqueue_line_problem(owner));
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%', problem USING ERRCODE = 'invalid_parameter_value';
    END IF;

    IF scheduled_at >= '9999-01-01 00:00+00' THEN
        RAISE EXCEPTION 'scheduled_at is later than any job can wait'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- A secret must not be stored in a row, and every submission comes through here.
    IF COALESCE(params ->> 'api_key', params ->> 'service_account_path') IS NOT NULL THEN
        RAISE EXCEPTION 'Credentials never travel in a job'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Set them in the environment of the worker.';
    END IF;

    IF idempotency_key IS NOT NULL THEN
        fingerprint := evalqueue_fingerprint(job_type, COALESCE(requested, params), priority,
            scheduled_at, queue, max_attempts, after);
        PERFORM evalqueue_lock_key(owner, idempotency_key);
        SELECT jobs.id, jobs.fingerprint INTO job.id, job.fingerprint FROM jobs
            WHERE jobs.owner = owner AND jobs.idempotency_key = idempotency_key;
        IF FOUND THEN
            IF job.fingerprint <> fingerprint THEN
                RAISE EXCEPTION 'This idempotency key was used for another request, job %', job.id
                    USING ERRCODE = 'unique_violation',
                          HINT = 'Send a new request with a new key.';
            END IF;
            RETURN job.id;
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
    job.traceparent := traceparent;
    job.waiting := after IS NOT NULL AND predecessor <> 'completed';
    RETURN evalqueue_insert_job(job);
END;
$$;

-- The same, for callers that want the row.
CREATE OR REPLACE FUNCTION evalqueue_submit_job_row(
    job_type text,
    params jsonb DEFAULT '{}',
    owner text DEFAULT 'default',
    priority integer DEFAULT 0,
    scheduled_at timestamptz DEFAULT NULL,
    queue text DEFAULT 'evalqueue',
    max_attempts integer DEFAULT 3,
    idempotency_key text DEFAULT NULL,
    after uuid DEFAULT NULL,
    requested jsonb DEFAULT NULL,
    traceparent text DEFAULT NULL
) RETURNS jobs
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    new_id CONSTANT uuid := evalqueue_add_job($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);
    job jobs;
BEGIN
    SELECT * INTO STRICT job FROM jobs WHERE jobs.id = new_id;
    RETURN job;
END;
$$;

-- The same, for other programs.
CREATE OR REPLACE FUNCTION evalqueue_submit_job(
    job_type text,
    params jsonb DEFAULT '{}',
    owner text DEFAULT 'default',
    priority integer DEFAULT 0,
    scheduled_at timestamptz DEFAULT NULL,
    queue text DEFAULT 'evalqueue',
    max_attempts integer DEFAULT 3,
    idempotency_key text DEFAULT NULL,
    after uuid DEFAULT NULL,
    traceparent text DEFAULT NULL
) RETURNS uuid
LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT evalqueue_add_job($1, $2, $3, $4, $5, $6, $7, $8, $9, traceparent => $10);
$$;

-- Whether a job that is over left something to do: it failed, was cancelled, or is completed with a
-- result that says `"incomplete": true`.
CREATE OR REPLACE FUNCTION evalqueue_is_incomplete(status text, result jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT $1 IN ('failed', 'cancelled')
        OR $1 = 'completed' AND $2 -> 'incomplete' IS NOT DISTINCT FROM 'true'::jsonb;
$$;

-- A job that is over and is incomplete goes on as a new job, which does what is missing or failed.
-- A second call finds the same one. NULL: there is no such job.
CREATE OR REPLACE FUNCTION evalqueue_retry_job(job_id uuid) RETURNS jobs
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
        WHEN NOT evalqueue_is_incomplete(old.status, old.result) THEN
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
            job.id := evalqueue_insert_job(job);
            SELECT * INTO STRICT job FROM jobs WHERE jobs.id = job.id;
            PERFORM evalqueue_audit('job.retry', 'job', job_id::text, jsonb_build_object(
                'job_type', job.job_type, 'owner', job.owner, 'continued_by', job.id));
            RETURN job;
    END CASE;
END;
$$;
