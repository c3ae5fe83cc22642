-- submit --
-- (nothing) -> queued, in the caller's transaction
SELECT * FROM evalqueue_submit_job_row(
    job_type => %(job_type)s, params => %(params)s, owner => %(owner)s, priority => %(priority)s,
    scheduled_at => %(scheduled_at)s, queue => %(queue)s, max_attempts => %(max_attempts)s
)

-- get --
SELECT * FROM jobs WHERE id = %(job_id)s

-- list --
-- Newest first; NULL filters nothing
SELECT * FROM jobs
WHERE (%(status)s::text IS NULL OR status = %(status)s)
    AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s)
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s OFFSET %(offset)s

-- cancel --
-- queued | running -> cancelled
SELECT evalqueue_cancel_job(%(job_id)s)

-- start --
-- The attempt of a claimed task begins; no row when the claim is lost
SELECT * FROM evalqueue_start_job(%(task_id)s, %(worker_id)s, %(worker)s, %(lease_seconds)s)

-- flush --
-- Fence, lease and progress; false when the attempt is over
SELECT evalqueue_flush_job(%(job_id)s, %(attempt)s, %(progress)s, %(lease_seconds)s)

-- hold --
-- The fence, held until the transaction ends; false when the attempt is over
SELECT evalqueue_hold_job(%(job_id)s, %(attempt)s)

-- finish --
-- running -> completed | failed | queued; NULL when the attempt is over
SELECT evalqueue_finish_job(
    job_id => %(job_id)s, attempt => %(attempt)s, outcome => %(outcome)s, result => %(result)s,
    error => %(error)s, delay_seconds => %(delay_seconds)s, delete_task => %(delete_task)s
)

-- sweep --
-- running -> queued | failed for all that lost their lease; parked jobs of these types are due
-- again; and the seconds until something is due that no NOTIFY tells
SELECT evalqueue_reap_jobs() + evalqueue_unpark_jobs(%(job_types)s, %(queues)s) AS brought_back,
    evalqueue_next_due() AS next_due

-- attempts --
SELECT * FROM job_attempts WHERE job_id = %(job_id)s ORDER BY attempt

-- dataset --
SELECT content FROM datasets WHERE id = %(dataset_id)s
