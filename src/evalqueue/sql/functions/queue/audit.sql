-- The audit log, and what it records of queues and schedules. What changes nothing is not recorded.

-- Record a change in its own transaction. The setting `evalqueue.actor` says who makes it: a door and
-- a name, as in `http anna`; without a door, or unset, it is a statement of SQL. It has its owner's
-- rights: a role that may make a change need not have rights on the log.
CREATE OR REPLACE FUNCTION evalqueue_audit(
    action text, subject_kind text, subject_id text, details jsonb DEFAULT '{}'
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    setting CONSTANT text := COALESCE(current_setting('evalqueue.actor', true), '');
    door text := split_part(setting, ' ', 1);
    actor text := substr(setting, length(door) + 2);
BEGIN
    IF door NOT IN ('http', 'cli', 'library', 'worker') THEN
        door := 'sql';
        actor := setting;
    END IF;
    INSERT INTO audit_log (actor, role, application, door, action, subject_kind, subject_id, details)
        VALUES (left(COALESCE(NULLIF(actor, ''), session_user), 200), session_user,
            NULLIF(current_setting('application_name'), ''), door, action, subject_kind,
            left(subject_id, 300),
            CASE WHEN octet_length(details::text) <= 2000 THEN details ELSE '{"shortened": true}' END);
END;
$$;

-- A row is written by evalqueue_audit only, which knows the role, and stays as it is for a day at least.
CREATE OR REPLACE FUNCTION evalqueue_keep_audit() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RAISE EXCEPTION 'Rows of the audit log are written by evalqueue_audit, and not changed'
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'evalqueue prune --audit-days deletes old ones.';
END;
$$;

CREATE OR REPLACE FUNCTION evalqueue_writes_audit() RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    -- By its name: another version may give it more arguments.
    SELECT EXISTS (
        SELECT FROM pg_proc JOIN pg_class ON relnamespace = pronamespace
        WHERE proname = 'evalqueue_audit' AND pg_class.oid = 'audit_log'::regclass
            AND pg_get_userbyid(proowner) = current_user);
$$;

CREATE TRIGGER evalqueue_keep_audit BEFORE UPDATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_keep_audit();

CREATE TRIGGER evalqueue_write_audit BEFORE INSERT ON audit_log
    FOR EACH ROW WHEN (NOT evalqueue_writes_audit()) EXECUTE FUNCTION evalqueue_keep_audit();

CREATE TRIGGER evalqueue_keep_new_audit BEFORE DELETE ON audit_log
    FOR EACH ROW WHEN (OLD.at > clock_timestamp() - interval '1 day')
    EXECUTE FUNCTION evalqueue_keep_audit();

-- A job was cancelled. Helper jobs are cancelled with their job.
CREATE OR REPLACE FUNCTION evalqueue_audit_cancel(cancelled uuid, was_running boolean) RETURNS void
LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT evalqueue_audit('job.cancel', 'job', id::text, jsonb_build_object(
            'job_type', job_type, 'owner', owner,
            'status', CASE WHEN was_running THEN 'running' ELSE 'queued' END))
        FROM jobs WHERE id = cancelled AND parent_id IS NULL;
$$;

-- Delete rows that are older than `keep`, and than a day: one chunk. Returns how many.
CREATE OR REPLACE FUNCTION evalqueue_prune_audit(keep interval, chunk integer DEFAULT 1000)
RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    deleted integer;
BEGIN
    DELETE FROM audit_log WHERE id IN (
        SELECT id FROM audit_log WHERE at < moment - GREATEST(keep, '1 day') ORDER BY at LIMIT chunk);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END;
$$;

CREATE OR REPLACE FUNCTION evalqueue_audit_queue() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM evalqueue_audit('queue.remove', 'queue', OLD.name);
        RETURN NULL;
    END IF;
    IF (NEW.paused_at IS NULL) <> (TG_OP = 'INSERT' OR OLD.paused_at IS NULL) THEN
        PERFORM evalqueue_audit(
            CASE WHEN NEW.paused_at IS NULL THEN 'queue.resume' ELSE 'queue.pause' END,
            'queue', NEW.name);
    END IF;
    IF (NEW.max_running, NEW.max_running_per_owner) IS DISTINCT FROM (
        CASE TG_OP WHEN 'UPDATE' THEN OLD.max_running END,
        CASE TG_OP WHEN 'UPDATE' THEN OLD.max_running_per_owner END)
    THEN
        PERFORM evalqueue_audit('queue.limit', 'queue', NEW.name, jsonb_build_object(
            'max_running', NEW.max_running, 'max_running_per_owner', NEW.max_running_per_owner));
    END IF;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_audit_queue AFTER INSERT OR UPDATE OR DELETE ON job_queues
    FOR EACH ROW EXECUTE FUNCTION evalqueue_audit_queue();

CREATE OR REPLACE FUNCTION evalqueue_audit_schedule() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    schedule CONSTANT job_schedules := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    PERFORM evalqueue_audit(
        'schedule.' || CASE
            WHEN TG_OP = 'INSERT' THEN 'add'
            WHEN TG_OP = 'DELETE' THEN 'remove'
            WHEN (NEW.paused_at IS NULL) = (OLD.paused_at IS NULL) THEN 'change'
            WHEN NEW.paused_at IS NULL THEN 'resume'
            ELSE 'pause' END,
        'schedule', schedule.name,
        jsonb_build_object('cron', left(schedule.cron, 100), 'timezone', left(schedule.timezone, 100),
            'job_type', left(schedule.job_type, 50), 'owner', left(schedule.owner, 200),
            'queue', left(schedule.queue, 40)));
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_audit_schedule AFTER INSERT OR DELETE ON job_schedules
    FOR EACH ROW EXECUTE FUNCTION evalqueue_audit_schedule();

-- Not each time it submits a job.
CREATE TRIGGER evalqueue_audit_changed_schedule AFTER UPDATE ON job_schedules
    FOR EACH ROW WHEN (
        (OLD.cron, OLD.timezone, OLD.job_type, OLD.params, OLD.owner, OLD.queue, OLD.priority,
            OLD.max_attempts, OLD.paused_at IS NULL)
        IS DISTINCT FROM (NEW.cron, NEW.timezone, NEW.job_type, NEW.params, NEW.owner, NEW.queue,
            NEW.priority, NEW.max_attempts, NEW.paused_at IS NULL)
    )
    EXECUTE FUNCTION evalqueue_audit_schedule();
