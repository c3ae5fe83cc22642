-- What earlier runs of an owner have: it is not bought again, and tells what calls will use.

-- answers --
-- The newest answers to a question in other runs of the same owner, without those that led to a
-- failure
SELECT log.call_id, log.response AS text, log.model, log.request_id, log.duration_ms AS latency_ms,
    log.tokens_in, log.tokens_out, log.tokens_cached, log.tokens_reasoning
FROM api_logs AS log JOIN eval_runs AS run ON run.id = log.run_id
WHERE log.question_hash = %(question_hash)s AND run.owner = %(owner)s AND run.id <> %(run_id)s
    AND log.created_at >= clock_timestamp() - make_interval(secs => %(max_age_seconds)s)
    AND NOT EXISTS (
        SELECT FROM thread_evaluations AS thread,
            jsonb_array_elements(thread.result -> 'failures') AS failure
        WHERE thread.run_id = log.run_id AND thread.thread_id = log.thread_id
            AND failure ->> 'evaluator' = log.evaluator
            AND COALESCE((failure ->> 'turn')::integer, 0) = COALESCE(log.turn, 0))
ORDER BY log.id DESC LIMIT 8

-- replayable --
SELECT id, llm_provider, llm_model,
    COALESCE(config #> '{params,panel}' NOT IN ('{}', 'null'), false) AS has_panel
FROM eval_runs
WHERE %(run_id)s IN (id, job_id) AND owner = %(owner)s AND command = 'evaluate-batch'
ORDER BY id = %(run_id)s DESC LIMIT 1

-- answered --
-- Whole answers that a run of an owner was given about a thread, or took from an earlier run
SELECT log.call_id, log.evaluator, log.turn, log.method, log.prompt,
    COALESCE(log.system_prompt, '') AS system_prompt, log.response AS text, log.model,
    log.request_id, log.duration_ms AS latency_ms, log.tokens_in, log.tokens_out,
    log.tokens_cached, log.tokens_reasoning
FROM api_logs AS log JOIN eval_runs AS run ON run.id = log.run_id
WHERE log.run_id = %(run_id)s AND run.owner = %(owner)s AND log.thread_id = %(thread_id)s
    AND (log.request_hash IS NOT NULL OR log.outcome = 'reused')
ORDER BY log.id

-- evaluated --
-- Threads that other runs of the same owner had evaluated when this run was created (NULL: until
-- now): the same conversation, by the same versions of the same evaluators with the same model (NULL:
-- they ask none), and nothing is missing
SELECT DISTINCT ours.thread_id
FROM dataset_threads AS ours
JOIN thread_evaluations AS thread ON thread.thread_id = ours.thread_id
JOIN eval_runs AS run ON run.id = thread.run_id
JOIN dataset_threads AS theirs
    ON theirs.dataset_id = run.dataset_id AND theirs.thread_id = thread.thread_id
WHERE ours.dataset_id = %(dataset_id)s
    AND thread.created_at < COALESCE(
        (SELECT created_at FROM eval_runs WHERE id = %(run_id)s::uuid), 'infinity')
    AND run.id IS DISTINCT FROM %(run_id)s AND run.owner = %(owner)s
    AND run.command = 'evaluate-batch'
    AND (%(llm_provider)s::text IS NULL
        OR (run.llm_provider = %(llm_provider)s AND run.llm_model = %(llm_model)s))
    AND run.app_id = %(app_id)s
    AND thread.error IS NULL AND thread.missing_verdicts = 0
    AND thread.result -> 'evaluator_versions' @> %(versions)s
    AND ours.thread_id = ANY (%(thread_ids)s) AND ours.turns = theirs.turns

-- recent_calls --
-- Calls of one version of an evaluator with one model, of the newest runs of an owner
SELECT log.tokens_in, log.tokens_out,
    length(log.prompt) + COALESCE(length(log.system_prompt), 0) AS characters
FROM (
    SELECT id FROM (
        SELECT id, created_at, config, llm_provider, llm_model FROM eval_runs
        WHERE owner = %(owner)s ORDER BY created_at DESC, id DESC LIMIT 200
    ) AS newest
    WHERE llm_provider = %(llm_provider)s AND llm_model = %(llm_model)s
        AND config -> 'evaluator_versions' ->> %(evaluator)s = %(version)s
    ORDER BY created_at DESC LIMIT 4
) AS run CROSS JOIN LATERAL (
    SELECT tokens_in, tokens_out, prompt, system_prompt FROM api_logs
    WHERE run_id = run.id AND evaluator = %(evaluator)s AND outcome = 'ok'
        AND method = 'generate_json' AND tokens_in IS NOT NULL AND tokens_out IS NOT NULL
    ORDER BY id DESC LIMIT 40
) AS log
