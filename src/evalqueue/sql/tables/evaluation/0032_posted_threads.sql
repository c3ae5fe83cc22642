-- Conversations that applications post message by message, which of them were read for an evaluation,
-- and what each reading of a source came to.

CREATE TABLE posted_threads (
    owner text NOT NULL CHECK (octet_length(owner) BETWEEN 1 AND 200),  -- with the others, fits into an index
    thread_id text NOT NULL CHECK (length(thread_id) BETWEEN 1 AND 500),
    app_id text CHECK (length(app_id) BETWEEN 1 AND 100),
    user_id text CHECK (length(user_id) BETWEEN 1 AND 500),  -- the first that it names
    other_users text[] CHECK (cardinality(other_users) < 100),  -- whom it names besides; NULL: no one
    intent text,                           -- the last that a message names
    has_errors boolean NOT NULL DEFAULT false,
    messages integer NOT NULL DEFAULT 0 CHECK (messages BETWEEN 0 AND 10000),
    size_bytes integer NOT NULL DEFAULT 0 CHECK (size_bytes BETWEEN 0 AND 33554432),
    first_at timestamptz,                  -- by the times of its messages
    last_at timestamptz,
    posted_at timestamptz NOT NULL DEFAULT clock_timestamp(),  -- when the last message came

    PRIMARY KEY (owner, thread_id)
);
CREATE INDEX posted_threads_settled ON posted_threads (owner, posted_at, thread_id);
CREATE INDEX posted_threads_old ON posted_threads (posted_at);
CREATE INDEX posted_threads_of_user ON posted_threads (user_id);
CREATE INDEX posted_threads_of_other_user ON posted_threads USING gin (other_users)
    WHERE other_users IS NOT NULL;

CREATE TABLE posted_messages (
    owner text NOT NULL,
    thread_id text NOT NULL,
    arrival integer NOT NULL CHECK (arrival >= 1),  -- in the order in which they came
    message_key bytea NOT NULL CHECK (length(message_key) = 32),  -- SHA-256 of its id, or of all of it
    sent_at timestamptz NOT NULL,          -- the sender's time, or when it came
    user_id text,
    as_posted jsonb NOT NULL CHECK (jsonb_typeof(as_posted) = 'object'),

    PRIMARY KEY (owner, thread_id, arrival),
    CONSTRAINT posted_messages_come_once UNIQUE (owner, thread_id, message_key),
    FOREIGN KEY (owner, thread_id) REFERENCES posted_threads ON DELETE CASCADE
);

-- How much of a conversation was read under a position of the source `posted`. What was read is recorded,
-- and not up to which moment: so a message is never missed, however late its transaction commits.
CREATE TABLE posted_readings (
    owner text NOT NULL,
    thread_id text NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    messages integer NOT NULL CHECK (messages >= 1),  -- the first so many that came

    PRIMARY KEY (owner, thread_id, name),
    FOREIGN KEY (owner, thread_id) REFERENCES posted_threads ON DELETE CASCADE
);

-- Conversations that came before are not read under this position. NULL: it is of another source.
ALTER TABLE source_positions ADD COLUMN start_at timestamptz;

-- One row for each move of a position: what was found, and the run that evaluates what was taken. The
-- row goes with its run, so that figures from here always add up.
CREATE TABLE source_readings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text NOT NULL,
    source text NOT NULL,
    name text NOT NULL,
    job_id uuid REFERENCES jobs ON DELETE SET NULL,           -- which read
    run_id uuid REFERENCES eval_runs ON DELETE CASCADE,       -- NULL: nothing was taken
    read_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    matched integer NOT NULL CHECK (matched >= 0),
    sampled integer NOT NULL CHECK (sampled >= 0),
    not_in_sample integer NOT NULL CHECK (not_in_sample >= 0),
    over_per_intent integer NOT NULL CHECK (over_per_intent >= 0),
    over_per_user integer NOT NULL CHECK (over_per_user >= 0),
    unreadable integer NOT NULL CHECK (unreadable >= 0),

    CONSTRAINT source_readings_add_up CHECK (
        matched = sampled + not_in_sample + over_per_intent + over_per_user + unreadable),
    CONSTRAINT source_readings_has_a_run CHECK ((run_id IS NOT NULL) = (sampled > 0))
);
CREATE INDEX source_readings_of_position ON source_readings (owner, source, name);
CREATE INDEX source_readings_of_job ON source_readings (job_id);
CREATE INDEX source_readings_of_run ON source_readings (run_id);
CREATE INDEX source_readings_old ON source_readings (read_at) WHERE run_id IS NULL;
