-- Jobs that are submitted again and again, at the times of a cron expression. When one is due is
-- decided by the database's clock, and that it is submitted once by the database, too.

CREATE TABLE job_schedules (
    name text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 100),
    cron text NOT NULL,
    timezone text NOT NULL DEFAULT 'UTC',
    job_type text NOT NULL,
    params jsonb NOT NULL DEFAULT '{}',
    owner text NOT NULL DEFAULT 'default',
    queue text NOT NULL DEFAULT 'evalqueue',
    priority integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL DEFAULT 3,
    next_at timestamptz NOT NULL,
    last_at timestamptz,
    last_job_id uuid REFERENCES jobs ON DELETE SET NULL,
    paused_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX job_schedules_next ON job_schedules (next_at) WHERE paused_at IS NULL;

-- Submit what was due `at`; the next time is `next_at`. NULL: somebody else did, or it was changed.
-- What was missed while no worker ran is made up for once, not as often as it was missed.
CREATE FUNCTION evalqueue_fire_schedule(name text, at timestamptz, next_at timestamptz) RETURNS uuid
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    schedule job_schedules;
    job jobs;
BEGIN
    UPDATE job_schedules SET next_at = evalqueue_fire_schedule.next_at, last_at = clock_timestamp()
        WHERE job_schedules.name = name AND job_schedules.next_at = at
            AND paused_at IS NULL AND at <= clock_timestamp()
        RETURNING * INTO schedule;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    job := evalqueue_submit_job_row(
        schedule.job_type, schedule.params, schedule.owner, schedule.priority, NULL, schedule.queue,
        schedule.max_attempts);
    UPDATE job_schedules SET last_job_id = job.id WHERE job_schedules.name = name;
    RETURN job.id;
END;
$$;
