-- Annotation queues: what people are asked to label, who has which item, and what came of it.

-- COLUMNS --
id, run_id, owner, evaluator, name, selection, annotators, created_at

-- create --
-- A queue and its items: at random in the order of `labels sample`, with those where the judge failed,
-- or those first about which its votes differ, then the rarest verdicts. Conversations to which the
-- evaluator does not apply are left out. Items come in an order that says nothing about the verdict
WITH judged AS (
    SELECT thread.thread_id,
        sha256(convert_to(%(dataset_id)s || thread.thread_id, 'UTF8')) AS place,
        verdict.evaluation_id IS NOT NULL AS is_judged,
        thread.error IS NOT NULL OR EXISTS (
            SELECT FROM scores AS failed
            WHERE failed.evaluation_id = thread.id AND failed.turn IS NULL
                AND failed.evaluator = %(evaluator)s AND failed.failure IS NOT NULL
        ) AS is_failed,
        COALESCE(split.value_number, 0) AS split,
        count(*) OVER (PARTITION BY verdict.value_text, verdict.value_boolean) AS times
    FROM thread_evaluations AS thread
    JOIN dataset_threads AS stored
        ON stored.dataset_id = %(dataset_id)s AND stored.thread_id = thread.thread_id
    LEFT JOIN scores AS verdict
        ON verdict.evaluation_id = thread.id AND verdict.turn IS NULL
            AND verdict.evaluator = %(evaluator)s AND verdict.name = %(name)s
            AND num_nonnulls(verdict.value_text, verdict.value_boolean) = 1
    LEFT JOIN scores AS split
        ON split.evaluation_id = thread.id AND split.turn IS NULL
            AND split.evaluator = %(evaluator)s AND split.name = %(flip_rate)s
    WHERE thread.run_id = %(run_id)s
), chosen AS (
    SELECT thread_id, place FROM judged
    WHERE is_judged OR (is_failed AND %(selection)s = 'random')
    ORDER BY CASE %(selection)s WHEN 'disagreements' THEN split END DESC,
        CASE %(selection)s WHEN 'disagreements' THEN times END, place
    LIMIT %(size)s
), queue AS (
    INSERT INTO annotation_queues (owner, run_id, dataset_id, evaluator, name, selection, annotators)
    SELECT %(owner)s, %(run_id)s, %(dataset_id)s, %(evaluator)s, %(name)s, %(selection)s,
        %(annotators)s
    WHERE EXISTS (SELECT FROM chosen) AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL
    RETURNING COLUMNS
), items AS (
    INSERT INTO annotation_items (queue_id, position, thread_id)
    SELECT queue.id, row_number() OVER (ORDER BY chosen.place), chosen.thread_id
    FROM queue CROSS JOIN chosen
)
SELECT COLUMNS FROM queue

-- queue --
-- One queue; another owner's counts as absent
SELECT COLUMNS FROM annotation_queues
WHERE id = %(queue_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)

-- queues --
-- Those of a run, in the order in which they were created
SELECT COLUMNS FROM annotation_queues
WHERE run_id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s)
ORDER BY created_at, id

-- lock --
-- Until the end of the transaction no other session takes an item of the queue
SELECT FROM annotation_queues WHERE id = %(queue_id)s FOR NO KEY UPDATE

-- expire --
-- Leases that have ended, and other items of this person: each has one of a queue at most
DELETE FROM annotation_leases
WHERE queue_id = %(queue_id)s
    AND (expires_at <= clock_timestamp()
        OR (annotator = %(annotator)s AND adjudicates <> %(adjudicates)s))

-- claim --
-- An item for a person (`position`: this one), with a new end of its lease: the one that they have
-- already, else the first whose place is free. A person never gets an item again that they have
-- labelled. To decide, there are items that have all their labels, and no majority
INSERT INTO annotation_leases AS lease (queue_id, position, annotator, adjudicates, expires_at)
SELECT queue.id, item.queue_position, %(annotator)s, %(adjudicates)s,
    clock_timestamp() + %(lease)s::interval
FROM annotation_queues AS queue
CROSS JOIN evalqueue_annotated(queue.id) AS item
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE annotator <> %(annotator)s) AS others,
        count(*) FILTER (WHERE annotator = %(annotator)s) AS own
    FROM annotation_leases
    WHERE queue_id = queue.id AND position = item.queue_position AND adjudicates = %(adjudicates)s
) AS held
WHERE queue.id = %(queue_id)s AND %(annotator)s <> ALL (item.people)
    AND (%(position)s::integer IS NULL OR item.queue_position = %(position)s)
    AND CASE WHEN %(adjudicates)s THEN
        held.others = 0 AND NOT item.is_decided AND cardinality(item.labels) >= queue.annotators
            AND NOT EXISTS (
                SELECT FROM unnest(item.labels) AS label GROUP BY label
                HAVING 2 * count(*) > cardinality(item.labels))
    ELSE cardinality(item.labels) + held.others < queue.annotators END
ORDER BY held.own DESC, item.queue_position
LIMIT 1
ON CONFLICT (queue_id, position, annotator) DO UPDATE SET expires_at = excluded.expires_at
RETURNING position, (
    SELECT thread_id FROM annotation_items AS item
    WHERE item.queue_id = lease.queue_id AND item.position = lease.position
) AS thread_id, expires_at

-- release --
-- Give an item back, unless the lease was extended since
DELETE FROM annotation_leases
WHERE queue_id = %(queue_id)s AND position = %(position)s AND annotator = %(annotator)s
    AND (%(expires_at)s::timestamptz IS NULL OR expires_at = %(expires_at)s)

-- item --
-- What a label of an item needs; and if this person has labelled it: how
SELECT item.thread_id, own.is_random, own.adjudicates
FROM annotation_items AS item
JOIN annotation_queues AS queue ON queue.id = item.queue_id
LEFT JOIN LATERAL (
    SELECT is_random, adjudicates FROM labels
    WHERE owner = queue.owner AND dataset_id = queue.dataset_id
        AND labels.thread_id = item.thread_id
        AND evaluator = queue.evaluator AND name = queue.name AND labelled_by = %(annotator)s
    ORDER BY id DESC LIMIT 1
) AS own ON own.is_random OR queue.selection <> 'random'
WHERE item.queue_id = %(queue_id)s AND item.position = %(position)s

-- given --
-- What people say about an item
SELECT DISTINCT ON (given.labelled_by) given.labelled_by, given.label AS value, given.note,
    given.adjudicates
FROM annotation_items AS item
JOIN annotation_queues AS queue ON queue.id = item.queue_id
JOIN labels AS given
    ON given.owner = queue.owner AND given.dataset_id = queue.dataset_id
        AND given.thread_id = item.thread_id
        AND given.evaluator = queue.evaluator AND given.name = queue.name
WHERE item.queue_id = %(queue_id)s AND item.position = %(position)s
ORDER BY given.labelled_by, given.id DESC

-- verdict --
-- What the judge said of a conversation
SELECT COALESCE(verdict.value_text, verdict.value_boolean::text) AS value, verdict.reasoning
FROM thread_evaluations AS thread
JOIN scores AS verdict ON verdict.evaluation_id = thread.id AND verdict.turn IS NULL
WHERE thread.run_id = %(run_id)s AND thread.thread_id = %(thread_id)s
    AND verdict.evaluator = %(evaluator)s AND verdict.name = %(name)s

-- progress --
-- How many items have the same labels
SELECT labels, is_decided, count(*) AS items FROM evalqueue_annotated(%(queue_id)s) GROUP BY 1, 2
