-- Posted conversations: stored, and read for an evaluation.

-- post --
SELECT added, known FROM jsonb_to_record(evalqueue_post_messages(%(threads)s, %(owner)s))
    AS stored (added bigint, known bigint)

-- store_rows --
-- Some rows of watched tables become messages; 0: none is left
SELECT evalqueue_store_rows(%(owner)s)

-- settled --
-- The settled conversations that were not read under a position, or have had messages since, in the
-- order of their last messages
SELECT thread.thread_id, thread.posted_at, thread.messages, thread.user_id, thread.intent,
    thread.has_errors
FROM posted_threads AS thread
WHERE thread.owner = %(owner)s AND MATCHING
    AND (thread.posted_at, thread.thread_id) > (%(after_at)s, %(after_thread)s)
ORDER BY thread.posted_at, thread.thread_id LIMIT %(page)s

-- count_settled --
SELECT count(*) FROM posted_threads AS thread
WHERE thread.owner = %(owner)s AND MATCHING

-- MATCHING --
-- What was read is looked up thread by thread: an anti join may read all of it for each thread, as long as
-- the table has no statistics
thread.posted_at >= %(start_at)s
    AND thread.posted_at <= clock_timestamp() - make_interval(secs => %(settle_seconds)s)
    AND (%(since)s::timestamptz IS NULL OR thread.last_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR thread.last_at < %(until)s)
    AND (%(app_id)s::text IS NULL OR thread.app_id = %(app_id)s)
    AND thread.messages > COALESCE((SELECT reading.messages FROM posted_readings AS reading
        WHERE reading.owner = thread.owner AND reading.thread_id = thread.thread_id
            AND reading.name = %(name)s), 0)

-- messages --
-- Those that were there when the conversations were listed
SELECT read.thread_id, thread.user_id AS first_user, message.user_id, message.sent_at,
    message.as_posted AS message
FROM unnest(%(threads)s::text[], %(counts)s::integer[]) WITH ORDINALITY
        AS read (thread_id, messages, place)
    JOIN posted_threads AS thread ON thread.owner = %(owner)s AND thread.thread_id = read.thread_id
    JOIN posted_messages AS message ON message.owner = %(owner)s
        AND message.thread_id = read.thread_id AND message.arrival <= read.messages
ORDER BY read.place, message.sent_at, message.arrival

-- mark --
-- Conversations are read as they were listed; those that were removed meanwhile have no row
INSERT INTO posted_readings AS reading (owner, thread_id, name, messages)
SELECT thread.owner, thread.thread_id, %(name)s, thread.messages FROM (
    SELECT posted_threads.owner, posted_threads.thread_id, read.messages
    FROM unnest(%(threads)s::text[], %(counts)s::integer[]) AS read (thread_id, messages)
        JOIN posted_threads ON posted_threads.owner = %(owner)s
            AND posted_threads.thread_id = read.thread_id
    FOR KEY SHARE OF posted_threads
) AS thread
ON CONFLICT (owner, thread_id, name) DO UPDATE SET messages = EXCLUDED.messages
WHERE reading.messages < EXCLUDED.messages
