-- Who cancels a check of drift wants no more of its calls: the batch that judges again is cancelled,
-- too, in the same transaction.
CREATE OR REPLACE FUNCTION evalqueue_cancel_drift_batch() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM evalqueue_cancel_job(batch.id) FROM jobs AS batch
        WHERE batch.owner = NEW.owner AND batch.idempotency_key = 'check-drift ' || NEW.id
            AND batch.completed_at IS NULL;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_cancel_drift_batch AFTER UPDATE OF status ON jobs
    FOR EACH ROW WHEN (NEW.job_type = 'check-drift' AND NEW.status = 'cancelled'
        AND OLD.status <> 'cancelled')
    EXECUTE FUNCTION evalqueue_cancel_drift_batch();
