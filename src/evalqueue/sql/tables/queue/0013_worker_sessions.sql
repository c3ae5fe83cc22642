-- The session by which Postgres itself knows that a worker's process lives: its LISTEN connection
-- holds a shared advisory lock on this key, and loses it the moment the process ends. NULL: a worker
-- that does not listen has none, and only its leases tell.
ALTER TABLE job_workers ADD COLUMN session_key bigint;
-- When it was taken for lost because of its session. NULL: it was not, or has come back since.
ALTER TABLE job_workers ADD COLUMN lost_at timestamptz;
