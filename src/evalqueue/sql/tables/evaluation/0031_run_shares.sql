-- Links by which people without a token see the report of a run. Of a link's own token only the SHA-256
-- is stored: who can read this table can't open a report by it.

CREATE TABLE run_shares (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    run_id uuid NOT NULL REFERENCES eval_runs ON DELETE CASCADE,
    token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,

    CONSTRAINT run_shares_end_soon CHECK (expires_at <= created_at + interval '91 days')
);

CREATE INDEX run_shares_of_run ON run_shares (run_id, created_at);
