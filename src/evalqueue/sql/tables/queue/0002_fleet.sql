-- The fleet: which workers there are, and which of them leads.

-- A worker that runs. It writes a heartbeat every few seconds; one that has not written for a minute
-- is deleted.
CREATE TABLE job_workers (
    id bigint PRIMARY KEY REFERENCES procrastinate_workers ON DELETE CASCADE,
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    queues text[],                          -- NULL: all
    job_types text[] NOT NULL,
    slots integer NOT NULL,
    stuck integer NOT NULL DEFAULT 0,       -- handlers that ignore being cancelled
    draining boolean NOT NULL DEFAULT false,
    listening boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One worker at a time leads the fleet, for a term that it may renew. Rows and database time only:
-- nothing of it lives in a session, so it works through a pooler.
CREATE TABLE job_leader (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    worker text NOT NULL,
    term bigint NOT NULL DEFAULT 1,         -- goes up when another worker becomes the leader
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at timestamptz NOT NULL
);
