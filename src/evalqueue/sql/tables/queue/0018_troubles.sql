-- What the database refuses to a worker, as of its last heartbeat: `[{"what", "error", "since"}]`, and
-- for a job that can't be claimed "job_id", too.
ALTER TABLE job_workers ADD COLUMN troubles jsonb NOT NULL DEFAULT '[]';
-- Why its jobs can't be submitted, if that is why it is paused.
ALTER TABLE job_schedules ADD COLUMN problem text;
