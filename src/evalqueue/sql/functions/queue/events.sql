-- What watchers need: a number that goes up with every change of a job, and a notification of it.

-- Every change that a watcher shows; a lease that is extended is none. What changes only together
-- with the status (attempt, started_at, completed_at) need not be compared.
CREATE OR REPLACE FUNCTION evalqueue_revise() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.revision := OLD.revision + 1;
    RETURN NEW;
END;
$$;

CREATE TRIGGER evalqueue_revise BEFORE UPDATE ON jobs
    FOR EACH ROW WHEN (
        (OLD.status, OLD.progress, OLD.queue, OLD.priority, OLD.due_at, OLD.waiting, OLD.worker,
            OLD.failed_attempts, OLD.error_message, OLD.result)
        IS DISTINCT FROM
        (NEW.status, NEW.progress, NEW.queue, NEW.priority, NEW.due_at, NEW.waiting, NEW.worker,
            NEW.failed_attempts, NEW.error_message, NEW.result)
    )
    EXECUTE FUNCTION evalqueue_revise();

-- A job that is continued by another one shows it: that is a change, too.
CREATE OR REPLACE FUNCTION evalqueue_revise_continued() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE jobs SET revision = revision + 1 WHERE id = NEW.retry_of;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_revise_continued AFTER INSERT ON jobs
    FOR EACH ROW WHEN (NEW.retry_of IS NOT NULL)
    EXECUTE FUNCTION evalqueue_revise_continued();

-- Postgres sends the same notification once per transaction. It has ids only: listeners read the row.
CREATE OR REPLACE FUNCTION evalqueue_notify_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_notify('evalqueue_job_v1', NEW.id::text);
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_notify_new AFTER INSERT ON jobs
    FOR EACH ROW EXECUTE FUNCTION evalqueue_notify_changed();

CREATE TRIGGER evalqueue_notify_changed AFTER UPDATE ON jobs
    FOR EACH ROW WHEN (OLD.revision <> NEW.revision)
    EXECUTE FUNCTION evalqueue_notify_changed();
