-- How far the conversations of sources were read, and what came of it.

-- position --
SELECT last_at, thread_id FROM source_positions
WHERE owner = %(owner)s AND source = %(source)s AND name = %(name)s

-- begin --
-- The first time: from here on conversations are read
INSERT INTO source_positions (owner, source, name, last_at, thread_id, job_id, start_at)
VALUES (%(owner)s, %(source)s, %(name)s, %(start_at)s, '', %(job_id)s, %(start_at)s)
ON CONFLICT (owner, source, name) DO NOTHING

-- start --
SELECT COALESCE(start_at, last_at) FROM source_positions
WHERE owner = %(owner)s AND source = %(source)s AND name = %(name)s

-- advance --
-- Only from where the caller has read on: not if another job has moved it meanwhile
INSERT INTO source_positions AS position (owner, source, name, last_at, thread_id, job_id)
VALUES (%(owner)s, %(source)s, %(name)s, %(last_at)s, %(thread_id)s, %(job_id)s)
ON CONFLICT (owner, source, name) DO UPDATE
SET last_at = EXCLUDED.last_at, thread_id = EXCLUDED.thread_id, job_id = EXCLUDED.job_id,
    updated_at = clock_timestamp()
WHERE position.last_at = %(from_last_at)s AND position.thread_id = %(from_thread_id)s
RETURNING true

-- conversations --
-- Fewer than were imported, if users of an earlier dataset with the same content were forgotten
SELECT thread_id FROM dataset_threads WHERE dataset_id = %(dataset_id)s

-- note_reading --
INSERT INTO source_readings (owner, source, name, job_id, run_id, matched, sampled, not_in_sample,
    over_per_intent, over_per_user, unreadable)
VALUES (%(owner)s, %(source)s, %(name)s, %(job_id)s, %(run_id)s, %(matched)s, %(sampled)s,
    %(not_in_sample)s, %(over_per_intent)s, %(over_per_user)s, %(unreadable)s)

-- read_by --
-- What a job has read in its attempts so far
SELECT COALESCE(sum(matched), 0)::bigint AS matched, COALESCE(sum(sampled), 0)::bigint AS sampled,
    COALESCE(sum(unreadable), 0)::bigint AS unreadable
FROM source_readings WHERE job_id = %(job_id)s

-- rules --
-- Each position, and what became of the conversations that were read under it, as far as its runs are
-- kept: matched = sampled + the next four; sampled = judged + failed + not_judged + waiting
SELECT position.owner, position.source, position.name, position.last_at, position.thread_id,
    position.job_id, position.updated_at, matched, sampled, not_in_sample, over_per_intent,
    over_per_user, unreadable, judged, failed, not_judged, waiting, skipped_rows
FROM source_positions AS position CROSS JOIN LATERAL (
    SELECT COALESCE(sum(matched), 0)::bigint AS matched, COALESCE(sum(sampled), 0)::bigint AS sampled,
        COALESCE(sum(not_in_sample), 0)::bigint AS not_in_sample,
        COALESCE(sum(over_per_intent), 0)::bigint AS over_per_intent,
        COALESCE(sum(over_per_user), 0)::bigint AS over_per_user,
        COALESCE(sum(unreadable), 0)::bigint AS unreadable,
        COALESCE(sum(judged), 0)::bigint AS judged, COALESCE(sum(failed), 0)::bigint AS failed,
        COALESCE(sum(sampled - judged - failed) FILTER (WHERE run.completed_at IS NOT NULL), 0)::bigint
            AS not_judged,
        COALESCE(sum(sampled - judged - failed) FILTER (WHERE run.completed_at IS NULL), 0)::bigint
            AS waiting
    FROM source_readings AS reading LEFT JOIN eval_runs AS run ON run.id = reading.run_id
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE missing_verdicts = 0) AS judged,
                count(*) FILTER (WHERE missing_verdicts > 0) AS failed
            FROM thread_evaluations WHERE run_id = reading.run_id) AS found
    WHERE reading.owner = position.owner AND reading.source = position.source
        AND reading.name = position.name
) AS counted CROSS JOIN LATERAL (
    SELECT COALESCE(jsonb_object_agg(problem, occurrences), '{}') AS skipped_rows FROM skipped_rows AS row
    WHERE row.owner = position.owner AND position.source = 'posted'
) AS skipped
WHERE %(owner)s::text IS NULL OR position.owner = %(owner)s
ORDER BY position.source, position.owner, position.name
