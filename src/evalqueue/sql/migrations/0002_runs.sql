-- What evaluation jobs find. A run is opened with its job, in the same transaction, so that its id
-- exists from the start; and it follows its job by trigger, so the two can't disagree.
--
--   pending -> running -> completed | completed_with_errors | failed | cancelled
--   running -> pending    its job went back to the queue
--
-- A job that retries another one goes on with that one's run: the run is attached to it, and is
-- pending again. A hand (a job with a parent) works on its parent's run and never moves it.

CREATE TABLE eval_runs (
    id uuid PRIMARY KEY,
    job_id uuid REFERENCES jobs ON DELETE SET NULL,
    command text NOT NULL,                 -- the job type
    status text NOT NULL DEFAULT 'pending',
    app_id text,
    name text,
    description text,
    llm_provider text,
    llm_model text,
    eval_temperature double precision,
    data_path text,
    data_file_hash text,
    config jsonb NOT NULL DEFAULT '{}',    -- frozen when the run first starts
    total_items integer CHECK (total_items >= 0),
    duration_seconds double precision CHECK (duration_seconds >= 0),
    summary jsonb,
    error_message text CHECK (length(error_message) <= 4000),
    owner text NOT NULL DEFAULT 'default',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    completed_at timestamptz,

    CONSTRAINT eval_runs_status_is_known CHECK (status IN
        ('pending', 'running', 'completed', 'completed_with_errors', 'failed', 'cancelled')),
    CONSTRAINT eval_runs_terminal_iff_completed_at CHECK (
        (completed_at IS NOT NULL)
        = (status IN ('completed', 'completed_with_errors', 'failed', 'cancelled'))
    ),
    CONSTRAINT eval_runs_failed_has_a_reason CHECK (status <> 'failed' OR error_message IS NOT NULL)
);

CREATE INDEX eval_runs_newest ON eval_runs (created_at DESC, id DESC);
CREATE INDEX eval_runs_newest_of_command ON eval_runs (command, created_at DESC, id DESC);
CREATE INDEX eval_runs_ended ON eval_runs (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX eval_runs_of_job ON eval_runs (job_id);

-- One row per thread of a run: the checkpoint. NULL means "not measured", never a bad verdict.
CREATE TABLE thread_evaluations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid NOT NULL REFERENCES eval_runs ON DELETE CASCADE,
    -- Whose work it is; for a hand, its parent. Only compared, never followed: the row outlives the
    -- job, and a foreign key would lock the job's row with every thread.
    job_id uuid,
    thread_id text NOT NULL CHECK (length(thread_id) BETWEEN 1 AND 500),
    data_file_hash text,
    intent_accuracy double precision CHECK (intent_accuracy BETWEEN 0 AND 1),
    worst_correctness text CHECK (worst_correctness IN
        ('PASS', 'SOFT FAIL', 'HARD FAIL', 'CRITICAL', 'NOT APPLICABLE')),
    efficiency_verdict text CHECK (efficiency_verdict IN
        ('EFFICIENT', 'ACCEPTABLE', 'FRICTION', 'BROKEN', 'INCOMPLETE', 'NOT APPLICABLE')),
    success_status boolean,
    error text CHECK (length(error) <= 4000),  -- why nothing at all could be measured
    result jsonb NOT NULL,
    -- How many verdicts could not be had. A job that goes on with the run works on the thread again
    -- unless this is 0.
    missing_verdicts integer NOT NULL GENERATED ALWAYS AS (GREATEST(
        jsonb_array_length(COALESCE(result -> 'failures', '[]')), (error IS NOT NULL)::integer
    )) STORED,
    attempt integer NOT NULL,               -- of the job, that stored it
    duration_ms double precision NOT NULL CHECK (duration_ms >= 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT thread_evaluations_once_per_run UNIQUE (run_id, thread_id),
    CONSTRAINT thread_evaluations_failed_measured_nothing CHECK (error IS NULL OR
        (intent_accuracy IS NULL AND worst_correctness IS NULL AND efficiency_verdict IS NULL))
);

CREATE INDEX thread_evaluations_of_run ON thread_evaluations (run_id, id);
CREATE INDEX thread_evaluations_of_thread ON thread_evaluations (thread_id);

CREATE TABLE adversarial_evaluations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid NOT NULL REFERENCES eval_runs ON DELETE CASCADE,
    category text NOT NULL,
    difficulty text NOT NULL,
    verdict text CHECK (verdict IN ('PASS', 'SOFT FAIL', 'HARD FAIL', 'CRITICAL')),
    goal_achieved boolean,
    total_turns integer NOT NULL CHECK (total_turns >= 0),
    result jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX adversarial_evaluations_of_run ON adversarial_evaluations (run_id, id);

-- One row per attempt at an LLM call. Never fenced: what was paid for is recorded, even when the
-- attempt of the job that paid is over by then. An answer that is replayed from here has no row of
-- its own: a row is a purchase.
CREATE TABLE api_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid REFERENCES eval_runs ON DELETE CASCADE,
    job_id uuid,                            -- as in thread_evaluations
    call_id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,  -- once, however often it is said
    thread_id text,
    test_case_label text,
    evaluator text NOT NULL,
    turn integer,
    provider text NOT NULL,
    model text NOT NULL,
    method text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN (
        'ok', 'rate_limited', 'transient', 'timeout', 'auth', 'billing', 'model_missing',
        'bad_request', 'context_too_long', 'content_filter', 'judge_refused', 'truncated',
        'schema_invalid', 'cancelled')),
    try_number integer NOT NULL CHECK (try_number >= 1),
    prompt text NOT NULL CHECK (length(prompt) <= 50000),
    system_prompt text CHECK (length(system_prompt) <= 20000),
    response text CHECK (length(response) <= 50000),
    error text CHECK (length(error) <= 4000),
    duration_ms double precision NOT NULL CHECK (duration_ms >= 0),
    tokens_in integer CHECK (tokens_in >= 0),
    tokens_out integer CHECK (tokens_out >= 0),
    tokens_cached integer CHECK (tokens_cached >= 0),
    tokens_reasoning integer CHECK (tokens_reasoning >= 0),
    request_id text,
    -- Of all that decides the answer and of what it is for (SHA-256). NULL: the response is no answer,
    -- or not the whole of it as it came, and can't be replayed.
    request_hash bytea CHECK (length(request_hash) = 32),
    attempt integer NOT NULL,
    started_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT api_logs_only_answers_are_replayed
        CHECK (request_hash IS NULL OR (outcome = 'ok' AND response IS NOT NULL))
);

CREATE INDEX api_logs_of_run ON api_logs (run_id, id DESC);
CREATE INDEX api_logs_replayable ON api_logs (run_id, thread_id) WHERE request_hash IS NOT NULL;

-- A job that evaluates has a run; its id is in the job's progress from the first moment. A hand
-- shares its parent's, a retry goes on with the one of the job it retries.
CREATE FUNCTION evalqueue_name_run() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    run_id CONSTANT text := (
        SELECT progress ->> 'run_id' FROM jobs WHERE id = COALESCE(NEW.parent_id, NEW.retry_of));
BEGIN
    NEW.progress := NEW.progress
        || jsonb_build_object('run_id', COALESCE(run_id, gen_random_uuid()::text));
    RETURN NEW;
END;
$$;

-- A run is opened with its job, or attached to the job that retries it: what it had found stays,
-- what had been said about its end is taken back.
CREATE FUNCTION evalqueue_open_run() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO eval_runs (
        id, job_id, command, app_id, name, description, llm_provider, llm_model, data_path, owner
    ) VALUES (
        (NEW.progress ->> 'run_id')::uuid, NEW.id, NEW.job_type, NEW.params ->> 'app_id',
        NEW.params ->> 'name', NEW.params ->> 'description', NEW.params ->> 'llm_provider',
        NEW.params ->> 'llm_model', NEW.params ->> 'data_path', NEW.owner
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

CREATE TRIGGER evalqueue_name_run BEFORE INSERT ON jobs
    FOR EACH ROW WHEN (NEW.job_type LIKE 'evaluate-%')
    EXECUTE FUNCTION evalqueue_name_run();
CREATE TRIGGER evalqueue_open_run AFTER INSERT ON jobs
    FOR EACH ROW WHEN (NEW.job_type LIKE 'evaluate-%' AND NEW.parent_id IS NULL)
    EXECUTE FUNCTION evalqueue_open_run();

-- The run goes where its job goes, in the same transaction. What the job found is its result:
-- {run_id, run_status, duration_seconds, …the summary}. A cancelled run says how far it came.
CREATE FUNCTION evalqueue_follow_job() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    over CONSTANT boolean := NEW.completed_at IS NOT NULL;
    found jsonb := NEW.result - ARRAY['run_id', 'run_status', 'duration_seconds'];
BEGIN
    UPDATE eval_runs SET
        status = CASE NEW.status
            WHEN 'queued' THEN 'pending'
            WHEN 'completed' THEN CASE NEW.result ->> 'run_status'
                WHEN 'completed_with_errors' THEN 'completed_with_errors' ELSE 'completed' END
            ELSE NEW.status END,
        started_at = COALESCE(started_at, NEW.started_at),
        completed_at = NEW.completed_at,
        error_message = CASE WHEN over THEN NEW.error_message END,
        duration_seconds = CASE WHEN over AND NEW.started_at IS NOT NULL
            THEN GREATEST(EXTRACT(epoch FROM NEW.completed_at - NEW.started_at), 0) END,
        summary = CASE NEW.status
            WHEN 'cancelled' THEN jsonb_build_object(
                'total_threads', total_items, 'cancelled', true, 'processed',
                (SELECT count(*) FROM thread_evaluations WHERE run_id = eval_runs.id))
            ELSE found END
    WHERE job_id = NEW.id;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_follow_job AFTER UPDATE OF status ON jobs
    FOR EACH ROW
    WHEN (NEW.job_type LIKE 'evaluate-%' AND NEW.parent_id IS NULL
        AND OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION evalqueue_follow_job();
