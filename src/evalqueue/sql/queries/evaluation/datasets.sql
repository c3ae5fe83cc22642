-- lock --
-- One import of a dataset at a time; released with the transaction
SELECT pg_advisory_xact_lock(hashtextextended('evalqueue dataset ' || %(dataset_id)s, 0))

-- is_read --
-- Adding it again keeps it from being too old
UPDATE datasets SET created_at = clock_timestamp()
WHERE id = %(dataset_id)s AND format IS NOT NULL RETURNING 1

-- raw --
-- What came by plain SQL and was not read yet
SELECT content FROM datasets WHERE id = %(dataset_id)s AND content IS NOT NULL

-- stage --
-- The messages of one file, in its order; gone with the transaction
CREATE TEMPORARY TABLE evalqueue_messages (
    number bigint NOT NULL,
    row bigint NOT NULL,
    record bigint NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    intent text COLLATE "C",
    has_image boolean NOT NULL,
    has_error boolean NOT NULL,
    has_calls boolean NOT NULL,
    is_open boolean NOT NULL,  -- neither answered nor failed
    asked bigint NOT NULL,  -- hash of the user's message
    content bigint NOT NULL,  -- hash of the user's message and the answer
    marks bigint NOT NULL,  -- bits
    bytes integer NOT NULL,
    opening text NOT NULL,
    other_users jsonb,  -- whose message it is besides; NULL: no one's
    turn text
) ON COMMIT DROP;
ALTER TABLE pg_temp.evalqueue_messages ALTER COLUMN turn SET STORAGE EXTERNAL

-- copy --
COPY pg_temp.evalqueue_messages FROM STDIN

-- histories --
-- The messages of conversations whose records may repeat the conversation so far
SELECT thread_id, number, record, at, asked, content, is_open FROM pg_temp.evalqueue_messages
WHERE thread_id IN (
    SELECT thread_id FROM pg_temp.evalqueue_messages GROUP BY thread_id
    HAVING min(record) <> max(record)
        AND (count(DISTINCT record) < count(*) OR bool_or(has_calls))
)
ORDER BY thread_id, at, number

-- leave_out --
DELETE FROM pg_temp.evalqueue_messages WHERE number = ANY (%(numbers)s) RETURNING row

-- duplicated_messages --
-- Messages of the same conversation, time and text as an earlier one: how many, and the first
SELECT sum(times - 1)::bigint, min_by_row[2], min_by_row[1]::bigint FROM (
    SELECT times, min(ARRAY[lpad(first_row::text, 20, '0'), thread_id]) OVER () AS min_by_row
    FROM (
        SELECT thread_id, count(*) AS times, max(row) AS first_row FROM pg_temp.evalqueue_messages
        WHERE at > 'epoch' GROUP BY thread_id, content, at HAVING count(*) > 1
    ) AS repeated
) AS numbered
GROUP BY min_by_row

-- duplicated_threads --
-- Conversations with the same texts as an earlier one: how many, and the first
WITH digests AS (
    SELECT thread_id, min(number) AS first_number, min(row) AS first_row, count(*) AS messages,
        bit_xor(content) AS mixed, sum(content % 1000000007) AS total
    FROM pg_temp.evalqueue_messages GROUP BY thread_id
), numbered AS (
    SELECT thread_id, first_number, first_row,
        row_number() OVER same AS place, first_value(thread_id) OVER same AS earlier
    FROM digests WINDOW same AS (PARTITION BY messages, mixed, total ORDER BY first_number)
), later AS (
    SELECT *, count(*) OVER () AS conversations FROM numbered WHERE place > 1
)
SELECT conversations, thread_id, earlier, first_row FROM later ORDER BY first_number LIMIT 1

-- too_large --
-- Conversations that are too large to hold in memory
SELECT min(row), thread_id, sum(bytes)::bigint FROM pg_temp.evalqueue_messages
GROUP BY thread_id HAVING sum(bytes) > %(max_bytes)s ORDER BY min(number) LIMIT %(limit)s

-- statistics --
-- A message whose time is not known stands at the epoch. Of labels only so many, and so much of each:
-- a list of datasets contains them all
WITH ordered AS (
    SELECT *, row_number() OVER (PARTITION BY thread_id ORDER BY at, number) AS turn_number
    FROM pg_temp.evalqueue_messages
), labels AS (
    SELECT left(intent, 200) AS intent, count(*) AS times FROM pg_temp.evalqueue_messages
    WHERE intent IS NOT NULL GROUP BY 1 ORDER BY times DESC, 1 LIMIT 1000
)
SELECT count(*) AS messages,
    count(*) FILTER (WHERE turn_number = 1) AS threads,
    (
        SELECT count(DISTINCT user_id) FROM (
            SELECT (array_agg(user_id ORDER BY user_id = %(unknown)s, turn_number))[1] AS user_id
            FROM ordered GROUP BY thread_id
        ) AS first_known
    ) AS users,
    min(at) FILTER (WHERE at > 'epoch') AS first_at,
    max(at) FILTER (WHERE at > 'epoch') AS last_at,
    (SELECT COALESCE(json_object_agg(intent, times ORDER BY times DESC, intent), '{}') FROM labels)
        AS intents,
    count(*) FILTER (WHERE has_image) AS messages_with_images,
    count(*) FILTER (WHERE has_error) AS messages_with_errors
FROM ordered

-- staged_ids --
SELECT thread_id FROM pg_temp.evalqueue_messages GROUP BY thread_id ORDER BY min(number)

-- staged_counts --
-- Of the conversations that are meant; NULL: of all
SELECT count(DISTINCT thread_id) AS threads, count(*) AS messages FROM pg_temp.evalqueue_messages
WHERE %(thread_ids)s::text[] IS NULL OR thread_id = ANY (%(thread_ids)s)

-- staged_marks --
-- Their messages by what they were marked with
SELECT marks, count(*) AS messages FROM pg_temp.evalqueue_messages
WHERE marks <> 0 AND (%(thread_ids)s::text[] IS NULL OR thread_id = ANY (%(thread_ids)s))
GROUP BY marks

-- keep --
INSERT INTO datasets (
    id, content, size_bytes, format, mapping, messages, threads, users, first_at, last_at, intents,
    messages_with_images, messages_with_errors, notices
) VALUES (
    %(dataset_id)s, NULL, %(size_bytes)s, %(format)s, %(mapping)s, %(messages)s, %(threads)s,
    %(users)s, %(first_at)s, %(last_at)s, %(intents)s, %(messages_with_images)s,
    %(messages_with_errors)s, %(notices)s
)
ON CONFLICT (id) DO UPDATE SET  -- it was there, and not read yet
    content = NULL, size_bytes = EXCLUDED.size_bytes, format = EXCLUDED.format,
    mapping = EXCLUDED.mapping, messages = EXCLUDED.messages, threads = EXCLUDED.threads,
    users = EXCLUDED.users, first_at = EXCLUDED.first_at, last_at = EXCLUDED.last_at,
    intents = EXCLUDED.intents, messages_with_images = EXCLUDED.messages_with_images,
    messages_with_errors = EXCLUDED.messages_with_errors, notices = EXCLUDED.notices

-- keep_threads --
WITH ordered AS (
    SELECT *, row_number() OVER (PARTITION BY thread_id ORDER BY at, number) AS turn_number
    FROM pg_temp.evalqueue_messages
), grouped AS (
    SELECT thread_id, min(number) AS first_number,
        (array_agg(user_id ORDER BY user_id = %(unknown)s, turn_number))[1] AS user_id,
        array_agg(DISTINCT user_id) AS users,
        count(*) AS messages, NULLIF(min(at), 'epoch') AS first_at, NULLIF(max(at), 'epoch') AS last_at,
        bool_or(has_image) AS has_images, bool_or(has_error) AS has_errors,
        min(opening) FILTER (WHERE turn_number = 1) AS opening,
        -- A turn is a JSON object but for its beginning.
        '[' || string_agg('{"number":' || turn_number || ',' || turn, ',' ORDER BY turn_number)
            || ']' AS turns
    FROM ordered GROUP BY thread_id
), beside AS (
    SELECT thread_id, array_agg(DISTINCT named.user_id) AS users
    FROM pg_temp.evalqueue_messages
    CROSS JOIN LATERAL jsonb_array_elements_text(other_users) AS named (user_id)
    WHERE other_users IS NOT NULL GROUP BY thread_id
), named AS (
    SELECT thread_id, array_agg(DISTINCT each.user_id) FILTER (
            WHERE each.user_id NOT IN (grouped.user_id, %(unknown)s)) AS other_users
    FROM grouped LEFT JOIN beside USING (thread_id)
    CROSS JOIN LATERAL unnest(grouped.users || beside.users) AS each (user_id)
    WHERE cardinality(grouped.users) > 1 OR beside.users IS NOT NULL
    GROUP BY thread_id
)
INSERT INTO dataset_threads (
    dataset_id, position, thread_id, user_id, other_users, messages, first_at, last_at, has_images,
    has_errors, opening, turns
)
SELECT %(dataset_id)s, row_number() OVER (ORDER BY first_number), thread_id, user_id, other_users,
    messages, first_at, last_at, has_images, has_errors, opening, turns::jsonb
FROM grouped LEFT JOIN named USING (thread_id)

-- enter --
-- An owner has it. Adding it to stay sets its name anew; a job does not
INSERT INTO dataset_owners AS entry (dataset_id, owner, name, kept)
SELECT %(dataset_id)s, %(owner)s, %(name)s, %(kept)s
WHERE set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL
ON CONFLICT (dataset_id, owner) DO UPDATE SET name = EXCLUDED.name, kept = true
    WHERE EXCLUDED.kept
RETURNING xmax = 0 AS is_new  -- no row was there to be locked

-- has --
SELECT EXISTS (SELECT 1 FROM dataset_owners WHERE dataset_id = %(dataset_id)s AND owner = %(owner)s)

-- list --
-- Newest first. For any owner (NULL) each dataset once, under the name of its first owner
SELECT dataset.id, entry.name, dataset.format, dataset.size_bytes, dataset.mapping, entry.owner,
    entry.created_at, dataset.messages, dataset.threads, dataset.users, dataset.first_at,
    dataset.last_at, dataset.intents, dataset.messages_with_images, dataset.messages_with_errors,
    dataset.notices
FROM datasets AS dataset
CROSS JOIN LATERAL (
    SELECT name, owner, created_at FROM dataset_owners
    WHERE dataset_id = dataset.id AND (%(owner)s::text IS NULL OR owner = %(owner)s)
    ORDER BY created_at, owner LIMIT 1
) AS entry
WHERE dataset.format IS NOT NULL AND (%(dataset_id)s::text IS NULL OR dataset.id = %(dataset_id)s)
ORDER BY entry.created_at DESC, dataset.id LIMIT %(limit)s OFFSET %(offset)s

-- content --
-- What the dataset is, for any owner; no row while it is not read
SELECT id, size_bytes, format, messages, threads,
    (SELECT name FROM dataset_owners WHERE dataset_id = datasets.id
        ORDER BY owner <> %(owner)s, created_at, owner LIMIT 1) AS name
FROM datasets WHERE id = %(dataset_id)s AND format IS NOT NULL

-- remove --
SELECT evalqueue_remove_dataset(%(dataset_id)s, %(owner)s)
WHERE set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL

-- thread --
SELECT thread_id, user_id, turns FROM dataset_threads
WHERE dataset_id = %(dataset_id)s AND thread_id = %(thread_id)s

-- threads_ahead --
-- The first of some conversations, and those after it until they are too large together
SELECT thread_id, user_id, turns FROM (
    SELECT thread_id, user_id, turns, place, sum(pg_column_size(turns)) OVER (ORDER BY place) AS bytes
    FROM (
        SELECT thread_id, user_id, turns,
            array_position(%(thread_ids)s::text[], thread_id) AS place
        FROM dataset_threads
        WHERE dataset_id = %(dataset_id)s AND thread_id = ANY (%(thread_ids)s::text[])
    ) AS placed
) AS sized
WHERE place = 1 OR bytes <= %(max_bytes)s

-- thread_ids --
SELECT thread_id FROM dataset_threads WHERE dataset_id = %(dataset_id)s ORDER BY position

-- counts --
-- Of the conversations that are meant; NULL: of all
SELECT count(*) AS threads, COALESCE(sum(messages), 0)::bigint AS messages FROM dataset_threads
WHERE dataset_id = %(dataset_id)s
    AND (%(thread_ids)s::text[] IS NULL OR thread_id = ANY (%(thread_ids)s))

-- has_turn --
-- Whether a turn of the conversations that are meant (NULL: of all) is on this path
SELECT EXISTS (
    SELECT FROM dataset_threads
    WHERE dataset_id = %(dataset_id)s
        AND (%(thread_ids)s::text[] IS NULL OR thread_id = ANY (%(thread_ids)s))
        AND jsonb_path_exists(turns, %(path)s::jsonpath)
)

-- stretches --
-- Where to pause when some conversations (NULL: all) are read in order, so many bytes at a time
SELECT max(position) FROM (
    SELECT position,
        sum(pg_column_size(turns)) OVER (ORDER BY position) / %(bytes)s::bigint AS stretch
    FROM dataset_threads
    WHERE dataset_id = %(dataset_id)s
        AND (%(thread_ids)s::text[] IS NULL OR thread_id = ANY (%(thread_ids)s))
) AS counted
GROUP BY stretch ORDER BY 1

-- bot_texts --
-- The bot's texts in one of them
SELECT jsonb_path_query_array(turns, '$[*].bot_text')::text FROM dataset_threads
WHERE dataset_id = %(dataset_id)s AND position > %(after)s AND position <= %(until)s
    AND (%(thread_ids)s::text[] IS NULL OR thread_id = ANY (%(thread_ids)s))

-- statistics_of --
SELECT messages, threads, users, first_at, last_at, intents, messages_with_images,
    messages_with_errors
FROM datasets WHERE id = %(dataset_id)s AND format IS NOT NULL

-- threads --
SELECT position, thread_id, user_id, messages, first_at, last_at, has_images, has_errors, opening
FROM dataset_threads WHERE dataset_id = %(dataset_id)s AND position > %(after)s
ORDER BY position LIMIT %(limit)s

-- pin --
-- A job that named no dataset reads this one from now on, and so do its helper jobs
UPDATE jobs SET params = params || jsonb_build_object('dataset_id', %(dataset_id)s::text)
WHERE id = %(job_id)s AND NOT params ? 'dataset_id'
