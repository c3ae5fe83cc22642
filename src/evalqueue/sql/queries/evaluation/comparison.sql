-- Two runs, conversation by conversation: a candidate, and the baseline that it is compared with.

-- runs --
-- Both; another owner's run counts as absent
SELECT id AS run_id, command, status, name, app_id, llm_provider, llm_model, dataset_id,
    created_at, config -> 'evaluators' AS evaluators
FROM eval_runs
WHERE id IN (%(candidate)s, %(baseline)s) AND (%(owner)s::text IS NULL OR owner = %(owner)s)

-- conversations --
-- How many each run has, how many both have, and in how many of those other messages are stored
SELECT
    (SELECT count(*) FROM thread_evaluations WHERE run_id = %(candidate)s) AS candidate,
    (SELECT count(*) FROM thread_evaluations WHERE run_id = %(baseline)s) AS baseline,
    count(*) AS both,
    count(*) FILTER (WHERE ours.turns IS DISTINCT FROM theirs.turns) AS changed
FROM thread_evaluations AS thread
JOIN thread_evaluations AS other
    ON other.run_id = %(baseline)s AND other.thread_id = thread.thread_id
LEFT JOIN dataset_threads AS ours
    ON ours.dataset_id = %(candidate_dataset)s AND ours.thread_id = thread.thread_id
LEFT JOIN dataset_threads AS theirs
    ON theirs.dataset_id = %(baseline_dataset)s AND theirs.thread_id = thread.thread_id
WHERE thread.run_id = %(candidate)s

-- versions --
-- Of the scores that each run has
SELECT run_id, evaluator, array_agg(DISTINCT version ORDER BY version) AS versions
FROM scores WHERE run_id IN (%(candidate)s, %(baseline)s) AND turn IS NULL
GROUP BY run_id, evaluator

-- labels --
-- Labels, and yes or no, of conversations that both runs have measured
SELECT ours.evaluator, ours.name,
    COALESCE(theirs.value_text, theirs.value_boolean::text) AS before,
    COALESCE(ours.value_text, ours.value_boolean::text) AS after, count(*) AS times
FROM scores AS ours
JOIN scores AS theirs ON theirs.run_id = %(baseline)s AND theirs.thread_id = ours.thread_id
    AND theirs.evaluator = ours.evaluator AND theirs.name = ours.name
    AND theirs.version = ours.version AND theirs.turn IS NULL
WHERE ours.run_id = %(candidate)s AND ours.turn IS NULL AND ours.kind <> 'number'
    AND num_nonnulls(ours.value_text, ours.value_boolean) = 1
    AND num_nonnulls(theirs.value_text, theirs.value_boolean) = 1
GROUP BY 1, 2, 3, 4

-- numbers --
-- Likewise numbers
SELECT ours.evaluator, ours.name, count(*) AS pairs, avg(theirs.value_number) AS before,
    avg(ours.value_number) AS after, sum(ours.value_number - theirs.value_number) AS total,
    sum((ours.value_number - theirs.value_number) ^ 2) AS squares,
    count(*) FILTER (WHERE ours.value_number > theirs.value_number) AS higher,
    count(*) FILTER (WHERE ours.value_number < theirs.value_number) AS lower,
    max(abs(ours.value_number - theirs.value_number)) AS largest
FROM scores AS ours
JOIN scores AS theirs ON theirs.run_id = %(baseline)s AND theirs.thread_id = ours.thread_id
    AND theirs.evaluator = ours.evaluator AND theirs.name = ours.name
    AND theirs.version = ours.version AND theirs.turn IS NULL
WHERE ours.run_id = %(candidate)s AND ours.turn IS NULL
    AND ours.value_number IS NOT NULL AND theirs.value_number IS NOT NULL
GROUP BY 1, 2

-- flips --
-- Conversations whose score is another one now: of each direction the severest
WITH found AS (
    SELECT ours.thread_id, ours.evaluator, ours.name, ours.evaluation_id AS candidate_id,
        theirs.evaluation_id AS baseline_id,
        COALESCE(to_jsonb(theirs.value_text), to_jsonb(theirs.value_boolean),
            to_jsonb(theirs.value_number)) AS before,
        COALESCE(to_jsonb(ours.value_text), to_jsonb(ours.value_boolean),
            to_jsonb(ours.value_number)) AS after,
        COALESCE(label.direction, CASE WHEN ours.value_number > theirs.value_number
            THEN number.higher ELSE number.lower END) AS direction,
        COALESCE(label.severity,
            abs(ours.value_number - theirs.value_number) / number.scale) AS severity
    FROM scores AS ours
    JOIN scores AS theirs ON theirs.run_id = %(baseline)s AND theirs.thread_id = ours.thread_id
        AND theirs.evaluator = ours.evaluator AND theirs.name = ours.name
        AND theirs.version = ours.version AND theirs.turn IS NULL
    LEFT JOIN unnest(%(label_evaluators)s::text[], %(label_names)s::text[], %(befores)s::text[],
            %(afters)s::text[], %(directions)s::text[], %(severities)s::float8[])
        AS label (evaluator, name, before, after, direction, severity)
        ON label.evaluator = ours.evaluator AND label.name = ours.name
            AND label.before = COALESCE(theirs.value_text, theirs.value_boolean::text)
            AND label.after = COALESCE(ours.value_text, ours.value_boolean::text)
    LEFT JOIN unnest(%(number_evaluators)s::text[], %(number_names)s::text[],
            %(highers)s::text[], %(lowers)s::text[], %(scales)s::float8[])
        AS number (evaluator, name, higher, lower, scale)
        ON number.evaluator = ours.evaluator AND number.name = ours.name
            AND ours.value_number <> theirs.value_number
    WHERE ours.run_id = %(candidate)s AND ours.turn IS NULL
        AND num_nonnulls(label.direction, number.higher) = 1
), placed AS (
    SELECT thread_id, evaluator, name, candidate_id, baseline_id, before, after, direction,
        row_number() OVER (PARTITION BY direction
            ORDER BY severity DESC, candidate_id, evaluator, name) AS place
    FROM found
)
SELECT thread_id, evaluator, name, direction, candidate_id, baseline_id, before, after
FROM placed WHERE place <= %(limit)s
ORDER BY array_position(ARRAY['worse', 'better', 'other'], direction), place
