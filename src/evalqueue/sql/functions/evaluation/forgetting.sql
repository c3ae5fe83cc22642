-- Everything about one user of a chatbot is deleted: `evalqueue forget`.

-- How many rows of each table are about a user, by the user ids of stored conversations. Whom a file is
-- about that was not read yet is not known: all of these are counted.
CREATE OR REPLACE FUNCTION evalqueue_rows_of_user(forgotten text)
RETURNS TABLE (kind text, counted bigint)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH threads AS MATERIALIZED (
        SELECT dataset_id, thread_id FROM dataset_threads
        WHERE user_id = forgotten OR other_users @> ARRAY[forgotten]
    ), runs AS MATERIALIZED (
        SELECT id, job_id, dataset_id FROM eval_runs
        WHERE dataset_id IN (SELECT dataset_id FROM threads)
    ), without_run AS MATERIALIZED (
        SELECT id FROM jobs
        WHERE params ? 'dataset_id' AND NOT progress ? 'run_id'
            AND params ->> 'dataset_id' IN (SELECT dataset_id FROM threads)
    ), trials AS MATERIALIZED (
        SELECT id FROM without_run JOIN jobs USING (id) WHERE evalqueue_mixes_conversations(job_type)
    ), evaluated AS MATERIALIZED (
        SELECT row.id FROM threads JOIN runs USING (dataset_id)
        JOIN thread_evaluations AS row ON row.run_id = runs.id AND row.thread_id = threads.thread_id
    )
    SELECT 'datasets', count(DISTINCT dataset_id) FROM threads
    UNION ALL SELECT 'dataset_threads', count(*) FROM threads
    UNION ALL SELECT 'thread_evaluations', count(*) FROM evaluated
    UNION ALL SELECT 'scores', count(*) FROM evaluated JOIN scores ON evaluation_id = evaluated.id
    UNION ALL SELECT 'api_logs', (
            SELECT count(*) FROM threads JOIN runs USING (dataset_id)
            JOIN api_logs AS row ON row.run_id = runs.id AND row.thread_id = threads.thread_id
        ) + (
            SELECT count(*) FROM without_run JOIN api_logs AS row
                ON row.job_id = without_run.id AND row.run_id IS NULL
        )
    UNION ALL SELECT 'llm_questions', count(*) FROM threads JOIN runs USING (dataset_id)
        JOIN llm_questions AS row ON row.run_id = runs.id AND row.thread_id = threads.thread_id
    UNION ALL SELECT 'labels', count(*) FROM threads JOIN labels USING (dataset_id, thread_id)
    UNION ALL SELECT 'thread_notes', count(*)
        FROM threads JOIN thread_notes USING (dataset_id, thread_id)
    UNION ALL SELECT 'annotation_items', count(*) FROM threads JOIN runs USING (dataset_id)
        JOIN annotation_queues AS queue ON queue.run_id = runs.id
        JOIN annotation_items AS row ON row.queue_id = queue.id AND row.thread_id = threads.thread_id
    UNION ALL SELECT 'jobs', count(*) FROM trials
    UNION ALL SELECT 'tried_conversations', count(*)
        FROM trials JOIN tried_conversations ON job_id = trials.id
    UNION ALL SELECT 'unread_files', count(*) FROM datasets WHERE content IS NOT NULL
    UNION ALL SELECT 'posted_threads', count(*) FROM posted_threads
        WHERE user_id = forgotten OR other_users @> ARRAY[forgotten]
    UNION ALL SELECT 'posted_messages', count(*) FROM posted_threads
        JOIN posted_messages USING (owner, thread_id)
        WHERE posted_threads.user_id = forgotten OR other_users @> ARRAY[forgotten];
$$;

-- Delete some of a user's conversations of one dataset, with all rows about them. Returns how many rows
-- of each table; of dataset_threads 0: none is left. Refused (object_in_use, with the jobs as the
-- detail) while a job reads the dataset. In the same transaction
--
--   the dataset   has its figures without them, and no notices, which quote conversations
--   jobs and runs that read it have no error texts and messages any more, which may quote a
--                 conversation
--   trials and proposals that read it are deleted: their results mix conversations. So do the calls
--                 of all jobs without a run
--   jobs and schedules name them no more
--   readings of sources that brought it list no skipped conversations, which may be the user's
--
-- A file that was not read yet is deleted as a whole.
CREATE OR REPLACE FUNCTION evalqueue_forget_user(
    dataset text, forgotten text, chunk integer, audited jsonb DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    removed CONSTANT text := 'Removed with the data of a user';
    reading text;
    is_unread boolean;
    ids text[];
    runs uuid[];
    readers uuid[];
    without_run uuid[];
    trials uuid[];
    tasks bigint[];
    deleted bigint;
    counts jsonb := '{}';
    gone record;
BEGIN
    -- A transaction that submits a job that reads it waits, or is seen here.
    PERFORM 1 FROM datasets WHERE id = dataset FOR UPDATE;
    readers := ARRAY(
        SELECT id FROM jobs WHERE params ? 'dataset_id' AND params ->> 'dataset_id' = dataset
        UNION SELECT job_id FROM eval_runs WHERE dataset_id = dataset AND job_id IS NOT NULL);
    SELECT string_agg(id::text, ', ') INTO reading FROM (
        SELECT id FROM jobs WHERE id = ANY (readers) AND completed_at IS NULL AND parent_id IS NULL
        ORDER BY created_at LIMIT 10) AS going;
    IF reading IS NOT NULL THEN
        RAISE EXCEPTION 'Jobs that are not over read conversations of this user: %', reading
            USING ERRCODE = 'object_in_use', HINT = 'Cancel them, or wait.';
    END IF;

    ids := ARRAY(SELECT thread_id FROM dataset_threads
        WHERE dataset_id = dataset AND (user_id = forgotten OR other_users @> ARRAY[forgotten])
        ORDER BY thread_id LIMIT chunk);
    is_unread := EXISTS (SELECT FROM datasets WHERE id = dataset AND content IS NOT NULL);
    IF cardinality(ids) = 0 AND NOT is_unread THEN
        RETURN '{"dataset_threads": 0}';
    END IF;
    runs := ARRAY(SELECT id FROM eval_runs WHERE dataset_id = dataset);
    without_run := ARRAY(SELECT id FROM jobs WHERE id = ANY (readers) AND NOT progress ? 'run_id');
    trials := ARRAY(SELECT id FROM jobs
        WHERE id = ANY (without_run) AND evalqueue_mixes_conversations(job_type));
    IF audited IS NOT NULL THEN
        -- The id itself is not written down again: its hash says whether it was this user.
        PERFORM evalqueue_audit('user.forget', 'user',
            'sha256:' || encode(sha256(convert_to(forgotten, 'UTF8')), 'hex'), audited);
    END IF;
    UPDATE jobs SET error_message = removed
        WHERE id = ANY (readers) AND error_message <> removed;
    UPDATE jobs SET result = jsonb_set(result, '{message}', to_jsonb(removed))
        WHERE id = ANY (readers) AND result ->> 'message' <> removed;
    UPDATE jobs SET progress = jsonb_set(progress, '{message}', to_jsonb(removed))
        WHERE id = ANY (readers) AND progress ->> 'message' NOT IN ('', removed)
            AND progress ->> 'message' !~ '^\S+ \d+/\d+ \(';
    UPDATE job_attempts SET error = removed WHERE job_id = ANY (readers) AND error <> removed;
    UPDATE eval_runs SET error_message = removed
        WHERE id = ANY (runs) AND error_message <> removed;
    IF is_unread THEN
        DELETE FROM datasets WHERE id = dataset;
        RETURN '{"dataset_threads": 0, "unread_files": 1}';
    END IF;

    DELETE FROM scores WHERE evaluation_id IN (
        SELECT id FROM thread_evaluations WHERE run_id = ANY (runs) AND thread_id = ANY (ids));
    GET DIAGNOSTICS deleted = ROW_COUNT;
    counts := counts || jsonb_build_object('scores', deleted);
    DELETE FROM thread_evaluations WHERE run_id = ANY (runs) AND thread_id = ANY (ids);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    counts := counts || jsonb_build_object('thread_evaluations', deleted);
    DELETE FROM api_logs WHERE run_id = ANY (runs) AND thread_id = ANY (ids);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    counts := counts || jsonb_build_object('api_logs', deleted);
    DELETE FROM api_logs WHERE run_id IS NULL AND job_id = ANY (without_run);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    counts := counts || jsonb_build_object('api_logs', (counts ->> 'api_logs')::bigint + deleted);
    DELETE FROM llm_questions WHERE run_id = ANY (runs) AND thread_id = ANY (ids);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    counts := counts || jsonb_build_object('llm_questions', deleted);
    DELETE FROM labels WHERE dataset_id = dataset AND thread_id = ANY (ids);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    counts := counts || jsonb_build_object('labels', deleted);
    DELETE FROM thread_notes WHERE dataset_id = dataset AND thread_id = ANY (ids);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    counts := counts || jsonb_build_object('thread_notes', deleted);
    DELETE FROM annotation_items WHERE thread_id = ANY (ids)
        AND queue_id IN (SELECT id FROM annotation_queues WHERE run_id = ANY (runs));
    GET DIAGNOSTICS deleted = ROW_COUNT;
    counts := counts || jsonb_build_object('annotation_items', deleted);
    DELETE FROM job_items WHERE job_id = ANY (readers) AND item = ANY (ids);

    SELECT count(*) INTO deleted FROM tried_conversations WHERE job_id = ANY (trials);
    counts := counts || jsonb_build_object('tried_conversations', deleted);
    tasks := ARRAY(SELECT task_id FROM jobs
        WHERE id = ANY (trials) AND task_id IS NOT NULL ORDER BY task_id);
    DELETE FROM procrastinate_jobs WHERE id = ANY (tasks);
    DELETE FROM jobs WHERE id = ANY (trials);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    counts := counts || jsonb_build_object('jobs', deleted);

    UPDATE jobs SET params = evalqueue_params_without(params, ids)
        WHERE id = ANY (readers) AND params <> evalqueue_params_without(params, ids);
    UPDATE job_schedules SET params = evalqueue_params_without(params, ids)
        WHERE params ->> 'dataset_id' = dataset
            AND params <> evalqueue_params_without(params, ids);

    SELECT count(*) AS threads, sum(messages) AS messages,
            sum(evalqueue_turns_with(turns, 'has_image')) AS with_images,
            sum(evalqueue_turns_with(turns, 'error')) AS with_errors
        INTO gone
        FROM dataset_threads WHERE dataset_id = dataset AND thread_id = ANY (ids);
    UPDATE datasets SET
            threads = GREATEST(datasets.threads - gone.threads, 0),
            messages = GREATEST(datasets.messages - gone.messages, 0),
            messages_with_images = GREATEST(datasets.messages_with_images - gone.with_images, 0),
            messages_with_errors = GREATEST(datasets.messages_with_errors - gone.with_errors, 0),
            intents = evalqueue_intents_without(dataset, ids, datasets.intents),
            notices = '[]'
        WHERE id = dataset;
    DELETE FROM dataset_threads WHERE dataset_id = dataset AND thread_id = ANY (ids);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    counts := counts || jsonb_build_object('dataset_threads', deleted);
    IF NOT EXISTS (SELECT FROM dataset_threads WHERE dataset_id = dataset
            AND (user_id = forgotten OR other_users @> ARRAY[forgotten])) THEN
        UPDATE datasets SET users = rest.users,
                first_at = rest.first_at, last_at = rest.last_at
            FROM (SELECT count(DISTINCT user_id) AS users,
                    min(first_at) AS first_at, max(last_at) AS last_at
                FROM dataset_threads WHERE dataset_id = dataset) AS rest
            WHERE id = dataset;
        -- Of what a source has besides, only those who read it know whose it is.
        UPDATE jobs SET result = jsonb_set(result, '{skipped_conversations}', '{}')
            WHERE job_type = 'evaluate-source' AND result -> 'jobs' ?| readers::text[]
                AND result -> 'skipped_conversations' <> '{}';
        counts := counts || '{"datasets": 1}';
    END IF;
    RETURN counts;
END;
$$;

-- Whether such a job's result is about several conversations at once, and is of no use without one.
CREATE OR REPLACE FUNCTION evalqueue_mixes_conversations(job_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT $1 IN ('try-evaluators', 'propose-app');
$$;

-- Params of a job that name some conversations no more. An empty list would mean all conversations.
CREATE OR REPLACE FUNCTION evalqueue_params_without(params jsonb, ids text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN jsonb_typeof($1 -> 'thread_ids') = 'array' AND ($1 -> 'thread_ids') ?| $2
        THEN jsonb_set($1, '{thread_ids}',
            COALESCE(NULLIF(($1 -> 'thread_ids') - $2, '[]'), '["removed"]'))
        ELSE $1 END;
$$;

-- Turns in which a value is there, and is not false.
CREATE OR REPLACE FUNCTION evalqueue_turns_with(turns jsonb, key text) RETURNS bigint
LANGUAGE sql IMMUTABLE SET search_path FROM CURRENT AS $$
    SELECT count(*) FROM jsonb_array_elements($1) AS turn
    WHERE COALESCE(turn -> $2, 'null') NOT IN ('null', 'false');
$$;

-- The labels of a dataset and how many messages have each, without some conversations.
CREATE OR REPLACE FUNCTION evalqueue_intents_without(dataset text, ids text[], intents json)
RETURNS json
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH gone AS (
        SELECT left(turn ->> 'routed_intent', 200) AS intent, count(*) AS times
        FROM dataset_threads, jsonb_array_elements(turns) AS turn
        WHERE dataset_id = $1 AND thread_id = ANY ($2) GROUP BY 1
    ), rest AS (
        SELECT key AS intent, value::bigint - COALESCE(gone.times, 0) AS times
        FROM json_each_text($3) LEFT JOIN gone ON gone.intent = key
    )
    SELECT COALESCE(json_object_agg(intent, times ORDER BY times DESC, intent), '{}')
    FROM rest WHERE times > 0;
$$;
