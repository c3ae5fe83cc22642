-- The runs of one app, newest first, are read without those of others.
CREATE INDEX eval_runs_newest_of_app ON eval_runs (app_id, created_at DESC, id DESC);
