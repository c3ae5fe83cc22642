-- Runs: what evaluation jobs find. A run is opened with its job, in the same transaction, so that its
-- id exists from the start; and it follows its job by trigger, so the two can't disagree
-- (functions/evaluation/runs.sql).
--
--   pending -> running -> completed | completed_with_errors | failed | cancelled
--   running -> pending    its job went back to the queue
--
-- A job that retries another one continues that one's run: the run is attached to it, and is pending
-- again. A helper job (a job with a parent) works on its parent's run and never moves it.

-- Job types whose jobs have a run. A worker declares the types that its handlers know when it starts,
-- and a client those that it submits; the built-in ones are known to plain SQL from the beginning.
CREATE TABLE eval_job_types (
    job_type text PRIMARY KEY CHECK (job_type ~ '^[a-z][a-z0-9-]{0,49}$')
);
INSERT INTO eval_job_types VALUES ('evaluate-batch'), ('evaluate-adversarial');

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
    dataset_id text REFERENCES datasets ON DELETE SET NULL,
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
CREATE INDEX eval_runs_newest_of_owner ON eval_runs (owner, created_at DESC, id DESC);
CREATE INDEX eval_runs_ended ON eval_runs (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX eval_runs_of_job ON eval_runs (job_id);
CREATE INDEX eval_runs_of_dataset ON eval_runs (dataset_id) WHERE dataset_id IS NOT NULL;

-- What figures are computed from is taken out of each result as it is stored: a result is kilobytes
-- out of line, and a page that shows a run reads all of its rows every few seconds. These functions
-- are part of the table: a stored column keeps what they computed, so they change only together with
-- a table change that rewrites it.

-- [[evaluator, reason, how often, an example], …]; NULL: nothing failed.
CREATE FUNCTION evalqueue_failures(result jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT jsonb_agg(jsonb_build_array(evaluator, reason, times, example))
    FROM (
        SELECT failure ->> 'evaluator' AS evaluator, failure ->> 'reason' AS reason,
            count(*) AS times, left(min(failure ->> 'message'), 500) AS example
        FROM jsonb_path_query(result, '$.failures[*]') AS failure
        GROUP BY 1, 2
    ) AS grouped
$$;

-- One row per thread of a run: the checkpoint. NULL means "not measured", never a bad verdict.
CREATE TABLE thread_evaluations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid NOT NULL REFERENCES eval_runs ON DELETE CASCADE,
    -- The job that stored it; for a helper job, its parent. Only compared, never followed: the row
    -- outlives the job, and a foreign key would lock the job's row with every thread.
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
    -- How many verdicts could not be reached. A job that continues the run works on the thread again
    -- unless this is 0.
    missing_verdicts integer NOT NULL GENERATED ALWAYS AS (GREATEST(
        jsonb_array_length(COALESCE(result -> 'failures', '[]')), (error IS NOT NULL)::integer
    )) STORED,
    messages integer GENERATED ALWAYS AS (jsonb_path_query_first(
        result, '$.thread.message_count ? (@.type() == "number")')::integer) STORED,
    coverage jsonb GENERATED ALWAYS AS (result -> 'coverage') STORED,
    failures jsonb GENERATED ALWAYS AS (evalqueue_failures(result)) STORED,
    attempt integer NOT NULL,               -- of the job, that stored it
    duration_ms double precision NOT NULL CHECK (duration_ms >= 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT thread_evaluations_once_per_run UNIQUE (run_id, thread_id),
    CONSTRAINT thread_evaluations_failed_measured_nothing CHECK (error IS NULL OR
        (intent_accuracy IS NULL AND worst_correctness IS NULL AND efficiency_verdict IS NULL))
);

CREATE INDEX thread_evaluations_of_run ON thread_evaluations (run_id, id);
CREATE INDEX thread_evaluations_of_thread ON thread_evaluations (thread_id);

-- One row per attempt at an LLM call. Never fenced: what was paid for is recorded, even when the
-- attempt of the job that paid is over by then. An answer that is replayed from here has no row of
-- its own. A row is a purchase, except where an earlier run's answer was taken (reused).
CREATE TABLE api_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid REFERENCES eval_runs ON DELETE CASCADE,
    job_id uuid,                            -- as in thread_evaluations
    -- Stored once, however often the insert is repeated.
    call_id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    thread_id text,
    test_case_label text,
    evaluator text NOT NULL,
    turn integer,
    provider text NOT NULL,
    model text NOT NULL,
    method text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN (
        'ok', 'reused', 'rate_limited', 'transient', 'timeout', 'auth', 'billing', 'model_missing',
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
    cost_usd numeric CHECK (cost_usd >= 0),  -- NULL: the price of the model, or the usage, is unknown
    request_id text,
    -- What was really sent besides the texts, in the vendor's spelling. NULL: nothing was sent.
    parameters jsonb CHECK (length(parameters::text) <= 20000),
    -- SHA-256 of everything that decides the answer, and of its purpose. NULL: the response is no
    -- answer, or is not complete as it came, and can't be replayed.
    request_hash bytea CHECK (length(request_hash) = 32),
    -- The first 16 bytes of the SHA-256 of the question alone, without its purpose: other runs may
    -- reuse the answer. NULL: as request_hash.
    question_hash bytea CHECK (length(question_hash) = 16),
    attempt integer NOT NULL,
    started_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT api_logs_only_answers_are_replayed
        CHECK (request_hash IS NULL OR (outcome = 'ok' AND response IS NOT NULL))
-- An index answers alone only for rows that a vacuum has been over. By default that waits for a fifth
-- of the table to be new, which in a large table is all calls of the runs that people look at.
) WITH (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000);

CREATE INDEX api_logs_of_run ON api_logs (run_id, id DESC);
-- The calls of one thread, newest first. It serves replay as well: most calls of a thread are
-- answers.
CREATE INDEX api_logs_of_thread ON api_logs (run_id, thread_id, id DESC);
-- Answers to a question, newest first.
CREATE INDEX api_logs_of_question ON api_logs (question_hash, id DESC)
    WHERE question_hash IS NOT NULL;
-- The different parameters of a run, each found by one look-up.
CREATE INDEX api_logs_parameters ON api_logs (run_id, md5(parameters::text))
    WHERE parameters IS NOT NULL;
-- Everything that is counted of a call, so that its row, which has its texts, is not read; and in the
-- order in which percentiles are computed.
CREATE INDEX api_logs_counted ON api_logs (run_id, evaluator, duration_ms)
    INCLUDE (outcome, started_at, tokens_in, tokens_out, model, cost_usd);
