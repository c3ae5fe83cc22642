-- Its worker was lost twice together with others that had just been claimed: it may be the reason, so
-- it runs apart from them, and only the job that is the reason is charged.
ALTER TABLE jobs ADD COLUMN isolated boolean NOT NULL DEFAULT false;
CREATE INDEX jobs_isolated ON jobs (status, worker) WHERE isolated;
