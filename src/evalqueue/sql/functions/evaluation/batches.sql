-- Batches: the end of one, and those that a job leaves behind.

-- A batch is over, and its results are recorded. What has none is closed, for the reason that the
-- vendor gave; of what its caps counted, what was not used is free again. False: it was over before.
CREATE OR REPLACE FUNCTION evalqueue_end_batch(batch_id uuid, outcome text) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    ended llm_batches;
    used record;
BEGIN
    UPDATE llm_batches SET
        ended_at = clock_timestamp(), outcome = evalqueue_end_batch.outcome
    WHERE id = evalqueue_end_batch.batch_id AND ended_at IS NULL
    RETURNING * INTO ended;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE llm_questions SET
        outcome = 'transient', question = NULL,
        failure = json_build_object('message', left('batch: ' || ended.outcome, 500))
    WHERE llm_questions.batch_id = ended.id AND llm_questions.outcome IS NULL;
    IF ended.reserved_month IS NOT NULL THEN
        SELECT COALESCE(sum(used_usd), 0) AS usd, COALESCE(sum(used_tokens), 0) AS tokens INTO used
            FROM llm_questions WHERE llm_questions.batch_id = ended.id;
        UPDATE llm_caps SET
            used_usd = used_usd - (ended.reserved_usd - used.usd),
            used_tokens = used_tokens - (ended.reserved_tokens - used.tokens)
        WHERE scope IN (
            'job ' || ended.job_id, 'month ' || ended.reserved_month || ' ' || ended.owner);
    END IF;
    RETURN true;
END;
$$;

-- A job that is over may leave batches at a vendor. A job of its own cancels them, and records what
-- was answered.
CREATE OR REPLACE FUNCTION evalqueue_settle_batches() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- What is in no batch is never asked for this job.
    DELETE FROM llm_questions WHERE job_id = NEW.id AND batch_id IS NULL AND outcome IS NULL;
    IF EXISTS (SELECT FROM llm_batches WHERE job_id = NEW.id AND ended_at IS NULL) THEN
        PERFORM evalqueue_submit_job(
            'settle-batches', jsonb_build_object('job_id', NEW.id), owner => NEW.owner,
            queue => NEW.queue, priority => NEW.priority);
    END IF;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_settle_batches AFTER UPDATE OF status ON jobs
    FOR EACH ROW
    WHEN (NEW.progress ? 'run_id' AND OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL)
    EXECUTE FUNCTION evalqueue_settle_batches();
