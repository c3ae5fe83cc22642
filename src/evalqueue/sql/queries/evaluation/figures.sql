-- run --
-- The run that figures are about; another owner's run counts as absent
SELECT id AS run_id, command, status, total_items, dataset_id FROM eval_runs
WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)

-- outcomes --
-- Threads without their weight
SELECT id, thread_id, intent_accuracy, worst_correctness, efficiency_verdict, success_status, error,
    missing_verdicts, messages, duration_ms, created_at
FROM thread_evaluations
WHERE run_id = %(run_id)s AND id > %(after)s
ORDER BY id LIMIT %(limit)s

-- count_outcomes --
SELECT count(*) FROM thread_evaluations WHERE run_id = %(run_id)s

-- trials --
-- Trials, likewise
SELECT id, case_id, trial, label, category, difficulty, persona, tactic, verdict, goal_achieved,
    total_turns, stop_reason, error, credential, first_failing_turn, created_at
FROM adversarial_evaluations
WHERE run_id = %(run_id)s AND id > %(after)s
ORDER BY id LIMIT %(limit)s

-- count_trials --
SELECT count(*) FROM adversarial_evaluations WHERE run_id = %(run_id)s

-- counts --
-- How many threads came out in the same way
SELECT worst_correctness, efficiency_verdict, error IS NOT NULL AS failed,
    intents_correct, intents_compared, count(*) AS threads
FROM thread_evaluations WHERE run_id = %(run_id)s
GROUP BY 1, 2, 3, 4, 5

-- pairs --
-- Which label a message had, and which one the judge gave it
SELECT pair ->> 0 AS expected, pair ->> 1 AS predicted, count(*) AS messages
FROM thread_evaluations, jsonb_array_elements(intents) AS pair
WHERE run_id = %(run_id)s
GROUP BY 1, 2

-- coverage --
-- How many answers were asked of each judge, and how many came; most threads are alike in it
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
SELECT evaluator, count(*) AS calls, count(*) FILTER (WHERE outcome <> 'ok') AS failed_calls,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE outcome = 'ok') AS p50_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) FILTER (WHERE outcome = 'ok') AS p95_ms,
    max(duration_ms) FILTER (WHERE outcome = 'ok') AS max_ms,
    min(duration_ms) FILTER (WHERE outcome = 'ok') AS min_ms,
    sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out,
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
FROM api_logs WHERE run_id = %(run_id)s
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
    prompt, system_prompt, response, request_id
FROM api_logs WHERE run_id = %(run_id)s AND id = %(log_id)s
