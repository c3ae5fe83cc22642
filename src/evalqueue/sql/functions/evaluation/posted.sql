-- Conversations that applications post message by message.

-- A time as ISO 8601 writes it, in UTC where it names no zone. NULL: it is none.
CREATE OR REPLACE FUNCTION evalqueue_moment(value text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE SET timezone TO 'UTC' AS $$
BEGIN
    IF $1 ~ '^(19[7-9]|20[0-9])\d-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:?\d\d)?$' THEN
        RETURN $1::timestamptz;
    END IF;
    RETURN NULL;
EXCEPTION WHEN datetime_field_overflow OR invalid_datetime_format THEN
    RETURN NULL;
END;
$$;

-- Whether a text is one line of at most so many characters, which readers of files take for a name.
CREATE OR REPLACE FUNCTION evalqueue_is_name(value jsonb, longest integer) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path FROM CURRENT AS $$
    SELECT COALESCE(jsonb_typeof($1) = 'string' AND length($1 #>> '{}') <= $2
        AND evalqueue_line_problem($1 #>> '{}') IS NULL
        AND lower(btrim($1 #>> '{}')) NOT IN ('nan', '-nan', 'null', 'none', 'nil', 'n/a', 'na',
            '#n/a', '#na', '<na>', 'nat', 'undefined', '\n'), false);
$$;

-- Whom a message names as its user, where readers of messages look. NULL: no one.
CREATE OR REPLACE FUNCTION evalqueue_user_of(message jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT COALESCE(NULLIF($1 -> 'user_id', 'null'), NULLIF($1 #> '{metadata,user_id}', 'null'));
$$;

-- What is wrong with a posted message: the field, and the problem. NULL: nothing.
CREATE OR REPLACE FUNCTION evalqueue_message_problem(message jsonb) RETURNS text[]
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT CASE
        WHEN jsonb_typeof($1) <> 'object' THEN ARRAY[NULL, 'A message is a JSON object']
        WHEN COALESCE($1 ->> 'role', '') NOT IN
                ('user', 'assistant', 'system', 'developer', 'tool', 'function')
            THEN ARRAY['role', 'Choose user, assistant, system, developer, tool or function']
        WHEN jsonb_typeof($1 -> 'id') NOT IN ('string', 'null')
                OR length($1 ->> 'id') NOT BETWEEN 1 AND 255
            THEN ARRAY['id', 'A text of 1 to 255 characters']
        WHEN NOT evalqueue_is_name(evalqueue_user_of($1), 500) AND evalqueue_user_of($1) IS NOT NULL
            THEN ARRAY['user_id', 'One line of 1 to 500 characters; no word for no value']
        WHEN jsonb_typeof($1 -> 'timestamp') NOT IN ('string', 'null')
                OR $1 ->> 'timestamp' IS NOT NULL AND evalqueue_moment($1 ->> 'timestamp') IS NULL
            THEN ARRAY['timestamp', 'Write a date and time of ISO 8601, from 1970 to 2099: 2026-01-31T08:00:00Z']
        WHEN evalqueue_moment($1 ->> 'timestamp') > clock_timestamp() + interval '5 minutes'
            THEN ARRAY['timestamp', 'It is in the future']
        WHEN COALESCE($1 ->> 'id', $1 ->> 'timestamp') IS NULL
            THEN ARRAY[NULL, 'Give it an id, or a timestamp: else a repeated request would store it twice']
        WHEN jsonb_typeof($1 -> 'tool_calls') NOT IN ('array', 'null')
            THEN ARRAY['tool_calls', 'Write a list']
        WHEN COALESCE($1 -> 'content', 'null') = 'null'
                AND COALESCE($1 -> 'tool_calls', 'null') IN ('null', '[]')
            THEN ARRAY['content', 'It is missing: write a text, or a list of parts']
        WHEN jsonb_typeof($1 -> 'content') NOT IN ('string', 'array', 'null')
            THEN ARRAY['content', 'Write a text, or a list of parts']
        WHEN octet_length($1::text) > 256 * 1024
            THEN ARRAY[NULL, 'It is too large: 256 KiB at most']
        END;
$$;

-- What is wrong with posted threads: the first problem of each thread and of each message. Places count
-- from 0; `message` is NULL where it is none of them.
CREATE OR REPLACE FUNCTION evalqueue_posted_problems(threads jsonb)
RETURNS TABLE (thread bigint, message bigint, field text, problem text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH listed AS (
        SELECT element, place - 1 AS thread, CASE
            WHEN jsonb_typeof(element) <> 'object'
                THEN ARRAY[NULL, 'A thread is a JSON object: {"thread_id", "messages"}']
            WHEN element - ARRAY['thread_id', 'app_id', 'user_id', 'messages'] <> '{}'
                THEN ARRAY[(SELECT min(extra) FROM jsonb_object_keys(
                    element - ARRAY['thread_id', 'app_id', 'user_id', 'messages']) AS extra),
                    'There is no such field']
            WHEN evalqueue_json_problem(element) IS NOT NULL
                THEN ARRAY['messages', evalqueue_json_problem(element)]
            WHEN NOT evalqueue_is_name(element -> 'thread_id', 500) OR element ->> 'thread_id' ~ '^/'
                THEN ARRAY['thread_id', 'One line of 1 to 500 characters; no word for no value, nor a path']
            WHEN COALESCE(element -> 'app_id', 'null') <> 'null'
                    AND NOT evalqueue_is_name(element -> 'app_id', 100)
                THEN ARRAY['app_id', 'One line of 1 to 100 characters']
            WHEN COALESCE(element -> 'user_id', 'null') <> 'null'
                    AND NOT evalqueue_is_name(element -> 'user_id', 500)
                THEN ARRAY['user_id', 'One line of 1 to 500 characters; no word for no value']
            WHEN jsonb_array_length(CASE jsonb_typeof(element -> 'messages')
                    WHEN 'array' THEN element -> 'messages' ELSE '[]' END) NOT BETWEEN 1 AND 1000
                THEN ARRAY['messages', 'A list of 1 to 1000 messages']
            END AS found
        FROM jsonb_array_elements($1) WITH ORDINALITY AS given (element, place)
    )
    SELECT thread, NULL, found[1], found[2] FROM listed WHERE found IS NOT NULL
    UNION ALL
    SELECT thread, place - 1, wrong[1], wrong[2]
    FROM listed CROSS JOIN LATERAL jsonb_array_elements(
            CASE WHEN found IS NULL THEN element -> 'messages' ELSE '[]' END
        ) WITH ORDINALITY AS given (message, place)
        CROSS JOIN LATERAL evalqueue_message_problem(message) AS wrong
    WHERE wrong IS NOT NULL
    ORDER BY 1, 2;
$$;

-- Posted messages as rows, in the order of the request. `at` is NULL where a message has no time.
CREATE OR REPLACE FUNCTION evalqueue_posted_rows(threads jsonb) RETURNS TABLE (
    place bigint, thread_id text, app_id text, user_id text, message_key bytea, at timestamptz,
    message jsonb
)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT row_number() OVER (ORDER BY thread.place, listed.place), element ->> 'thread_id',
        element ->> 'app_id', COALESCE(evalqueue_user_of(given) #>> '{}', element ->> 'user_id'),
        sha256(convert_to(COALESCE('id ' || (given ->> 'id'), given::text), 'UTF8')),
        evalqueue_moment(given ->> 'timestamp'), given
    FROM jsonb_array_elements($1) WITH ORDINALITY AS thread (element, place)
        CROSS JOIN LATERAL jsonb_array_elements(element -> 'messages')
            WITH ORDINALITY AS listed (given, place);
$$;

-- What the router chose, where the sender says so.
CREATE OR REPLACE FUNCTION evalqueue_intent_of(message jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT left(COALESCE($1 ->> 'intent', $1 ->> 'intent_detected', $1 ->> 'routed_intent'), 200);
$$;

-- Whether a message says that something went wrong.
CREATE OR REPLACE FUNCTION evalqueue_has_error(message jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT COALESCE($1 -> 'error', $1 -> 'error_message', $1 -> 'exception', 'null')
        NOT IN ('null', 'false', '""', '{}', '[]', '0');
$$;

-- Whom a thread names besides its first user, with those who are new. NULL: no one.
CREATE OR REPLACE FUNCTION evalqueue_other_users(thread posted_threads, users text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(DISTINCT named) FROM unnest($1.other_users || $2) AS named
    WHERE named <> COALESCE($1.user_id, $2[1]);
$$;

-- Store messages of conversations, in the caller's transaction: all of them, or none. A message that
-- was posted before changes nothing: it is known by its id, or without one by its time and content.
-- Returns {"added", "known"}.
--
--   posted  {"thread_id", "app_id", "user_id", "messages": [{"role", "content", "id", "timestamp", …}]},
--           or a list of up to 100 of these
--   arrivals  when messages came, by thread_id; of other threads: now
--
-- The detail of a refusal lists the problems: `{"thread", "message", "field", "problem"}`.
CREATE OR REPLACE FUNCTION evalqueue_post_messages(
    posted jsonb, owner text DEFAULT 'default', arrivals jsonb DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    threads CONSTANT jsonb := CASE jsonb_typeof(posted)
        WHEN 'array' THEN posted ELSE jsonb_build_array(posted) END;
    problems jsonb;
    added bigint;
    total bigint;
BEGIN
    IF octet_length(owner) NOT BETWEEN 1 AND 200 OR evalqueue_line_problem(owner) IS NOT NULL THEN
        RAISE EXCEPTION 'owner: one line of 1 to 200 bytes'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF posted IS NULL OR jsonb_array_length(threads) NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'Post 1 to 100 threads at once' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT jsonb_agg(to_jsonb(wrong)) INTO problems
        FROM (SELECT * FROM evalqueue_posted_problems(threads) LIMIT 100) AS wrong;
    PERFORM evalqueue_refuse_posted(problems, 'invalid_parameter_value');

    -- In a fixed order, so that two requests don't wait for each other.
    INSERT INTO posted_threads (owner, thread_id, posted_at)
        SELECT DISTINCT owner, element ->> 'thread_id',
            COALESCE((arrivals ->> (element ->> 'thread_id'))::timestamptz, moment)
        FROM jsonb_array_elements(threads) AS element
        ORDER BY 2
        ON CONFLICT DO NOTHING;
    PERFORM 1 FROM posted_threads AS thread
        WHERE thread.owner = owner AND thread.thread_id IN (
            SELECT element ->> 'thread_id' FROM jsonb_array_elements(threads) AS element)
        ORDER BY thread.thread_id FOR NO KEY UPDATE;

    WITH given AS MATERIALIZED (
        SELECT * FROM evalqueue_posted_rows(threads)
    ), first AS (
        SELECT given.*, first_value(given.message) OVER (
            PARTITION BY given.thread_id, given.message_key ORDER BY given.place) AS meant
        FROM given
    )
    SELECT count(*), jsonb_agg(jsonb_build_object('thread', NULL, 'message', NULL, 'field', 'id',
            'problem', format('Message %s of thread %s was posted with other content',
                left(first.message ->> 'id', 100), left(first.thread_id, 100))) ORDER BY first.place)
            FILTER (WHERE first.message <> COALESCE(stored.as_posted, first.meant))
        INTO total, problems
        FROM first LEFT JOIN posted_messages AS stored ON stored.owner = owner
            AND stored.thread_id = first.thread_id AND stored.message_key = first.message_key;
    PERFORM evalqueue_refuse_posted(problems, 'unique_violation');

    WITH given AS MATERIALIZED (
        SELECT * FROM evalqueue_posted_rows(threads)
    ), fresh AS (
        SELECT DISTINCT ON (given.thread_id, given.message_key) given.* FROM given
        WHERE NOT EXISTS (SELECT FROM posted_messages AS stored WHERE stored.owner = owner
            AND stored.thread_id = given.thread_id AND stored.message_key = given.message_key)
        ORDER BY given.thread_id, given.message_key, given.place
    ), stored AS (
        INSERT INTO posted_messages (owner, thread_id, arrival, message_key, sent_at, user_id, as_posted)
        SELECT owner, fresh.thread_id, thread.messages
                + row_number() OVER (PARTITION BY fresh.thread_id ORDER BY fresh.place),
            fresh.message_key, COALESCE(fresh.at, moment), fresh.user_id, fresh.message
        FROM fresh JOIN posted_threads AS thread
            ON thread.owner = owner AND thread.thread_id = fresh.thread_id
        RETURNING 1
    ), changes AS (
        SELECT fresh.thread_id, count(*) AS messages, sum(octet_length(fresh.message::text)) AS bytes,
            min(COALESCE(fresh.at, moment)) AS first_at, max(COALESCE(fresh.at, moment)) AS last_at,
            (array_agg(fresh.app_id ORDER BY fresh.place DESC)
                FILTER (WHERE fresh.app_id IS NOT NULL))[1] AS app_id,
            array_agg(DISTINCT fresh.user_id) FILTER (WHERE fresh.user_id IS NOT NULL) AS users,
            (array_agg(evalqueue_intent_of(fresh.message) ORDER BY fresh.place DESC)
                FILTER (WHERE evalqueue_intent_of(fresh.message) IS NOT NULL))[1] AS intent,
            bool_or(evalqueue_has_error(fresh.message)) AS has_errors
        FROM fresh GROUP BY fresh.thread_id
    ), updated AS (
        UPDATE posted_threads AS thread SET
            messages = thread.messages + changes.messages,
            size_bytes = thread.size_bytes + changes.bytes,
            first_at = LEAST(thread.first_at, changes.first_at),
            last_at = GREATEST(thread.last_at, changes.last_at),
            app_id = COALESCE(changes.app_id, thread.app_id),
            user_id = COALESCE(thread.user_id, changes.users[1]),
            other_users = evalqueue_other_users(thread, changes.users),
            intent = COALESCE(changes.intent, thread.intent),
            has_errors = thread.has_errors OR changes.has_errors,
            posted_at = GREATEST(thread.posted_at,
                COALESCE((arrivals ->> thread.thread_id)::timestamptz, clock_timestamp()))
        FROM changes WHERE thread.owner = owner AND thread.thread_id = changes.thread_id
        RETURNING 1
    )
    SELECT count(*) INTO added FROM stored;
    RETURN jsonb_build_object('added', added, 'known', total - added);
EXCEPTION WHEN check_violation THEN
    RAISE EXCEPTION 'A thread may have 10000 messages of 32 MiB in all, and 100 users'
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Nothing was stored.';
END;
$$;

-- Refuse what was posted. `problems` are NULL where there are none.
CREATE OR REPLACE FUNCTION evalqueue_refuse_posted(problems jsonb, code text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    first CONSTANT jsonb := problems -> 0;
BEGIN
    IF problems IS NOT NULL THEN
        RAISE EXCEPTION '%', concat_ws(': ',
                NULLIF(concat_ws(', ', 'thread ' || (first ->> 'thread'), 'message ' || (first ->> 'message'),
                    first ->> 'field'), ''), first ->> 'problem')
            USING ERRCODE = code, DETAIL = problems::text, HINT = 'Nothing was stored.';
    END IF;
END;
$$;
