-- Alerts: which of them a job that has ended is about, and the job that looks.

-- The jobs that tell are not watched: they would tell about themselves.
CREATE OR REPLACE FUNCTION evalqueue_alerts_of_job(job jobs) RETURNS SETOF alerts
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT alerts.* FROM alerts
    WHERE alerts.owner = job.owner AND job.parent_id IS NULL
        AND job.job_type NOT IN ('check-alerts', 'deliver-alert')
        AND CASE watches
            WHEN 'failed' THEN job.status IN ('completed', 'failed')
                AND (alerts.job_type IS NULL OR alerts.job_type = job.job_type)
            WHEN 'drift' THEN job.status = 'completed' AND job.job_type = 'check-drift'
                AND (alerts.app_id IS NULL OR alerts.app_id = job.result ->> 'app_id')
            -- A run fails where nothing at all was judged.
            ELSE (job.status = 'completed' OR watches = 'coverage' AND job.status = 'failed')
                AND EXISTS (
                    SELECT FROM eval_runs AS run
                    WHERE run.job_id = job.id AND run.command = 'evaluate-batch'
                        AND (alerts.app_id IS NULL OR alerts.app_id = run.app_id)) END
$$;

-- A job's end is recorded even where the job that looks at it is refused, as by a trigger of the host.
CREATE OR REPLACE FUNCTION evalqueue_watch_job() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM alerts WHERE alerts.owner = NEW.owner)  -- most owners have none
        AND EXISTS (SELECT FROM evalqueue_alerts_of_job(NEW))
    THEN
        BEGIN
            PERFORM evalqueue_submit_job(
                'check-alerts', jsonb_build_object('job_id', NEW.id), owner => NEW.owner,
                queue => NEW.queue, priority => NEW.priority);
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'Alerts of % are not decided by job %: %', NEW.owner, NEW.id, SQLERRM;
        END;
    END IF;
    RETURN NULL;
END;
$$;

-- Its name comes after evalqueue_update_run, which ends the run.
CREATE TRIGGER evalqueue_watch_job AFTER UPDATE OF status ON jobs
    FOR EACH ROW
    WHEN (OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL AND NEW.status <> 'cancelled'
        AND NEW.parent_id IS NULL)
    EXECUTE FUNCTION evalqueue_watch_job();

-- What is decided is written down while the alert's row is locked: jobs may be looked at in another
-- order than they ended in, and one that ended before changes nothing. Returns the event, if the alert
-- begins to fire or recovers, also when it is called again.
CREATE OR REPLACE FUNCTION evalqueue_decide_alert(
    wanted_alert uuid, job_id uuid, run_id uuid, ended_at timestamptz, fires boolean,
    explanation text, figures jsonb
) RETURNS uuid
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    alert alerts;
    event uuid;
BEGIN
    SELECT * INTO alert FROM alerts WHERE id = wanted_alert FOR UPDATE;
    SELECT earlier.id INTO event FROM alert_events AS earlier
        WHERE earlier.alert_id = wanted_alert AND earlier.job_id = job_id;
    IF event IS NOT NULL OR alert.id IS NULL OR alert.decided_until >= ended_at THEN
        RETURN event;
    END IF;
    UPDATE alerts SET
        decided_until = ended_at,
        firing_since = CASE WHEN fires THEN COALESCE(firing_since, clock_timestamp()) END
    WHERE id = wanted_alert;
    IF fires = (alert.firing_since IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    INSERT INTO alert_events (alert_id, job_id, run_id, kind, explanation, figures)
        VALUES (wanted_alert, job_id, run_id, CASE WHEN fires THEN 'fired' ELSE 'recovered' END,
            explanation, figures)
        RETURNING id INTO event;
    DELETE FROM alert_events WHERE id IN (
        SELECT id FROM alert_events WHERE alert_id = wanted_alert
        ORDER BY created_at DESC OFFSET 1000);
    RETURN event;
END;
$$;

CREATE OR REPLACE FUNCTION evalqueue_audit_alerts() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- Not the address, which may have a secret in it.
    PERFORM evalqueue_audit(CASE TG_OP WHEN 'INSERT' THEN 'alert.add' ELSE 'alert.remove' END,
            'alert', id::text, jsonb_build_object('owner', owner, 'name', name, 'watches', watches))
        FROM changed;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_audit_alerts AFTER INSERT ON alerts
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_audit_alerts();

CREATE TRIGGER evalqueue_audit_removed_alerts AFTER DELETE ON alerts
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_audit_alerts();
