-- Large jobs that several workers share.

-- A running job asks for helper jobs of its type, which other workers take when no other job is due.
-- Afterwards there are `wanted` of them that are not over. False: the attempt is over.
CREATE OR REPLACE FUNCTION evalqueue_start_helpers(job_id uuid, attempt integer, wanted integer)
RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    job jobs;
    helper jobs;
BEGIN
    SELECT * INTO job FROM jobs
        WHERE jobs.id = job_id AND jobs.attempt = attempt AND jobs.status = 'running'
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    helper := job;
    helper.parent_id := job.id;
    helper.due_at := NULL;
    helper.idempotency_key := NULL;
    helper.fingerprint := NULL;
    helper.retry_of := NULL;
    helper.after_id := NULL;
    PERFORM evalqueue_insert_job(helper) FROM generate_series(1, wanted - (
        SELECT count(*) FROM jobs WHERE parent_id = job_id AND completed_at IS NULL));
    RETURN true;
END;
$$;

-- Up to `wanted` of these items of a shared job belong to this attempt from now on: those that are
-- not done, and that no other running attempt has claimed. A caller that lost the answer may call
-- again. NULL: the attempt is over.
CREATE OR REPLACE FUNCTION evalqueue_claim_items(
    job_id uuid, attempt integer, items text[], wanted integer
) RETURNS text[]
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    root uuid;
    claimed text[];
    seen bigint;
BEGIN
    SELECT COALESCE(jobs.parent_id, jobs.id) INTO root FROM jobs
        WHERE jobs.id = job_id AND jobs.attempt = attempt AND jobs.status = 'running' FOR SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    LOOP
        WITH free AS (
            SELECT wish.item FROM unnest(items) WITH ORDINALITY AS wish (item, place)
            LEFT JOIN job_items AS taken ON taken.job_id = root AND taken.item = wish.item
            WHERE taken.item IS NULL OR (taken.succeeded IS NULL AND NOT EXISTS (
                SELECT 1 FROM jobs WHERE jobs.id = taken.holder AND jobs.id <> job_id
                    AND jobs.attempt = taken.attempt AND jobs.status = 'running'))
            ORDER BY wish.place LIMIT wanted
        ), mine AS (
            INSERT INTO job_items AS taken (job_id, item, holder, attempt)
            SELECT root, free.item, evalqueue_claim_items.job_id, evalqueue_claim_items.attempt
            FROM free ORDER BY free.item
            ON CONFLICT ON CONSTRAINT job_items_pkey DO UPDATE SET
                holder = EXCLUDED.holder, attempt = EXCLUDED.attempt
                -- An attempt that was faster keeps it.
                WHERE taken.succeeded IS NULL AND NOT EXISTS (
                    SELECT 1 FROM jobs WHERE jobs.id = taken.holder AND jobs.id <> job_id
                        AND jobs.attempt = taken.attempt AND jobs.status = 'running')
            RETURNING taken.item
        )
        SELECT COALESCE(array_agg(item), '{}'), (SELECT count(*) FROM free) INTO claimed, seen FROM mine;
        -- Others were faster with all of them: there may be more.
        EXIT WHEN cardinality(claimed) > 0 OR seen = 0;
    END LOOP;
    RETURN claimed;
END;
$$;
