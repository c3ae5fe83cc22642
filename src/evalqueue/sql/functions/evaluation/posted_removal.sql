-- Conversations that were posted are removed with the data of a user.

-- Delete some of a user's posted conversations. Returns {"posted_threads", "posted_messages"}; 0: none
-- is left. Refused (object_in_use, with the jobs as the detail) while a job reads what was posted.
CREATE OR REPLACE FUNCTION evalqueue_forget_posted(
    forgotten text, chunk integer, audited jsonb DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    reading text;
    ids text[];
    threads bigint;
    messages bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM posted_threads
            WHERE user_id = forgotten OR other_users @> ARRAY[forgotten]) THEN
        RETURN '{"posted_threads": 0, "posted_messages": 0}';
    END IF;
    SELECT string_agg(id::text, ', ') INTO reading FROM (
        SELECT id FROM jobs WHERE job_type = 'evaluate-source' AND status = 'running'
            AND params ->> 'source' = 'posted' ORDER BY created_at LIMIT 10) AS going;
    IF reading IS NOT NULL THEN
        RAISE EXCEPTION 'Jobs that are not over read what was posted: %', reading
            USING ERRCODE = 'object_in_use', HINT = 'Cancel them, or wait.';
    END IF;
    IF audited IS NOT NULL THEN
        PERFORM evalqueue_audit('user.forget', 'user',
            'sha256:' || encode(sha256(convert_to(forgotten, 'UTF8')), 'hex'), audited);
    END IF;
    WITH chosen AS MATERIALIZED (
        SELECT owner, thread_id FROM posted_threads
        WHERE user_id = forgotten OR other_users @> ARRAY[forgotten] LIMIT chunk FOR UPDATE
    ), counted AS MATERIALIZED (
        SELECT count(*) AS number FROM chosen JOIN posted_messages USING (owner, thread_id)
    ), gone AS (
        DELETE FROM posted_threads USING chosen, counted
        WHERE posted_threads.owner = chosen.owner
            AND posted_threads.thread_id = chosen.thread_id
        RETURNING chosen.thread_id
    )
    SELECT count(*), array_agg(thread_id), min(counted.number) INTO threads, ids, messages
        FROM gone CROSS JOIN counted;
    -- Why some could not be read may quote them.
    UPDATE jobs SET result = jsonb_set(result, '{skipped_conversations}', '{}')
        WHERE job_type = 'evaluate-source' AND params ->> 'source' = 'posted'
            AND result -> 'skipped_conversations' ?| ids;
    RETURN jsonb_build_object('posted_threads', threads, 'posted_messages', COALESCE(messages, 0));
END;
$$;
