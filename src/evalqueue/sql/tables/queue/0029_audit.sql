-- Who changed what. A row is written in the transaction of the change itself, and never changed.

CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL CHECK (length(actor) BETWEEN 1 AND 200),  -- what it says it is, else its role
    role text NOT NULL,                    -- of the session, which can't be made up
    application text,                      -- what the session calls itself
    door text NOT NULL CHECK (door IN ('http', 'cli', 'library', 'worker', 'sql')),
    action text NOT NULL CHECK (length(action) BETWEEN 1 AND 50),
    subject_kind text NOT NULL CHECK (length(subject_kind) BETWEEN 1 AND 50),
    subject_id text NOT NULL CHECK (length(subject_id) <= 300),
    details jsonb NOT NULL CHECK (jsonb_typeof(details) = 'object' AND octet_length(details::text) <= 2000)
);

CREATE INDEX audit_log_of_actor ON audit_log (actor, id DESC);
CREATE INDEX audit_log_of_action ON audit_log (action, id DESC);
CREATE INDEX audit_log_of_subject ON audit_log (subject_id, id DESC);
CREATE INDEX audit_log_at ON audit_log (at);
