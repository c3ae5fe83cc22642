-- Tables of applications whose new rows are posted messages.
--
-- In the application's transaction a row is only written down: there it waits for no lock and is not
-- checked, so that it costs little and refuses nothing. A job stores the messages before it reads them.

-- The rows that a statement has added to a watched table are written down.
--
-- It runs with the rights of evalqueue's owner, whichever role inserts. So it reads columns by their output
-- functions alone: a cast could be a function of the table's owner. The columns are the trigger's
-- arguments, which only those can set who may create triggers on the table.
CREATE OR REPLACE FUNCTION evalqueue_post_rows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET timezone TO 'UTC' SET datestyle TO 'ISO' AS $$
DECLARE
    columns text;
BEGIN
    SELECT string_agg(format('%L, CASE WHEN %I IS NOT NULL THEN left(concat(%2$I), 262145) END',
            key, value), ', ') INTO columns FROM jsonb_each_text(TG_ARGV[1]::jsonb);
    EXECUTE format('INSERT INTO watched_rows (owner, cells)
        SELECT $1, jsonb_build_object(%s) FROM evalqueue_added', columns) USING TG_ARGV[0];
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    -- As where a column was renamed. The application's transaction goes on.
    RAISE WARNING 'evalqueue can not read new rows of %: %', TG_RELID::regclass, SQLERRM;
    BEGIN
        INSERT INTO watched_rows (owner, problem)
            SELECT TG_ARGV[0], format('%s: %s', TG_RELID::regclass,
                CASE SQLSTATE WHEN '42703' THEN SQLERRM ELSE 'SQLSTATE ' || SQLSTATE END)
            FROM evalqueue_added;
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'evalqueue can not count them: %', SQLERRM;
    END;
    RETURN NULL;
END;
$$;

-- Post each new row of a table as a message, in the transaction that inserts it. The other arguments
-- name the table's columns; NULL: it has none. Called again, it replaces what was there. Needs
-- the right to create triggers on the table.
CREATE OR REPLACE FUNCTION evalqueue_watch(
    relation regclass,
    thread_id text,
    content text DEFAULT 'content',
    role text DEFAULT 'role',
    id text DEFAULT 'id',
    sent_at text DEFAULT NULL,
    user_id text DEFAULT NULL,
    app_id text DEFAULT NULL,
    intent text DEFAULT NULL,
    error text DEFAULT NULL,
    tool_calls text DEFAULT NULL,
    owner text DEFAULT 'default'
) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    mapping jsonb := jsonb_strip_nulls(jsonb_build_object(
        'thread_id', thread_id, 'content', content, 'role', role, 'id', id, 'sent_at', sent_at,
        'user_id', user_id, 'app_id', app_id, 'intent', intent, 'error', error,
        'tool_calls', tool_calls));
    missing text;
BEGIN
    IF octet_length(owner) NOT BETWEEN 1 AND 200 OR owner ~ '[[:cntrl:]]' THEN
        RAISE EXCEPTION 'owner: one line of 1 to 200 bytes'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT mapping ?& ARRAY['thread_id', 'content', 'role'] THEN
        RAISE EXCEPTION 'Name the columns of thread_id, content and role'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT string_agg(value, ', ') INTO missing FROM jsonb_each_text(mapping)
        WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = relation AND attname = value
            AND attnum > 0 AND NOT attisdropped);
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION '% has no column %', relation, missing
            USING ERRCODE = 'undefined_column', HINT = (
                SELECT 'It has ' || string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
                WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped);
    END IF;
    -- Where a content is JSON, it may be a list of parts.
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = relation AND attname = content
            AND atttypid IN ('json'::regtype, 'jsonb'::regtype)) THEN
        mapping := mapping - 'content' || jsonb_build_object('content_as_json', content);
    END IF;
    EXECUTE format('CREATE OR REPLACE TRIGGER evalqueue_post_rows AFTER INSERT ON %s
        REFERENCING NEW TABLE AS evalqueue_added
        FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_post_rows(%L, %L)', relation, owner, mapping);
END;
$$;

-- Post no more rows of a table. False: they were not posted. Needs to own the table.
CREATE OR REPLACE FUNCTION evalqueue_unwatch(relation regclass) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger
            WHERE tgrelid = relation AND tgname = 'evalqueue_post_rows') THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TRIGGER evalqueue_post_rows ON %s', relation);
    RETURN true;
END;
$$;

-- A text as JSON; NULL: it is none that can be stored.
CREATE OR REPLACE FUNCTION evalqueue_as_json(value text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN value::jsonb;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END;
$$;

-- A watched row as a thread with one message, for evalqueue_post_messages.
CREATE OR REPLACE FUNCTION evalqueue_row_as_thread(watched watched_rows) RETURNS jsonb
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object(
        'thread_id', message -> 'thread_id', 'app_id', message -> 'app_id',
        'user_id', message -> 'user_id'
    )) || jsonb_build_object('messages', jsonb_build_array(jsonb_strip_nulls(
        message - ARRAY['thread_id', 'app_id', 'user_id', 'sent_at', 'content_as_json', 'tool_calls']
    ) || jsonb_strip_nulls(jsonb_build_object(
        'content', COALESCE(message -> 'content', evalqueue_as_json(message ->> 'content_as_json')),
        'tool_calls', evalqueue_as_json(message ->> 'tool_calls'),
        -- Postgres writes whole hours as +00, ISO 8601 with minutes.
        'timestamp', COALESCE(
            regexp_replace(message ->> 'sent_at', '(:\d\d(?:\.\d+)?[+-]\d\d)$', '\1:00'),
            to_jsonb($1.arrived_at) #>> '{}')))))
    FROM (SELECT $1.cells) AS watched (message);
$$;

-- Count rows that are no messages.
CREATE OR REPLACE FUNCTION evalqueue_skip_rows(owner text, problem text, times bigint) RETURNS void
LANGUAGE sql SET search_path FROM CURRENT AS $$
    INSERT INTO skipped_rows AS earlier (owner, problem, occurrences) VALUES ($1, $2, $3)
    ON CONFLICT (owner, problem) DO UPDATE
        SET occurrences = earlier.occurrences + EXCLUDED.occurrences, last_at = clock_timestamp();
$$;

-- Store the first hundred of an owner's watched rows as posted messages. Those that are none are
-- counted. Returns how many rows it has taken; 0: there is none.
CREATE OR REPLACE FUNCTION evalqueue_store_rows(owner text) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    taken watched_rows[];
    threads jsonb[];
    problems text[];
    each integer;
BEGIN
    WITH gone AS (
        DELETE FROM watched_rows WHERE id = ANY (ARRAY(
            SELECT watched.id FROM watched_rows AS watched WHERE watched.owner = owner
            ORDER BY watched.id LIMIT 100 FOR UPDATE SKIP LOCKED))
        RETURNING watched_rows
    )
    SELECT array_agg(gone.watched_rows ORDER BY (gone.watched_rows).id) INTO taken FROM gone;
    IF taken IS NULL THEN
        RETURN 0;
    END IF;
    SELECT array_agg(evalqueue_row_as_thread(taken[place]) ORDER BY place),
            array_agg((taken[place]).problem ORDER BY place)
        INTO threads, problems FROM generate_subscripts(taken, 1) AS place;
    SELECT array_agg(COALESCE(problems[place], found.reason) ORDER BY place) INTO problems
        FROM generate_subscripts(taken, 1) AS place LEFT JOIN (
            SELECT DISTINCT ON (wrong.thread) wrong.thread + 1 AS number,
                concat_ws(': ', wrong.field, wrong.problem) AS reason
            FROM evalqueue_posted_problems(to_jsonb(threads)) AS wrong ORDER BY wrong.thread
        ) AS found ON found.number = place;
    BEGIN
        PERFORM evalqueue_post_messages(good.list, owner, good.arrivals) FROM (
            SELECT jsonb_agg(threads[place] ORDER BY place) AS list,
                jsonb_object_agg(threads[place] ->> 'thread_id', (taken[place]).arrived_at
                    ORDER BY place) AS arrivals  -- the last one of each thread
            FROM generate_subscripts(taken, 1) AS place WHERE problems[place] IS NULL
        ) AS good WHERE good.list IS NOT NULL;
    EXCEPTION WHEN unique_violation OR invalid_parameter_value THEN
        FOREACH each IN ARRAY ARRAY(SELECT place FROM generate_subscripts(taken, 1) AS place
                WHERE problems[place] IS NULL ORDER BY place) LOOP
            BEGIN
                PERFORM evalqueue_post_messages(threads[each], owner, jsonb_build_object(
                    threads[each] ->> 'thread_id', (taken[each]).arrived_at));
            EXCEPTION
                WHEN unique_violation THEN
                    problems[each] := 'id: another message of the thread has it';
                WHEN invalid_parameter_value THEN
                    problems[each] := SQLERRM;
            END;
        END LOOP;
    END;
    PERFORM evalqueue_skip_rows(owner, reason, count(*))
        FROM unnest(problems) AS reason WHERE reason IS NOT NULL GROUP BY reason;
    RETURN cardinality(taken);
END;
$$;
