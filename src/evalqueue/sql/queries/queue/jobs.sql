-- JOB_COLUMNS --
id, job_type, status, params, result, progress, error_message, owner, queue, priority, due_at, attempt,
    failed_attempts, max_attempts, worker, parent_id, retry_of, after_id, waiting, created_at,
    started_at, completed_at, revision, traceparent

-- submit --
-- (nothing) -> queued, in the caller's transaction
SELECT JOB_COLUMNS FROM evalqueue_submit_job_row(
    job_type => %(job_type)s, params => %(params)s, owner => %(owner)s, priority => %(priority)s,
    scheduled_at => %(scheduled_at)s, queue => %(queue)s, max_attempts => %(max_attempts)s,
    idempotency_key => %(idempotency_key)s, after => %(after)s, requested => %(requested)s,
    traceparent => %(traceparent)s
)

-- submit_many --
-- (nothing) -> queued for each element of an array, in the caller's transaction
SELECT JOB_COLUMNS FROM evalqueue_submit_job_rows(%(submissions)s)

-- known_keys --
-- Those idempotency keys of an owner with which a job was submitted
SELECT idempotency_key FROM jobs
WHERE owner = %(owner)s AND idempotency_key = ANY (%(idempotency_keys)s)

-- retry --
-- A new job goes on where one that is over stopped; no row when there is no such job of this owner's
WITH old AS MATERIALIZED (  -- the actor is set before the function is called
    SELECT id FROM jobs
    WHERE id = %(job_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)
        AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL
)
SELECT JOB_COLUMNS FROM (
    SELECT job.* FROM old CROSS JOIN LATERAL evalqueue_retry_job(old.id) AS job
) AS job WHERE id IS NOT NULL

-- of_key --
-- The job that was submitted with this idempotency key
SELECT JOB_COLUMNS FROM jobs WHERE owner = %(owner)s AND idempotency_key = %(idempotency_key)s

-- get --
-- An owner of NULL means any owner; here and below
SELECT JOB_COLUMNS, outlook.ahead, outlook.continued_by, outlook.retryable
FROM jobs LEFT JOIN evalqueue_outlook(ARRAY[%(job_id)s::uuid]) AS outlook ON outlook.job_id = jobs.id
WHERE jobs.id = %(job_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)

-- matching --
-- Jobs whose id is in a range, or that have a name, newest first
SELECT id, job_type, status, left(params ->> 'name', 200) AS name, created_at
FROM jobs
WHERE parent_id IS NULL
    AND (id BETWEEN %(first)s AND %(last)s OR params ->> 'name' = %(name)s)
ORDER BY created_at DESC, id DESC LIMIT %(limit)s

-- list --
-- Newest first, without helper jobs, large params and results shortened; NULL filters nothing
WITH page AS MATERIALIZED (
    SELECT JOB_COLUMNS FROM jobs
    WHERE parent_id IS NULL
        AND (%(owner)s::text IS NULL OR owner = %(owner)s)
        AND (%(status)s::text IS NULL OR status = %(status)s)
        AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s)
    ORDER BY created_at DESC, id DESC
    LIMIT %(limit)s OFFSET %(offset)s
)
SELECT page.id, job_type, status, progress, error_message, owner, queue, priority, due_at, attempt,
    failed_attempts, max_attempts, worker, parent_id, retry_of, after_id, waiting, created_at,
    started_at, completed_at, revision, outlook.ahead, outlook.continued_by, outlook.retryable,
    evalqueue_listed(params) AS params, evalqueue_listed(result) AS result
FROM page LEFT JOIN evalqueue_outlook(ARRAY(SELECT id FROM page)) AS outlook
    ON outlook.job_id = page.id
ORDER BY page.created_at DESC, page.id DESC

-- changed --
-- Changed jobs as watchers get them: params and results only of jobs that are watched by themselves,
-- and no helper jobs but those
SELECT jobs.id, job_type, status, error_message, progress, owner, queue, priority, due_at, attempt,
    failed_attempts, max_attempts, worker, parent_id, retry_of, after_id, waiting, created_at,
    started_at, completed_at, revision, outlook.ahead, outlook.continued_by, outlook.retryable,
    left(params ->> 'name', 200) AS name,
    CASE WHEN jobs.id = ANY (%(watched)s::uuid[]) THEN params ELSE '{}' END AS params,
    CASE WHEN jobs.id = ANY (%(watched)s::uuid[]) THEN result END AS result
FROM jobs LEFT JOIN evalqueue_outlook(%(ids)s::uuid[]) AS outlook ON outlook.job_id = jobs.id
WHERE jobs.id = ANY (%(ids)s::uuid[])
    AND (parent_id IS NULL OR jobs.id = ANY (%(watched)s::uuid[]))

-- positions --
-- The first jobs that are due in some queues, and how many are ahead of each
SELECT busy.queue, position.job_id, position.owner, position.ahead
FROM unnest(%(queues)s::text[]) AS busy (queue)
    LEFT JOIN LATERAL evalqueue_queue_positions(busy.queue, %(at_most)s) AS position ON true
ORDER BY busy.queue, position.ahead

-- cancel --
-- queued | running -> cancelled; no row when there is no such job of this owner's
SELECT evalqueue_cancel_job(id) FROM jobs
WHERE id = %(job_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)
    AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL

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

-- flush_many --
-- The same for many attempts; NULL where the row is locked
SELECT job_id, alive FROM evalqueue_flush_jobs(%(held)s, %(lease_seconds)s)

-- complete_many --
-- running -> completed for many attempts; without those whose rows are locked
SELECT job_id, status FROM evalqueue_finish_jobs(%(ended)s::jsonb)

-- start_helpers --
-- So many helper jobs of this one run on other workers; false when the attempt is over
SELECT evalqueue_start_helpers(%(job_id)s, %(attempt)s, %(wanted)s)

-- claim_items --
-- Items of a shared job become this attempt's own; NULL when the attempt is over
SELECT evalqueue_claim_items(%(job_id)s, %(attempt)s, %(items)s, %(wanted)s)

-- note_items_done --
-- In the transaction that stores the items' results
UPDATE job_items SET succeeded = (item = ANY (%(succeeded)s::text[]))
WHERE job_id = %(root_id)s AND item = ANY (%(succeeded)s::text[] || %(failed)s::text[])

-- items_done --
-- Which of these are done, by any worker
SELECT item, succeeded FROM job_items
WHERE job_id = %(root_id)s AND item = ANY (%(items)s) AND succeeded IS NOT NULL

-- attempts --
SELECT job_id, job_attempts.attempt, job_attempts.worker, job_attempts.started_at, ended_at, outcome,
    error
FROM job_attempts JOIN jobs ON jobs.id = job_id
WHERE job_id = %(job_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)
ORDER BY job_attempts.attempt
