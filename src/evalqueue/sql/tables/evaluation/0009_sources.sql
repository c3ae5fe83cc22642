-- How far the conversations of other databases were read, by owner and purpose. A position moves in
-- the transaction that submits the evaluation of what was read, so nothing is read twice or left out.

CREATE TABLE source_positions (
    owner text NOT NULL CHECK (length(owner) BETWEEN 1 AND 200),
    source text NOT NULL CHECK (length(source) BETWEEN 1 AND 100),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),  -- several may read one source
    last_at timestamptz NOT NULL,          -- when the last conversation that was read ended
    thread_id text NOT NULL,               -- its id: conversations of one moment are ordered by it
    job_id uuid REFERENCES jobs ON DELETE SET NULL,  -- which read it
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (owner, source, name)
);
CREATE INDEX source_positions_of_job ON source_positions (job_id);
