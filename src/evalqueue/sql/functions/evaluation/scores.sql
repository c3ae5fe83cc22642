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

-- The threads of a dataset in which the user or the chatbot said this, in any case
CREATE OR REPLACE FUNCTION evalqueue_said(wanted_dataset text, wanted_text text)
RETURNS TABLE (thread_id text)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT dataset_threads.thread_id FROM dataset_threads
    WHERE dataset_id = wanted_dataset AND EXISTS (
        SELECT FROM jsonb_array_elements(turns) AS turn
        WHERE strpos(lower(turn ->> 'user_text'), lower(wanted_text)) > 0
            OR strpos(lower(turn ->> 'bot_text'), lower(wanted_text)) > 0);
$$;
