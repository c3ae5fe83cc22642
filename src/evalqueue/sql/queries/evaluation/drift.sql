-- A run that is judged again, to see whether its judge still judges as it did.

-- anchor --
SELECT id, status, name, app_id, app_digest, dataset_id, llm_provider, llm_model, config
FROM eval_runs
WHERE %(run_id)s IN (id, job_id) AND owner = %(owner)s AND command = 'evaluate-batch'
ORDER BY id = %(run_id)s DESC LIMIT 1

-- judged --
SELECT thread_id FROM thread_evaluations
WHERE run_id = %(run_id)s AND error IS NULL ORDER BY id

-- served --
-- The models that answered, as their vendors named them
SELECT DISTINCT provider || '/' || model AS served FROM api_logs
WHERE run_id = %(run_id)s AND outcome = 'ok' ORDER BY served LIMIT 20
