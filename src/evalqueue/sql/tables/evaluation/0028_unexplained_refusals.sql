-- An endpoint that is overloaded refuses some calls at any pace. The share, of about the last 100 calls,
-- that was refused at a pace at which no known limit explains it.
ALTER TABLE llm_credentials ADD COLUMN unexplained_share double precision NOT NULL DEFAULT 0
    CHECK (unexplained_share BETWEEN 0 AND 1);
