-- Batches that were handed in at vendors for jobs in economy mode, and the questions in them.

-- Written before the batch is handed in, under its id as the name: a process that dies in between
-- leaves a row, by which the next one looks for the batch at the vendor before it submits it.
CREATE TABLE llm_batches (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    run_id uuid NOT NULL REFERENCES eval_runs ON DELETE CASCADE,
    job_id uuid NOT NULL,                   -- only compared, never followed
    owner text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    vendor_id text,                         -- NULL: it is not known whether it was handed in
    questions integer NOT NULL CHECK (questions >= 1),
    done integer NOT NULL DEFAULT 0,        -- answered or failed, as the vendor said last
    -- Counted as used by the caps, until it is known what was used.
    reserved_usd numeric NOT NULL,
    reserved_tokens bigint NOT NULL,
    reserved_month text,                    -- NULL: there was no cap
    outcome text CHECK (length(outcome) <= 1000),   -- how it ended, in the vendor's words
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,                   -- all of its results are recorded

    CONSTRAINT llm_batches_ended_has_an_outcome CHECK ((ended_at IS NULL) = (outcome IS NULL))
);

CREATE INDEX llm_batches_of_run ON llm_batches (run_id, created_at);
CREATE INDEX llm_batches_open ON llm_batches (job_id) WHERE ended_at IS NULL;

-- What a job asks by batches. An answer is a row of api_logs; here is what has none yet, and why.
CREATE TABLE llm_questions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid NOT NULL REFERENCES eval_runs ON DELETE CASCADE,
    job_id uuid NOT NULL,                   -- only compared, never followed
    thread_id text,
    request_hash bytea NOT NULL CHECK (length(request_hash) = 32),  -- as in api_logs
    -- JSON as it was written: the order of a schema's properties counts. NULL: it needs no asking.
    question json,
    batch_id uuid REFERENCES llm_batches ON DELETE SET NULL,
    outcome text,                           -- of the call. 'live': it is asked outside of batches
    failure json,                           -- why there is no answer
    used_usd numeric,
    used_tokens bigint,

    CONSTRAINT llm_questions_once_per_job UNIQUE (job_id, request_hash)
);

CREATE INDEX llm_questions_of_thread ON llm_questions (job_id, thread_id);
CREATE INDEX llm_questions_of_batch ON llm_questions (batch_id, id) WHERE batch_id IS NOT NULL;
CREATE INDEX llm_questions_waiting ON llm_questions (job_id, id)
    WHERE batch_id IS NULL AND outcome IS NULL;
CREATE INDEX llm_questions_of_run ON llm_questions (run_id);

-- Whether a call was a part of a batch, at the price of batches.
ALTER TABLE api_logs ADD COLUMN batched boolean NOT NULL DEFAULT false;
DROP INDEX api_logs_counted;
CREATE INDEX api_logs_counts ON api_logs (run_id, evaluator, duration_ms)
    INCLUDE (outcome, started_at, tokens_in, tokens_out, model, cost_usd, batched);
