-- Threads of a run with such a score, in any turn. NULL: any evaluator, name or value. A thread may
-- come more than once. Without SET, so that it becomes a part of the query that calls it.
CREATE OR REPLACE FUNCTION evalqueue_scored(
    wanted_run uuid, wanted_evaluator text, wanted_name text, wanted_value text,
    wanted_expected text DEFAULT NULL
)
RETURNS TABLE (evaluation_id bigint)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT scores.evaluation_id FROM scores
    WHERE run_id = wanted_run AND failure IS NULL
        AND (evaluator = wanted_evaluator OR wanted_evaluator IS NULL)
        AND (name = wanted_name OR wanted_name IS NULL)
        AND (COALESCE(value_text, value_boolean::text, value_number::text) = wanted_value
            OR wanted_value IS NULL)
        AND (expected = wanted_expected OR wanted_expected IS NULL);
$$;

-- The threads of a dataset in which the user or the chatbot said this, in any case, each with the text
-- around the first place
CREATE OR REPLACE FUNCTION evalqueue_excerpts(wanted_dataset text, wanted_text text)
RETURNS TABLE (thread_id text, excerpt text)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT dataset_threads.thread_id, found.excerpt
    FROM dataset_threads CROSS JOIN LATERAL (
        SELECT CASE WHEN start > 25 THEN '…' ELSE '' END
            || substr(normal, greatest(1, start - 24), least(start - 1, 24) + length(wanted_text) + 120)
            || CASE WHEN length(normal) >= start + length(wanted_text) + 120 THEN '…' ELSE '' END
            AS excerpt
        FROM jsonb_array_elements(turns) WITH ORDINALITY AS turn (content, number),
            LATERAL (VALUES (1, content ->> 'user_text'), (2, content ->> 'bot_text'))
                AS message (place, written),
            LATERAL normalize(written) AS normal,  -- an accent may be a character of its own
            LATERAL strpos(lower(normal), lower(normalize(wanted_text))) AS start
        WHERE start > 0
        ORDER BY number, place LIMIT 1
    ) AS found
    WHERE dataset_id = wanted_dataset;
$$;
