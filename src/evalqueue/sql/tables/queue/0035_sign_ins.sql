-- Who is signed in to the page. The browser has the session's secret, the row its SHA-256.
CREATE TABLE api_sessions (
    digest bytea PRIMARY KEY CHECK (length(digest) = 32),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    permission text NOT NULL CHECK (permission IN ('read', 'submit', 'admin')),
    -- SHA-256 of the hash of the token that was shown, which says the name and the right as long as
    -- the server knows it. NULL: by single sign-on.
    token bytea CHECK (length(token) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX api_sessions_by_name ON api_sessions (name, created_at);
CREATE INDEX api_sessions_by_end ON api_sessions (expires_at);
