-- Submit what was due `at`; the next time is `next_at`. NULL: another worker did, or it was changed.
-- What was missed while no worker ran is submitted once, not as often as it was missed.
CREATE OR REPLACE FUNCTION evalqueue_fire_schedule(name text, at timestamptz, next_at timestamptz)
RETURNS uuid
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    schedule job_schedules;
    job_id uuid;
BEGIN
    UPDATE job_schedules SET next_at = evalqueue_fire_schedule.next_at, last_at = clock_timestamp()
        WHERE job_schedules.name = name AND job_schedules.next_at = at
            AND paused_at IS NULL AND at <= clock_timestamp()
        RETURNING * INTO schedule;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    job_id := evalqueue_add_job(
        schedule.job_type, schedule.params, schedule.owner, schedule.priority, NULL, schedule.queue,
        schedule.max_attempts);
    UPDATE job_schedules SET last_job_id = job_id WHERE job_schedules.name = name;
    RETURN job_id;
END;
$$;
