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
SELECT jobs.*, place.ahead, place.continued_by, place.retryable
FROM jobs LEFT JOIN evalqueue_places(ARRAY[%(job_id)s::uuid]) AS place ON place.job_id = jobs.id
WHERE jobs.id = %(job_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)

-- list --
-- Newest first, without hands; NULL filters nothing
WITH page AS MATERIALIZED (
    SELECT * FROM jobs
    WHERE parent_id IS NULL
        AND (%(owner)s::text IS NULL OR owner = %(owner)s)
        AND (%(status)s::text IS NULL OR status = %(status)s)
        AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s)
    ORDER BY created_at DESC, id DESC
    LIMIT %(limit)s OFFSET %(offset)s
)
SELECT page.*, place.ahead, place.continued_by, place.retryable
FROM page LEFT JOIN evalqueue_places(ARRAY(SELECT id FROM page)) AS place ON place.job_id = page.id
ORDER BY page.created_at DESC, page.id DESC

-- changed --
-- What whoever watches is told: params and results only of jobs that are watched by themselves, and
-- no hands but those
SELECT jobs.id, job_type, status, error_message, progress, owner, queue, priority, due_at, attempt,
    failed_attempts, max_attempts, worker, parent_id, retry_of, after_id, waiting, created_at,
    started_at, completed_at, revision, place.ahead, place.continued_by, place.retryable, params ->> 'name' AS name,
    CASE WHEN jobs.id = ANY (%(watched)s::uuid[]) THEN params ELSE '{}' END AS params,
    CASE WHEN jobs.id = ANY (%(watched)s::uuid[]) THEN result END AS result
FROM jobs LEFT JOIN evalqueue_places(%(ids)s::uuid[]) AS place ON place.job_id = jobs.id
WHERE jobs.id = ANY (%(ids)s::uuid[])
    AND (parent_id IS NULL OR jobs.id = ANY (%(watched)s::uuid[]))

-- line --
-- The first of those that are due in some queues, and how many stand before each
SELECT busy.queue, line.job_id, line.owner, line.ahead
FROM unnest(%(queues)s::text[]) AS busy (queue)
    LEFT JOIN LATERAL evalqueue_line(busy.queue, %(at_most)s) AS line ON true
ORDER BY busy.queue, line.ahead

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
