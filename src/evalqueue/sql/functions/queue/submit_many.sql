-- Submit many jobs in one statement.

-- Submissions as rows, with what is left out filled in. `place` counts from 1.
CREATE OR REPLACE FUNCTION evalqueue_submissions(submissions jsonb) RETURNS TABLE (
    place bigint, job_type text, params jsonb, owner text, priority integer, scheduled_at timestamptz,
    queue text, max_attempts integer, idempotency_key text, after uuid, requested jsonb,
    traceparent text
)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT place, job_type, COALESCE(params, '{}'), COALESCE(owner, 'default'),
        COALESCE(priority, 0), scheduled_at, COALESCE(queue, 'evalqueue'),
        COALESCE(max_attempts, 3), idempotency_key, after, requested, traceparent
    FROM jsonb_array_elements($1) WITH ORDINALITY AS listed (element, place)
    CROSS JOIN LATERAL jsonb_to_record(element) AS given (
        job_type text, params jsonb, owner text, priority integer, scheduled_at timestamptz,
        queue text, max_attempts integer, idempotency_key text, after uuid, requested jsonb,
        traceparent text);
$$;

-- The first problem of each submission that can't be stored. `place` counts from 1; `field` is NULL
-- where the whole is wrong.
CREATE OR REPLACE FUNCTION evalqueue_submission_problems(submissions jsonb)
RETURNS TABLE (place bigint, field text, problem text)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH checked AS (
        SELECT place, CASE
            WHEN jsonb_typeof(element) <> 'object'
                THEN ARRAY[NULL, 'A submission is a JSON object']
            WHEN element - known.fields <> '{}'
                THEN ARRAY[(SELECT min(extra) FROM jsonb_object_keys(element - known.fields) AS extra),
                    'There is no such field']
            WHEN (job_type ~ '^[a-z][a-z0-9-]{0,49}$') IS NOT TRUE
                THEN ARRAY['job_type', 'From 1 to 50 lowercase letters, digits and hyphens']
            WHEN jsonb_typeof(params) <> 'object'
                THEN ARRAY['params', 'The params of a job are a JSON object']
            WHEN evalqueue_json_problem(params) IS NOT NULL
                THEN ARRAY['params', evalqueue_json_problem(params)]
            -- A secret must not be stored in a row.
            WHEN COALESCE(params ->> 'api_key', params ->> 'service_account_path') IS NOT NULL
                THEN ARRAY['params', 'Credentials never travel in a job. '
                    'Set them in the environment of the worker.']
            WHEN length(owner) NOT BETWEEN 1 AND 200
                THEN ARRAY['owner', 'From 1 to 200 characters']
            WHEN octet_length(queue) NOT BETWEEN 1 AND 40
                THEN ARRAY['queue', 'From 1 to 40 bytes']
            WHEN evalqueue_line_problem(owner) IS NOT NULL
                THEN ARRAY['owner', evalqueue_line_problem(owner)]
            WHEN evalqueue_line_problem(queue) IS NOT NULL
                THEN ARRAY['queue', evalqueue_line_problem(queue)]
            WHEN length(idempotency_key) NOT BETWEEN 1 AND 255
                THEN ARRAY['idempotency_key', 'From 1 to 255 characters']
            WHEN priority !~ '^-?[0-9]{1,9}$'
                THEN ARRAY['priority', 'An integer of at most nine digits']
            WHEN max_attempts !~ '^[1-9][0-9]{0,8}$'
                THEN ARRAY['max_attempts', 'A positive integer of at most nine digits']
            WHEN scheduled_at::timestamptz >= '9999-01-01 00:00+00'
                THEN ARRAY['scheduled_at', 'Later than any job can wait']
            WHEN after !~ '^[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}$'
                THEN ARRAY['after', 'The id of a job']
            END AS found
        FROM jsonb_array_elements($1) WITH ORDINALITY AS listed (element, place)
        CROSS JOIN (SELECT ARRAY['job_type', 'params', 'owner', 'priority', 'scheduled_at', 'queue',
            'max_attempts', 'idempotency_key', 'after', 'requested', 'traceparent'] AS fields) AS known
        CROSS JOIN LATERAL jsonb_to_record(
            CASE jsonb_typeof(element) WHEN 'object' THEN element ELSE '{}' END
        ) AS given (job_type text, params jsonb, owner text, priority text, scheduled_at text,
            queue text, max_attempts text, idempotency_key text, after text)
    )
    SELECT place, found[1], found[2] FROM checked WHERE found IS NOT NULL ORDER BY place;
$$;

-- Refuse a batch: the message names the first problem, the detail all of them, as a JSON array of
-- `{"index", "field", "problem"}`. `index` counts from 0.
CREATE OR REPLACE FUNCTION evalqueue_refuse_submissions(problems jsonb, code text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF problems IS NOT NULL THEN
        RAISE EXCEPTION '%', format('Submission %s: %s', problems -> 0 ->> 'index',
                problems -> 0 ->> 'problem')
            USING ERRCODE = code, DETAIL = problems::text,
                  HINT = format('Nothing was stored; wrong submissions: %s',
                      jsonb_array_length(problems));
    END IF;
END;
$$;

-- Submit many jobs: like evalqueue_submit_job for each element of the array, in its order, but all of
-- them or none. The keys of an element are the parameters of evalqueue_submit_job; `requested` are
-- the params as they came. Returns the jobs in the order of the array: the same one for elements with
-- the same idempotency key of the same owner.
CREATE OR REPLACE FUNCTION evalqueue_submit_job_rows(submissions jsonb) RETURNS SETOF jobs
LANGUAGE plpgsql SET search_path FROM CURRENT
-- A plan that was made for a small table must not read a whole one once it has grown.
SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    problems jsonb;
    ids uuid[];     -- of the job of each element
    fresh bigint[]; -- the places of the elements that make a job
BEGIN
    IF jsonb_typeof(submissions) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'The submissions are a JSON array'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT jsonb_agg(jsonb_build_object('index', place - 1, 'field', field, 'problem', problem))
        INTO problems FROM evalqueue_submission_problems(submissions);
    PERFORM evalqueue_refuse_submissions(problems, 'invalid_parameter_value');

    -- In a fixed order, so that two batches don't wait for each other.
    PERFORM evalqueue_lock_keys_of(owner) FROM (
        SELECT DISTINCT owner FROM evalqueue_submissions(submissions)
        WHERE idempotency_key IS NOT NULL ORDER BY owner) AS owners;
    IF NOT FOUND THEN
        SELECT array_agg(gen_random_uuid()), array_agg(place) INTO ids, fresh
            FROM generate_series(1, jsonb_array_length(submissions)) AS place;
    ELSE
        WITH given AS (
            SELECT place, owner, idempotency_key, gen_random_uuid() AS id,
                evalqueue_fingerprint(job_type, COALESCE(requested, params), priority,
                    scheduled_at, queue, max_attempts, after) AS fingerprint,
                CASE WHEN idempotency_key IS NULL THEN place END AS alone
            FROM evalqueue_submissions(submissions)
        ), first AS (
            SELECT given.*, first_value(place) OVER same AS first_place,
                first_value(id) OVER same AS first_id,
                first_value(fingerprint) OVER same AS first_fingerprint
            FROM given
            WINDOW same AS (PARTITION BY owner, idempotency_key, alone ORDER BY place)
        ), resolved AS (
            SELECT first.place, COALESCE(stored.id, first_id) AS id,
                stored.id IS NULL AND first.place = first_place AS is_fresh,
                first.fingerprint <> COALESCE(stored.fingerprint, first_fingerprint) AS is_other,
                stored.id AS stored_id, first_place
            FROM first LEFT JOIN jobs AS stored
                ON stored.owner = first.owner AND stored.idempotency_key = first.idempotency_key
        )
        SELECT array_agg(id ORDER BY place),
            COALESCE(array_agg(place ORDER BY place) FILTER (WHERE is_fresh), '{}'),
            jsonb_agg(jsonb_build_object(
                'index', place - 1, 'field', 'idempotency_key', 'problem', format(
                    'This idempotency key was used for another request, %s',
                    COALESCE('job ' || stored_id, format('submission %s', first_place - 1)))
            ) ORDER BY place) FILTER (WHERE is_other)
            INTO ids, fresh, problems FROM resolved;
        PERFORM evalqueue_refuse_submissions(problems, 'unique_violation');
    END IF;

    SELECT jsonb_agg(jsonb_build_object('index', given.place - 1, 'field', 'after', 'problem', format(
                'Job %s is %s: nothing can start after it', given.after,
                COALESCE(predecessor.status, 'not there'))) ORDER BY given.place)
        INTO problems
        FROM evalqueue_submissions(submissions) AS given
            LEFT JOIN jobs AS predecessor ON predecessor.id = given.after
        WHERE given.after IS NOT NULL AND given.place = ANY (fresh)
            AND (predecessor.id IS NULL OR predecessor.status IN ('failed', 'cancelled'));
    PERFORM evalqueue_refuse_submissions(problems, 'invalid_parameter_value');

    WITH given AS MATERIALIZED (
        SELECT submitted.*, wanted.number, ids[submitted.place] AS id,
            -- A time in the past is now: it brings no job ahead of others.
            CASE WHEN scheduled_at > moment THEN scheduled_at END AS not_before
        FROM unnest(fresh) WITH ORDINALITY AS wanted (place, number)
            JOIN evalqueue_submissions(submissions) AS submitted USING (place)
    ), tasks AS MATERIALIZED (
        SELECT deferred.* FROM (
            SELECT array_agg(ROW(
                queue, 'evalqueue.run_job', priority, NULL, NULL,
                jsonb_build_object('job_id', id), not_before
            )::procrastinate_job_to_defer_v1 ORDER BY number) AS all_tasks FROM given
        ) AS listed CROSS JOIN LATERAL unnest(procrastinate_defer_jobs_v1(all_tasks))
            WITH ORDINALITY AS deferred (task_id, number)
    )
    INSERT INTO jobs (
        id, job_type, params, owner, queue, priority, due_at, task_id, max_attempts,
        idempotency_key, fingerprint, after_id, waiting, traceparent
    )
    SELECT id, job_type, params, owner, queue, priority, COALESCE(not_before, moment), task_id,
        max_attempts, idempotency_key,
        CASE WHEN idempotency_key IS NOT NULL THEN evalqueue_fingerprint(
            job_type, COALESCE(requested, params), priority, scheduled_at, queue, max_attempts, after)
        END, after,
        after IS NOT NULL AND (SELECT status FROM jobs WHERE jobs.id = after) <> 'completed',
        evalqueue_traceparent(traceparent)
    FROM given JOIN tasks USING (number) ORDER BY number;
    PERFORM evalqueue_check_size(jobs.params) FROM jobs
        -- Compressed; what has so few bytes is not too large.
        WHERE jobs.id = ANY (ids) AND pg_column_size(jobs.params) > 500;

    RETURN QUERY SELECT jobs.* FROM unnest(ids) WITH ORDINALITY AS listed (id, place)
        JOIN jobs USING (id) ORDER BY place;
END;
$$;

-- The same, for callers that only want the ids.
CREATE OR REPLACE FUNCTION evalqueue_submit_jobs(submissions jsonb) RETURNS SETOF uuid
LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT id FROM evalqueue_submit_job_rows($1);
$$;
