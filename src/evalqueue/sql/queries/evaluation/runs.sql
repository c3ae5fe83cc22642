-- RUN_COLUMNS --
id, job_id, command, status, app_id, name, description, llm_provider, llm_model, eval_temperature,
    data_path, data_file_hash, dataset_id, app_digest, config, total_items, duration_seconds, summary,
    error_message, owner, created_at, started_at, completed_at

-- declare --
-- Jobs of this type have a run from now on, and so have those that wait already
SELECT evalqueue_declare_job_type(%(job_type)s)

-- open --
-- The run's frozen config, written when it first starts; a later attempt leaves it as it is
WITH frozen AS (
    UPDATE eval_runs SET
        app_id = %(app_id)s, llm_provider = %(llm_provider)s, llm_model = %(llm_model)s,
        eval_temperature = %(eval_temperature)s, data_path = %(data_path)s,
        data_file_hash = %(data_file_hash)s, dataset_id = %(dataset_id)s, app_digest = %(app_digest)s,
        total_items = %(total_items)s, config = %(config)s
    WHERE id = %(run_id)s AND config = '{}'
    RETURNING data_file_hash
)
SELECT COALESCE((SELECT data_file_hash FROM frozen), data_file_hash) AS data_file_hash,
    EXISTS (SELECT FROM frozen) AS is_first
FROM eval_runs WHERE id = %(run_id)s

-- checkpoint --
-- Threads that this job has nothing more to do for: they are complete, or as complete as it could
-- make them
SELECT thread_id, error IS NULL AS succeeded FROM thread_evaluations
WHERE run_id = %(run_id)s AND (missing_verdicts = 0 OR job_id = %(job_id)s)

-- keep --
-- One thread's result, which is the checkpoint, and its scores
WITH kept AS (
    INSERT INTO thread_evaluations (
        run_id, job_id, thread_id, data_file_hash, intent_accuracy, worst_correctness,
        efficiency_verdict, success_status, error, result, attempt, duration_ms
    ) VALUES (
        %(run_id)s, %(job_id)s, %(thread_id)s, %(data_file_hash)s, %(intent_accuracy)s,
        %(worst_correctness)s, %(efficiency_verdict)s, %(success_status)s, %(error)s, %(result)s,
        %(attempt)s, %(duration_ms)s
    )
    ON CONFLICT (run_id, thread_id) DO UPDATE SET
        job_id = EXCLUDED.job_id, data_file_hash = EXCLUDED.data_file_hash,
        intent_accuracy = EXCLUDED.intent_accuracy, worst_correctness = EXCLUDED.worst_correctness,
        efficiency_verdict = EXCLUDED.efficiency_verdict, success_status = EXCLUDED.success_status,
        error = EXCLUDED.error, result = EXCLUDED.result, attempt = EXCLUDED.attempt,
        duration_ms = EXCLUDED.duration_ms, created_at = EXCLUDED.created_at
    -- The same job says it again when the answer to the first time was lost: nothing changes.
    -- Another job's verdicts are replaced by no fewer than there were.
    WHERE thread_evaluations.job_id IS DISTINCT FROM EXCLUDED.job_id
        AND thread_evaluations.missing_verdicts > 0
        AND thread_evaluations.missing_verdicts >= EXCLUDED.missing_verdicts
    RETURNING id, run_id, thread_id
), replaced AS (
    DELETE FROM scores USING kept WHERE evaluation_id = kept.id RETURNING 1
)
INSERT INTO scores (
    run_id, evaluation_id, thread_id, turn, evaluator, version, name, kind, value_text, value_number,
    value_boolean, expected, evidence, reasoning, failure
)
SELECT kept.run_id, kept.id, kept.thread_id, score.turn, score.evaluator, score.version, score.name,
    score.kind, score.value_text, score.value_number, score.value_boolean, score.expected,
    score.evidence, score.reasoning, score.failure
FROM kept, json_populate_recordset(NULL::scores, %(scores)s) AS score
WHERE (SELECT count(*) FROM replaced) >= 0  -- what is replaced is gone before the new is there

-- recorded --
-- Answers bought for some threads, newest first. Those that led to a failure are requested anew, except
-- by the job that has done so already
SELECT thread_id, request_hash, response AS text, model, request_id, duration_ms AS latency_ms,
    tokens_in, tokens_out, tokens_cached, tokens_reasoning, job_id <> %(job_id)s AS is_of_other_job
FROM api_logs
WHERE run_id = %(run_id)s AND thread_id = ANY (%(thread_ids)s::text[]) AND request_hash IS NOT NULL
    AND (job_id = %(job_id)s OR (thread_id, evaluator, COALESCE(turn, 0)) NOT IN (
        SELECT thread_id, failure ->> 'evaluator', COALESCE((failure ->> 'turn')::integer, 0)
        FROM thread_evaluations, jsonb_array_elements(result -> 'failures') AS failure
        WHERE run_id = %(run_id)s AND thread_id = ANY (%(thread_ids)s::text[])
    ))
ORDER BY id DESC

-- outcomes --
-- What counts of each thread, without the weight of its result
SELECT thread_id, success_status, error,
    jsonb_build_object(
        'failures', result -> 'failures', 'coverage', result -> 'coverage',
        'evaluator_versions', result -> 'evaluator_versions'
    ) AS result,
    (
        SELECT jsonb_agg(jsonb_build_array(evaluator, version, name, COALESCE(
            to_jsonb(value_text), to_jsonb(value_number), to_jsonb(value_boolean))))
        FROM scores
        WHERE evaluation_id = thread_evaluations.id AND turn IS NULL
            AND num_nonnulls(value_text, value_number, value_boolean) = 1
    ) AS scores
FROM thread_evaluations WHERE run_id = %(run_id)s ORDER BY id

-- log --
-- Repeated when the answer to the first time was lost: what is stored already stays
INSERT INTO api_logs (
    run_id, job_id, call_id, thread_id, test_case_label, evaluator, turn, provider, model, method,
    outcome, try_number, prompt, system_prompt, response, error, duration_ms, tokens_in, tokens_out,
    tokens_cached, tokens_reasoning, cost_usd, request_id, parameters, request_hash,
    question_hash, batched, attempt, started_at
)
SELECT
    run_id, job_id, call_id, thread_id, test_case_label, evaluator, turn, provider, model, method,
    outcome, try_number, prompt, system_prompt, response, error, duration_ms, tokens_in, tokens_out,
    tokens_cached, tokens_reasoning, cost_usd, request_id, parameters, request_hash,
    question_hash, batched, attempt, started_at
FROM json_populate_recordset(NULL::api_logs, %(calls)s)
ON CONFLICT (call_id) DO NOTHING
RETURNING call_id

-- list --
SELECT RUN_COLUMNS FROM eval_runs
WHERE (%(command)s::text IS NULL OR command = %(command)s)
    AND (%(app_id)s::text IS NULL OR app_id = %(app_id)s)
    AND (%(owner)s::text IS NULL OR owner = %(owner)s)
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s OFFSET %(offset)s

-- get --
-- An owner of NULL means any owner; here and below
SELECT RUN_COLUMNS FROM eval_runs
WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)

-- matching --
-- Runs whose id, or the id of a job of theirs, is in a range, or that have a name, newest first
SELECT RUN_COLUMNS FROM eval_runs
WHERE id BETWEEN %(first)s AND %(last)s OR name = %(name)s OR id IN (
    SELECT CASE WHEN progress ->> 'run_id' ~ '^[0-9a-f-]{36}$'
        THEN (progress ->> 'run_id')::uuid END
    FROM jobs WHERE id BETWEEN %(first)s AND %(last)s)
ORDER BY created_at DESC, id DESC LIMIT %(limit)s

-- threads --
-- `evaluator`, `name`, `value` and `expected` (the label on record): those with such a score, in any turn.
-- `thread_ids`: only these
SELECT id, run_id, thread_id, intent_accuracy, worst_correctness, efficiency_verdict,
    success_status, error, result, created_at
FROM thread_evaluations
WHERE run_id = (
        SELECT id FROM eval_runs
        WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s))
    AND id > %(after)s
    AND (COALESCE(%(evaluator)s::text, %(name)s, %(value)s, %(expected)s) IS NULL OR id IN (
        SELECT evaluation_id FROM evalqueue_scored(
            %(run_id)s, %(evaluator)s, %(name)s, %(value)s, %(expected)s)))
    AND (%(thread_ids)s::text[] IS NULL OR thread_id = ANY (%(thread_ids)s))
ORDER BY id LIMIT %(limit)s

-- count_threads --
SELECT count(*) FROM thread_evaluations
WHERE run_id = (
        SELECT id FROM eval_runs
        WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s))
    AND (COALESCE(%(evaluator)s::text, %(name)s, %(value)s, %(expected)s) IS NULL OR id IN (
        SELECT evaluation_id FROM evalqueue_scored(
            %(run_id)s, %(evaluator)s, %(name)s, %(value)s, %(expected)s)))
    AND (%(thread_ids)s::text[] IS NULL OR thread_id = ANY (%(thread_ids)s))

-- logs --
-- Newest first, without prompts and answers
SELECT id, run_id, thread_id, evaluator, turn, provider, model, method, outcome, try_number,
    duration_ms, tokens_in, tokens_out, tokens_cached, tokens_reasoning, error, created_at
FROM api_logs
WHERE run_id = (
        SELECT id FROM eval_runs
        WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s))
ORDER BY id DESC LIMIT %(limit)s OFFSET %(offset)s

-- logs_of_thread --
SELECT id, run_id, thread_id, evaluator, turn, provider, model, method, outcome, try_number,
    duration_ms, tokens_in, tokens_out, tokens_cached, tokens_reasoning, error, created_at
FROM api_logs
WHERE run_id = (
        SELECT id FROM eval_runs
        WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s))
    AND thread_id = %(thread_id)s
ORDER BY id DESC LIMIT %(limit)s OFFSET %(offset)s

-- stats --
-- An owner's runs are looked up: with OR in place of CASE, all rows would be read. DISTINCT in a
-- subquery is computed by several processes
SELECT (
        SELECT count(*) FROM eval_runs WHERE %(owner)s::text IS NULL OR owner = %(owner)s
    ) AS total_runs, CASE WHEN %(owner)s::text IS NULL THEN (
        SELECT count(*) FROM (SELECT DISTINCT thread_id FROM thread_evaluations) AS threads
    ) ELSE (
        SELECT count(*) FROM (
            SELECT DISTINCT thread_id FROM thread_evaluations
            WHERE run_id IN (SELECT id FROM eval_runs WHERE owner = %(owner)s)
        ) AS threads
    ) END AS total_threads_evaluated, CASE WHEN %(owner)s::text IS NULL THEN (
        SELECT count(*) FROM adversarial_evaluations
    ) ELSE (
        SELECT count(*) FROM adversarial_evaluations
        WHERE run_id IN (SELECT id FROM eval_runs WHERE owner = %(owner)s)
    ) END AS total_adversarial_tests

-- usage --
-- What a run's LLM calls came to; a sum over nothing known is NULL. Each set of parameters is found
-- by one look-up in the index, and not by reading all calls
WITH RECURSIVE sent AS (
    (
        SELECT md5(parameters::text) AS digest FROM api_logs
        WHERE run_id = %(run_id)s AND parameters IS NOT NULL
        ORDER BY md5(parameters::text) LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT md5(parameters::text) FROM api_logs
        WHERE run_id = %(run_id)s AND parameters IS NOT NULL
            AND md5(parameters::text) > sent.digest
        ORDER BY md5(parameters::text) LIMIT 1
    )
    FROM sent WHERE digest IS NOT NULL
)
SELECT count(*) FILTER (WHERE outcome <> 'reused') AS calls,
    count(*) FILTER (WHERE outcome NOT IN ('ok', 'reused')) AS failed_calls,
    count(*) FILTER (WHERE outcome = 'reused') AS reused_calls,
    count(*) FILTER (WHERE batched) AS batched_calls,
    sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out, sum(cost_usd) AS cost_usd,
    count(*) FILTER (WHERE cost_usd IS NULL AND tokens_in IS NOT NULL) AS unpriced_calls,
    ARRAY(
        SELECT (
            SELECT parameters FROM api_logs
            WHERE run_id = %(run_id)s AND parameters IS NOT NULL
                AND md5(parameters::text) = each.digest
            LIMIT 1
        )
        FROM (SELECT digest FROM sent WHERE digest IS NOT NULL LIMIT 20) AS each
    ) AS parameters
FROM api_logs WHERE run_id = %(run_id)s
