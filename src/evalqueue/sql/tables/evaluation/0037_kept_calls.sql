-- Which runs retention has to look at: those whose LLM calls it has deleted outlast them.

ALTER TABLE eval_runs ADD COLUMN has_calls boolean NOT NULL DEFAULT true;  -- false: it has none
CREATE INDEX eval_runs_with_calls ON eval_runs (completed_at) WHERE has_calls;
