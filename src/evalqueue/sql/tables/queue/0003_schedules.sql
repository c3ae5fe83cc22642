-- Jobs that are submitted again and again, at the times of a cron expression. The database's clock
-- decides when one is due, and a row lock that it is submitted once.

CREATE TABLE job_schedules (
    name text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 100),
    cron text NOT NULL,
    timezone text NOT NULL DEFAULT 'UTC',
    job_type text NOT NULL,
    params jsonb NOT NULL DEFAULT '{}',
    owner text NOT NULL DEFAULT 'default',
    queue text NOT NULL DEFAULT 'evalqueue',
    priority integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL DEFAULT 3,
    next_at timestamptz NOT NULL,
    last_at timestamptz,
    last_job_id uuid REFERENCES jobs ON DELETE SET NULL,
    paused_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX job_schedules_next ON job_schedules (next_at) WHERE paused_at IS NULL;
