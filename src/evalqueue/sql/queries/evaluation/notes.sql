-- What people write about conversations.

-- add --
-- No row: the run has no such conversation, or it has as many notes as there may be
INSERT INTO thread_notes AS note (owner, dataset_id, thread_id, note, written_by)
SELECT %(owner)s, %(dataset_id)s, %(thread_id)s, %(note)s, %(written_by)s
WHERE EXISTS (SELECT FROM thread_evaluations
        WHERE run_id = %(run_id)s AND thread_id = %(thread_id)s)
    AND (SELECT count(*) FROM thread_notes WHERE owner = %(owner)s
        AND dataset_id = %(dataset_id)s AND thread_id = %(thread_id)s) < %(most)s
    AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL
RETURNING note.id, note.thread_id, note.note, note.written_by, note.created_at

-- is_there --
SELECT EXISTS (SELECT FROM thread_evaluations
    WHERE run_id = %(run_id)s AND thread_id = %(thread_id)s)

-- of_run --
-- The notes of a run's conversations, or of one of them, in the order of writing
SELECT note.id, note.thread_id, note.note, note.written_by, note.created_at
FROM thread_notes AS note
WHERE note.owner = %(owner)s AND note.dataset_id = %(dataset_id)s
    AND (%(thread_id)s::text IS NULL OR note.thread_id = %(thread_id)s)
    AND EXISTS (SELECT FROM thread_evaluations AS thread
        WHERE thread.run_id = %(run_id)s AND thread.thread_id = note.thread_id)
    AND note.id > %(after)s
ORDER BY note.id LIMIT %(limit)s
