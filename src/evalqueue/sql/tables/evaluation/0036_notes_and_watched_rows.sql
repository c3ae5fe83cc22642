-- Rows of applications' tables (functions/evaluation/watched.sql), until a job stores them as posted
-- messages, and how many of them were no messages.

CREATE TABLE watched_rows (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text NOT NULL,
    cells jsonb,                           -- the columns that are read, as texts
    problem text,                          -- why there are none
    arrived_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX watched_rows_of_owner ON watched_rows (owner, id);

CREATE TABLE skipped_rows (
    owner text NOT NULL,
    problem text NOT NULL,                 -- without values of the row
    occurrences bigint NOT NULL CHECK (occurrences >= 1),
    last_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (owner, problem)
);

-- What people write about conversations. A note is never changed: the next one stands beside it. As a
-- label, it belongs to a conversation of a dataset, whatever run it was written in.
CREATE TABLE thread_notes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text NOT NULL CHECK (length(owner) BETWEEN 1 AND 200),
    dataset_id text NOT NULL CHECK (dataset_id ~ '^sha256:[0-9a-f]{64}$'),
    thread_id text NOT NULL CHECK (length(thread_id) BETWEEN 1 AND 500),
    note text NOT NULL CHECK (length(note) BETWEEN 1 AND 4000),
    written_by text NOT NULL CHECK (length(written_by) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX thread_notes_of_thread ON thread_notes (owner, dataset_id, thread_id, id);
