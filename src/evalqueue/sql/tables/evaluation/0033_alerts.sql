-- Alerts: what an owner is told about when it changes. A job that ends is looked at by a job of its
-- own (functions/evaluation/alerts.sql), which writes down that an alert begins to fire, or recovers.

CREATE TABLE alerts (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner text NOT NULL CHECK (length(owner) BETWEEN 1 AND 200),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    watches text NOT NULL CHECK (watches IN ('rate', 'coverage', 'drift', 'failed')),
    app_id text CHECK (length(app_id) BETWEEN 1 AND 100),        -- NULL: of every app
    job_type text CHECK (job_type ~ '^[a-z][a-z0-9-]{0,49}$'),   -- of what failed; NULL: every type
    requirements text[] NOT NULL DEFAULT '{}',                   -- of a rate, as of a gate
    evaluator text CHECK (evaluator ~ '^[a-z][a-z0-9_]{0,49}$'), -- of a coverage; NULL: the lowest
    min_coverage double precision CHECK (min_coverage BETWEEN 0 AND 1),
    webhook_url text CHECK (length(webhook_url) <= 2000),        -- NULL: only the log
    firing_since timestamptz,              -- NULL: it does not fire
    decided_until timestamptz,             -- the end of the newest job that decided
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT alerts_name_is_used_once UNIQUE (owner, name)
);

-- What an owner is told: once per alert and job.
CREATE TABLE alert_events (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    alert_id uuid NOT NULL REFERENCES alerts ON DELETE CASCADE,
    job_id uuid,                           -- what decided; NULL: a test. Only compared, never followed
    run_id uuid,                           -- of that job, likewise
    kind text NOT NULL CHECK (kind IN ('fired', 'recovered', 'test')),
    explanation text NOT NULL CHECK (length(explanation) <= 2000),
    figures jsonb NOT NULL DEFAULT '{}',
    delivered_at timestamptz,              -- when the webhook was answered
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT alert_events_once_per_job UNIQUE (alert_id, job_id)
);

CREATE INDEX alert_events_newest ON alert_events (alert_id, created_at DESC);
