-- Rows of applications' tables (functions/evaluation/watched.sql), until a job stores them as posted
-- messages, and how many of them were no messages.

CREATE TABLE watched_rows (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text NOT NULL,
    said jsonb,                            -- the columns that are read, as texts
    problem text,                          -- why there are none
    arrived_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX watched_rows_of_owner ON watched_rows (owner, id);

CREATE TABLE skipped_rows (
    owner text NOT NULL,
    problem text NOT NULL,                 -- without values of the row
    times bigint NOT NULL CHECK (times >= 1),
    last_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (owner, problem)
);
