-- Whoever sees only their own is not made to wait for everybody's.

CREATE INDEX jobs_newest_of_owner ON jobs (owner, created_at DESC, id DESC)
    WHERE parent_id IS NULL;
CREATE INDEX eval_runs_newest_of_owner ON eval_runs (owner, created_at DESC, id DESC);
