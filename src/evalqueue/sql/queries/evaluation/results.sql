-- worst --
-- Conversations of a run, the worst first: by the rank of the worst label (1 is the worst), then those
-- of which verdicts are missing, then by how many labels are bad, then by their numbers, of which 0 is
-- the worst and 1 the best. Only those that have all scores that are wanted, in any turn, and
-- (thread_ids) only these
WITH labelled AS (
    SELECT scores.evaluation_id, min(known.rank) AS worst, count(*) FILTER (WHERE known.is_bad) AS bad
    FROM scores JOIN unnest(
            %(evaluators)s::text[], %(names)s::text[], %(labels)s::text[], %(ranks)s::integer[],
            %(are_bad)s::boolean[]
        ) AS known (evaluator, name, label, rank, is_bad)
        ON known.evaluator = scores.evaluator AND known.name = scores.name
            AND known.label = COALESCE(scores.value_text, scores.value_boolean::text)
    WHERE scores.run_id = %(run_id)s AND scores.turn IS NULL
    GROUP BY 1
), numbered AS (
    SELECT scores.evaluation_id,
        avg((scores.value_number - known.worst) / (known.best - known.worst)) AS mean
    FROM scores JOIN unnest(
            %(number_evaluators)s::text[], %(number_names)s::text[],
            %(worst_numbers)s::double precision[], %(best_numbers)s::double precision[]
        ) AS known (evaluator, name, worst, best)
        ON known.evaluator = scores.evaluator AND known.name = scores.name
    WHERE scores.run_id = %(run_id)s AND scores.turn IS NULL
    GROUP BY 1
)
SELECT id, thread_id, success_status, error, missing_verdicts, messages,
    COALESCE((
        SELECT jsonb_object_agg(evaluator || '.' || name, COALESCE(
            to_jsonb(value_text), to_jsonb(value_number), to_jsonb(value_boolean)))
        FROM scores WHERE evaluation_id = thread_evaluations.id AND turn IS NULL
    ), '{}') AS scores,
    COALESCE(labelled.bad, 0) AS bad, count(*) OVER () AS found,
    count(*) FILTER (WHERE labelled.bad > 0) OVER () AS found_bad
FROM thread_evaluations
    LEFT JOIN labelled ON labelled.evaluation_id = thread_evaluations.id
    LEFT JOIN numbered ON numbered.evaluation_id = thread_evaluations.id
WHERE run_id = %(run_id)s AND (%(thread_ids)s::text[] IS NULL OR thread_id = ANY (%(thread_ids)s))
    AND NOT EXISTS (
    SELECT FROM unnest(
        %(wanted_evaluators)s::text[], %(wanted_names)s::text[], %(wanted_values)s::text[]
    ) AS wanted (evaluator, name, value)
    WHERE NOT EXISTS (
        SELECT FROM evalqueue_scored(
            %(run_id)s, wanted.evaluator, wanted.name, wanted.value) AS scored
        WHERE scored.evaluation_id = thread_evaluations.id))
ORDER BY labelled.worst NULLS LAST, missing_verdicts = 0, labelled.bad DESC NULLS LAST,
    numbered.mean NULLS LAST, id
LIMIT %(limit)s

-- page --
-- Conversations with all that was found in them, in the order in which they were stored
SELECT id, thread_id, success_status, error, messages, duration_ms, created_at,
    COALESCE((
        SELECT jsonb_agg(jsonb_build_object(
            'evaluator', evaluator, 'version', version, 'name', name, 'turn', turn,
            'value', COALESCE(
                to_jsonb(value_text), to_jsonb(value_number), to_jsonb(value_boolean)),
            'expected', expected, 'reasoning', reasoning, 'evidence', evidence, 'failure', failure
        ) ORDER BY evaluator, name, turn NULLS FIRST)
        FROM scores WHERE evaluation_id = thread_evaluations.id
    ), '[]') AS scores
FROM thread_evaluations
WHERE run_id = %(run_id)s AND id > %(after)s
ORDER BY id LIMIT %(limit)s

-- search --
-- Threads of a run's dataset that contain a text, each with the words around the first place. The
-- dataset is looked up first, so that no other one's messages are read
SELECT thread_id, excerpt FROM evalqueue_excerpts((
    SELECT dataset_id FROM eval_runs
    WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)
), %(text)s)
