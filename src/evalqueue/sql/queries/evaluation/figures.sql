-- run --
-- The run that figures are about; another owner's run counts as absent
SELECT id AS run_id, command, status, total_items, dataset_id, config -> 'evaluators' AS evaluators,
    config -> 'estimate' AS estimate
FROM eval_runs
WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)

-- outcomes --
-- Threads without their details. `evaluator`, `name`, `value` and `expected` (the label on record): those
-- with such a score, in any turn. `thread_ids`: only these
SELECT id, thread_id, success_status, error, missing_verdicts, messages, duration_ms, created_at,
    COALESCE((
        SELECT jsonb_object_agg(evaluator || '.' || name, COALESCE(
            to_jsonb(value_text), to_jsonb(value_number), to_jsonb(value_boolean)))
        FROM scores WHERE evaluation_id = thread_evaluations.id AND turn IS NULL
    ), '{}') AS scores
FROM thread_evaluations
WHERE run_id = %(run_id)s AND id > %(after)s
    AND (COALESCE(%(evaluator)s::text, %(name)s, %(value)s, %(expected)s) IS NULL OR id IN (
        SELECT evaluation_id FROM evalqueue_scored(
            %(run_id)s, %(evaluator)s, %(name)s, %(value)s, %(expected)s)))
    AND (%(thread_ids)s::text[] IS NULL OR thread_id = ANY (%(thread_ids)s))
ORDER BY id LIMIT %(limit)s

-- count_outcomes --
SELECT count(*) FROM thread_evaluations
WHERE run_id = %(run_id)s
    AND (COALESCE(%(evaluator)s::text, %(name)s, %(value)s, %(expected)s) IS NULL OR id IN (
        SELECT evaluation_id FROM evalqueue_scored(
            %(run_id)s, %(evaluator)s, %(name)s, %(value)s, %(expected)s)))
    AND (%(thread_ids)s::text[] IS NULL OR thread_id = ANY (%(thread_ids)s))

-- trials --
-- Trials, likewise
SELECT id, case_id, trial, label, category, difficulty, persona, tactic, verdict, goal_achieved,
    total_turns, stop_reason, error, credential, first_failing_turn, created_at
FROM adversarial_evaluations
WHERE run_id = %(run_id)s AND id > %(after)s
ORDER BY id LIMIT %(limit)s

-- count_trials --
SELECT count(*) FROM adversarial_evaluations WHERE run_id = %(run_id)s

-- threads_counted --
SELECT count(*) AS threads, count(*) FILTER (WHERE error IS NOT NULL) AS failed
FROM thread_evaluations WHERE run_id = %(run_id)s

-- labels --
-- How often each label, or yes and no, was given to whole threads
SELECT evaluator, version, name, COALESCE(value_text, value_boolean::text) AS label,
    failure IS NOT NULL AS failed, count(*) AS times
FROM scores WHERE run_id = %(run_id)s AND turn IS NULL AND kind <> 'number'
GROUP BY 1, 2, 3, 4, 5

-- turn_labels --
-- The same for turns: how many threads have been given the same labels equally often. Threads are
-- compared by their sorted labels; counted is once per group of threads that are alike. Labels from
-- the data are only compared with those on record (pairs)
SELECT evaluator, version, name, (
        SELECT jsonb_object_agg(label, times) FROM (
            SELECT label, count(*) AS times FROM unnest(alike.labels) AS label GROUP BY label
        ) AS counted
    ) AS labels, failures, threads
FROM (
    SELECT evaluator, version, name, labels, sum(failures)::bigint AS failures, count(*) AS threads
    FROM (
        SELECT evaluator, version, name, count(failure) AS failures,
            array_agg(label ORDER BY label) FILTER (WHERE label IS NOT NULL) AS labels
        FROM (
            SELECT evaluation_id, evaluator, version, name, failure,
                COALESCE(value_text, value_boolean::text) COLLATE "C" AS label
            FROM scores
            WHERE run_id = %(run_id)s AND turn IS NOT NULL AND kind <> 'number'
                AND (evaluator, name) NOT IN (SELECT * FROM unnest(
                    %(open_evaluators)s::text[], %(open_names)s::text[]))
        ) AS given
        GROUP BY evaluation_id, evaluator, version, name
    ) AS of_thread
    GROUP BY evaluator, version, name, labels
) AS alike

-- numbers --
-- Means, with the sum over threads of the squares of what they deviate by
WITH measured AS (
    SELECT evaluator, version, name, evaluation_id, value_number,
        failure IS NOT NULL AS failed,
        avg(value_number) OVER (PARTITION BY evaluator, version, name) AS mean
    FROM scores WHERE run_id = %(run_id)s AND kind = 'number'
), deviating AS (
    SELECT evaluator, version, name, mean, count(value_number) AS measured,
        count(*) FILTER (WHERE failed) AS failures,
        sum(value_number - mean) AS off, min(value_number) AS lowest, max(value_number) AS highest
    FROM measured GROUP BY evaluator, version, name, mean, evaluation_id
)
SELECT evaluator, version, name, mean, sum(measured)::bigint AS measured,
    sum(failures)::bigint AS failures, count(*) FILTER (WHERE measured > 0) AS threads,
    COALESCE(sum(off * off), 0) AS squares, min(lowest) AS lowest, max(highest) AS highest
FROM deviating GROUP BY evaluator, version, name, mean

-- pairs --
-- Which label was on record, and which one was given
SELECT evaluator, version, name, expected, value_text AS predicted, count(*) AS times
FROM scores
WHERE run_id = %(run_id)s AND (evaluator, name) IN (SELECT * FROM unnest(
        %(open_evaluators)s::text[], %(open_names)s::text[]))
    AND expected IS NOT NULL AND value_text IS NOT NULL
GROUP BY 1, 2, 3, 4, 5

-- compared --
-- How many threads have labels that can be compared with those on record
SELECT evaluator, version, name, count(failure) AS failures,
    count(DISTINCT evaluation_id) FILTER (
        WHERE expected IS NOT NULL AND value_text IS NOT NULL) AS threads
FROM scores
WHERE run_id = %(run_id)s AND (evaluator, name) IN (SELECT * FROM unnest(
        %(open_evaluators)s::text[], %(open_names)s::text[]))
GROUP BY 1, 2, 3

-- scores --
-- Those of one thread
SELECT evaluator, version, name, kind, turn, COALESCE(
        to_jsonb(value_text), to_jsonb(value_number), to_jsonb(value_boolean)) AS value,
    expected, evidence, reasoning, failure
FROM scores WHERE evaluation_id = %(evaluation_id)s AND run_id = %(run_id)s
ORDER BY evaluator, name, turn NULLS FIRST

-- coverage --
-- How many answers each evaluator was to find, and how many it found; most threads are alike in it
SELECT evaluator, sum(threads * (counted ->> 'judged')::bigint)::bigint AS judged,
    sum(threads * (counted ->> 'attempted')::bigint)::bigint AS attempted
FROM (
    SELECT coverage, count(*) AS threads FROM thread_evaluations
    WHERE run_id = %(run_id)s AND jsonb_typeof(coverage) = 'object' GROUP BY coverage
) AS alike, jsonb_each(coverage) AS each (evaluator, counted)
GROUP BY evaluator ORDER BY evaluator

-- failures --
-- Why verdicts are missing, the most frequent reason first
SELECT failure ->> 0 AS evaluator, failure ->> 1 AS reason,
    sum((failure ->> 2)::bigint)::bigint AS count, min(failure ->> 3) AS example
FROM thread_evaluations, jsonb_array_elements(failures) AS failure
WHERE run_id = %(run_id)s
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2

-- calls --
-- The LLM calls of each evaluator; how long they took: those that got an answer
SELECT evaluator, count(*) FILTER (WHERE outcome <> 'reused') AS calls,
    count(*) FILTER (WHERE outcome NOT IN ('ok', 'reused')) AS failed_calls,
    count(*) FILTER (WHERE outcome = 'reused') AS reused_calls,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE outcome = 'ok') AS p50_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE outcome = 'ok') AS p95_ms,
    max(duration_ms) FILTER (WHERE outcome = 'ok') AS max_ms,
    min(duration_ms) FILTER (WHERE outcome = 'ok') AS min_ms,
    sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out, sum(cost_usd) AS cost_usd,
    count(*) FILTER (WHERE cost_usd IS NULL AND tokens_in IS NOT NULL) AS unpriced_calls,
    min(started_at) AS first_at, max(started_at) AS last_at
FROM api_logs WHERE run_id = %(run_id)s
GROUP BY evaluator ORDER BY evaluator

-- latencies --
-- How many answered calls fall between two edges; beyond the outer ones they count with the nearest
SELECT evaluator, LEAST(GREATEST(width_bucket(duration_ms, %(edges)s::double precision[]), 1),
        cardinality(%(edges)s::double precision[]) - 1) AS bin, count(*) AS calls
FROM api_logs WHERE run_id = %(run_id)s AND outcome = 'ok'
GROUP BY 1, 2

-- timeline --
-- The LLM calls of each stretch of time, by when they began
SELECT width_bucket(started_at, %(starts)s::timestamptz[]) AS stretch, count(*) AS calls,
    count(*) FILTER (WHERE outcome <> 'ok') AS failed_calls,
    sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out
FROM api_logs WHERE run_id = %(run_id)s AND outcome <> 'reused'
GROUP BY 1

-- thread --
SELECT id, run_id, thread_id, intent_accuracy, worst_correctness, efficiency_verdict,
    success_status, error, result, created_at
FROM thread_evaluations WHERE run_id = %(run_id)s AND id = %(evaluation_id)s

-- beside --
-- The threads before and after one
SELECT (
        SELECT max(id) FROM thread_evaluations WHERE run_id = %(run_id)s AND id < %(evaluation_id)s
    ) AS previous_id, (
        SELECT min(id) FROM thread_evaluations WHERE run_id = %(run_id)s AND id > %(evaluation_id)s
    ) AS next_id

-- log --
-- One LLM call, with its texts
SELECT id, run_id, thread_id, evaluator, turn, provider, model, method, outcome, try_number,
    duration_ms, tokens_in, tokens_out, tokens_cached, tokens_reasoning, error, created_at,
    prompt, system_prompt, response, request_id, parameters
FROM api_logs WHERE run_id = %(run_id)s AND id = %(log_id)s
