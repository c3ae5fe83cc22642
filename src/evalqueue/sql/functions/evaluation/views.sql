-- Views for programs that read results: docs/sql.md describes them. Their columns stay; new ones come
-- at the end.

-- Every score with its run. That a conversation is of the same run is said again, so that of one run
-- no other's conversations are read.
CREATE OR REPLACE VIEW evalqueue_scores AS
SELECT scores.run_id, eval_runs.app_id, eval_runs.owner, eval_runs.llm_model, scores.thread_id,
    scores.turn, scores.evaluator, scores.version, scores.name, scores.value_text,
    scores.value_number, scores.value_boolean, scores.expected, scores.reasoning, scores.failure,
    thread_evaluations.created_at
FROM scores
    JOIN eval_runs ON eval_runs.id = scores.run_id
    JOIN thread_evaluations ON thread_evaluations.run_id = scores.run_id
        AND thread_evaluations.id = scores.evaluation_id;

-- How often each label came in each run. Each run is counted by itself, by its part of an index:
-- grouped all together, a question about one app or owner would count the scores of all.
CREATE OR REPLACE VIEW evalqueue_rates AS
SELECT eval_runs.id AS run_id, eval_runs.app_id, eval_runs.owner, eval_runs.llm_model,
    labelled.evaluator, labelled.version, labelled.name, labelled.value, labelled.counted,
    labelled.judged, evaluated.conversations,
    labelled.counted::double precision / labelled.judged AS rate, eval_runs.created_at
FROM eval_runs
    CROSS JOIN LATERAL (
        SELECT evaluator, version, name, COALESCE(value_text, value_boolean::text) AS value,
            count(*) AS counted,
            sum(count(*)) OVER (PARTITION BY evaluator, version, name)::bigint AS judged
        FROM scores
        WHERE run_id = eval_runs.id AND num_nonnulls(value_text, value_boolean) = 1
        GROUP BY 1, 2, 3, 4
    ) AS labelled
    CROSS JOIN LATERAL (
        SELECT count(*) AS conversations FROM thread_evaluations WHERE run_id = eval_runs.id
    ) AS evaluated;
