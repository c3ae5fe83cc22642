-- What may be claimed after the limits of a queue have changed.

-- Wakes the workers of a queue that is resumed, or whose limits are changed or removed; '' stands
-- for all queues.
CREATE OR REPLACE FUNCTION evalqueue_follow_queue() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_notify(
        'evalqueue_work_v1', CASE TG_OP WHEN 'TRUNCATE' THEN '' ELSE OLD.name END
    );
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_follow_queue AFTER UPDATE OR DELETE ON job_queues
    FOR EACH ROW EXECUTE FUNCTION evalqueue_follow_queue();

CREATE TRIGGER evalqueue_follow_truncated_queues AFTER TRUNCATE ON job_queues
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_follow_queue();
