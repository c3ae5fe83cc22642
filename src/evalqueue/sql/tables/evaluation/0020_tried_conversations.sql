-- What evaluators found in the conversations on which a job `try-evaluators` tried them. It belongs to
-- no run: it is for people who write an evaluator, is in no figure, and is deleted with its job.

CREATE TABLE tried_conversations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
    thread_id text NOT NULL CHECK (length(thread_id) BETWEEN 1 AND 500),
    findings jsonb NOT NULL,                -- one object for each evaluator: scores, failures, usage
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    UNIQUE (job_id, thread_id)
);

-- The calls of jobs that have no run.
CREATE INDEX api_logs_without_run ON api_logs (job_id, id) WHERE run_id IS NULL;
