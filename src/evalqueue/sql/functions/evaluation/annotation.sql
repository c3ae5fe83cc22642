-- The items of an annotation queue with the newest label of each person about its question. A random
-- queue counts only labels that are marked as random: others would be missing from the estimate.
CREATE OR REPLACE FUNCTION evalqueue_annotated(wanted_queue uuid)
RETURNS TABLE (
    queue_position integer,
    thread_id text,
    people text[],          -- who have labelled it, or decided
    labels text[],          -- sorted, without decisions
    is_decided boolean
)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT item.position, item.thread_id,
        COALESCE(array_agg(given.labelled_by) FILTER (WHERE given.labelled_by IS NOT NULL), '{}'),
        COALESCE(array_agg(given.label ORDER BY given.label) FILTER (WHERE NOT given.adjudicates), '{}'),
        COALESCE(bool_or(given.adjudicates), false)
    FROM annotation_queues AS queue
    JOIN annotation_items AS item ON item.queue_id = queue.id
    LEFT JOIN LATERAL (
        SELECT DISTINCT ON (labelled_by) labelled_by, label, adjudicates, is_random
        FROM labels
        WHERE owner = queue.owner AND dataset_id = queue.dataset_id
            AND labels.thread_id = item.thread_id
            AND evaluator = queue.evaluator AND name = queue.name
        ORDER BY labelled_by, id DESC
    ) AS given ON given.is_random OR queue.selection <> 'random'
    WHERE queue.id = wanted_queue
    GROUP BY item.position, item.thread_id
$$;
