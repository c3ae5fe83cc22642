-- How far the conversations of other databases were read.

-- position --
SELECT last_at, thread_id FROM source_positions
WHERE owner = %(owner)s AND source = %(source)s AND name = %(name)s

-- positions --
SELECT owner, source, name, last_at, thread_id, job_id, updated_at FROM source_positions
ORDER BY source, owner, name

-- advance --
-- Only from where the caller has read on: not if another job has moved it meanwhile
INSERT INTO source_positions AS position (owner, source, name, last_at, thread_id, job_id)
VALUES (%(owner)s, %(source)s, %(name)s, %(last_at)s, %(thread_id)s, %(job_id)s)
ON CONFLICT (owner, source, name) DO UPDATE
SET last_at = EXCLUDED.last_at, thread_id = EXCLUDED.thread_id, job_id = EXCLUDED.job_id,
    updated_at = clock_timestamp()
WHERE position.last_at = %(from_last_at)s AND position.thread_id = %(from_thread_id)s
RETURNING true
