-- Labels of the conversations of a run, and what its judge said of them.

-- run --
-- The run whose conversations are labelled; another owner's run counts as absent
SELECT id AS run_id, owner, app_id, llm_provider, llm_model, dataset_id,
    completed_at IS NOT NULL AS is_over, config -> 'evaluators' AS evaluators
FROM eval_runs WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)

-- unknown --
-- The first threads that are not in the run
SELECT given FROM unnest(%(thread_ids)s::text[]) AS given
WHERE NOT EXISTS (
    SELECT FROM thread_evaluations WHERE run_id = %(run_id)s AND thread_id = given)
LIMIT 100

-- add --
-- One row for each label that says something new
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(labels)s) AS given (
        thread_id text, evaluator text, name text, value text, labelled_by text,
        is_random boolean, adjudicates boolean, note text)
)
INSERT INTO labels (owner, dataset_id, thread_id, evaluator, name, label, labelled_by, is_random,
    adjudicates, note)
SELECT %(owner)s, %(dataset_id)s, thread_id, evaluator, name, value, labelled_by, is_random,
    adjudicates, note
FROM given
WHERE (value, is_random, adjudicates, note) IS DISTINCT FROM (
    SELECT (newest.label, newest.is_random, newest.adjudicates, newest.note)
    FROM labels AS newest
    WHERE newest.owner = %(owner)s AND newest.dataset_id = %(dataset_id)s
        AND (newest.thread_id, newest.evaluator, newest.name, newest.labelled_by)
            = (given.thread_id, given.evaluator, given.name, given.labelled_by)
    ORDER BY newest.id DESC LIMIT 1)
    AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL

-- current --
-- The newest label of each person about each question
SELECT DISTINCT ON (given.thread_id, given.evaluator, given.name, given.labelled_by)
    given.thread_id, given.evaluator, given.name, given.label AS value, given.labelled_by, given.is_random,
    given.adjudicates, given.note, given.created_at
FROM labels AS given
JOIN thread_evaluations AS thread
    ON thread.run_id = %(run_id)s AND thread.thread_id = given.thread_id
WHERE given.owner = %(owner)s AND given.dataset_id = %(dataset_id)s
ORDER BY given.thread_id, given.evaluator, given.name, given.labelled_by, given.id DESC

-- judged --
-- How often each value came
SELECT evaluator, version, name, COALESCE(value_text, value_boolean::text) AS value,
    count(*) AS times
FROM scores
WHERE run_id = %(run_id)s AND turn IS NULL AND num_nonnulls(value_text, value_boolean) = 1
GROUP BY 1, 2, 3, 4

-- values --
-- What the judge said of conversations
SELECT thread_id, evaluator, version, name, COALESCE(value_text, value_boolean::text) AS value
FROM scores
WHERE run_id = %(run_id)s AND turn IS NULL AND num_nonnulls(value_text, value_boolean) = 1
    AND thread_id = ANY(%(thread_ids)s)

-- sample --
-- Conversations drawn at random, the same ones each time: a larger sample has the smaller one in it.
-- Those that this person has labelled are left out of the rows, not of the sample.
SELECT drawn.thread_id, stored.turns
FROM (
    SELECT thread_id, sha256(convert_to(%(dataset_id)s || thread_id, 'UTF8')) AS place
    FROM thread_evaluations WHERE run_id = %(run_id)s
    ORDER BY place LIMIT %(size)s
) AS drawn
JOIN dataset_threads AS stored
    ON stored.dataset_id = %(dataset_id)s AND stored.thread_id = drawn.thread_id
WHERE NOT EXISTS (
    SELECT FROM labels AS given
    WHERE given.owner = %(owner)s AND given.dataset_id = %(dataset_id)s
        AND given.thread_id = drawn.thread_id AND given.evaluator = %(evaluator)s
        AND given.name = %(name)s AND given.labelled_by = %(labelled_by)s)
ORDER BY drawn.place
