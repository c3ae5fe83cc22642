-- list --
SELECT name, cron, timezone, job_type, params, owner, queue, priority, max_attempts, next_at,
    last_at, last_job_id, paused_at, problem
FROM job_schedules ORDER BY name

-- due --
SELECT name, cron, timezone, next_at, clock_timestamp() AS moment FROM job_schedules
WHERE paused_at IS NULL AND next_at <= clock_timestamp() ORDER BY next_at

-- next --
-- Seconds until a schedule is due; NULL: there is none
SELECT EXTRACT(epoch FROM min(next_at) - clock_timestamp())::double precision
FROM job_schedules WHERE paused_at IS NULL

-- now --
SELECT clock_timestamp()

-- fire --
SELECT evalqueue_fire_schedule(%(name)s, %(at)s, %(next_at)s)

-- put --
-- One with this name is replaced. `evalqueue.actor` says who does it; here and below
INSERT INTO job_schedules (
    name, cron, timezone, job_type, params, owner, queue, priority, max_attempts, next_at
)
SELECT %(name)s, %(cron)s, %(timezone)s, %(job_type)s, %(params)s, %(owner)s, %(queue)s, %(priority)s,
    %(max_attempts)s, %(next_at)s
WHERE set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL
ON CONFLICT (name) DO UPDATE SET
    cron = EXCLUDED.cron, timezone = EXCLUDED.timezone, job_type = EXCLUDED.job_type,
    params = EXCLUDED.params, owner = EXCLUDED.owner, queue = EXCLUDED.queue,
    priority = EXCLUDED.priority, max_attempts = EXCLUDED.max_attempts, next_at = EXCLUDED.next_at

-- pause --
-- Because of a problem, or NULL
UPDATE job_schedules SET paused_at = clock_timestamp(), problem = %(problem)s
WHERE name = %(name)s AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL RETURNING name

-- resume --
-- What came due while it was paused is left out
UPDATE job_schedules SET paused_at = NULL, problem = NULL, next_at = %(next_at)s
WHERE name = %(name)s AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL RETURNING name

-- remove --
DELETE FROM job_schedules
WHERE name = %(name)s AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL RETURNING name
