-- submit --
-- (nothing) -> queued, in the caller's transaction
SELECT * FROM evalqueue_submit_job_row(
    job_type => %(job_type)s, params => %(params)s, owner => %(owner)s, priority => %(priority)s,
    scheduled_at => %(scheduled_at)s, queue => %(queue)s, max_attempts => %(max_attempts)s,
    idempotency_key => %(idempotency_key)s, after => %(after)s, asked => %(asked)s
)

-- retry --
-- A new job goes on where one that is over stopped; no row when there is no such job of this owner's
SELECT job.* FROM jobs AS old CROSS JOIN LATERAL evalqueue_retry_job(old.id) AS job
WHERE old.id = %(job_id)s AND (%(owner)s::text IS NULL OR old.owner = %(owner)s)
    AND job.id IS NOT NULL

-- of_key --
-- The job that was submitted with this idempotency key
SELECT * FROM jobs WHERE owner = %(owner)s AND idempotency_key = %(idempotency_key)s

-- get --
-- NULL: whoever owns it; here and below
SELECT * FROM jobs
WHERE id = %(job_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)

-- list --
-- Newest first, without hands; NULL filters nothing
SELECT * FROM jobs
WHERE parent_id IS NULL
    AND (%(owner)s::text IS NULL OR owner = %(owner)s)
    AND (%(status)s::text IS NULL OR status = %(status)s)
    AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s)
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s OFFSET %(offset)s

-- cancel --
-- queued | running -> cancelled; no row when there is no such job of this owner's
SELECT evalqueue_cancel_job(id) FROM jobs
WHERE id = %(job_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)

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

-- hands --
-- So many auxiliary jobs help with this one, from other workers; false when the attempt is over
SELECT evalqueue_ask_for_hands(%(job_id)s, %(attempt)s, %(wanted)s)

-- claim_items --
-- Items of a shared job become this attempt's own; NULL when the attempt is over
SELECT evalqueue_claim_items(%(job_id)s, %(attempt)s, %(items)s, %(wanted)s)

-- item_done --
-- In the transaction that keeps what was found
UPDATE job_items SET succeeded = %(succeeded)s WHERE job_id = %(root_id)s AND item = %(item)s

-- items_done --
-- What of these has been done, by whomever
SELECT item, succeeded FROM job_items
WHERE job_id = %(root_id)s AND item = ANY (%(items)s) AND succeeded IS NOT NULL

-- attempts --
SELECT job_attempts.* FROM job_attempts JOIN jobs ON jobs.id = job_id
WHERE job_id = %(job_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)
ORDER BY job_attempts.attempt

-- dataset --
SELECT content FROM datasets WHERE id = %(dataset_id)s
