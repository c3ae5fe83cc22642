-- What the audit log records of apps, datasets, labels, saved cases and links to reports: once per statement and object.
-- What retention deletes is recorded as a whole, by evalqueue_prune.

CREATE OR REPLACE FUNCTION evalqueue_audit_apps() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM evalqueue_audit(
            CASE TG_OP WHEN 'INSERT' THEN 'app.add' ELSE 'app.remove' END, 'app', app_id,
            jsonb_build_object('owner', owner, 'version', max(version), 'versions', count(*)))
        FROM changed GROUP BY owner, app_id;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_audit_apps AFTER INSERT ON app_versions
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_audit_apps();

CREATE TRIGGER evalqueue_audit_removed_apps AFTER DELETE ON app_versions
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_audit_apps();

-- A dataset that came with a job is no change of its own.
CREATE OR REPLACE FUNCTION evalqueue_audit_dataset() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM evalqueue_audit(
        CASE WHEN TG_OP = 'INSERT' OR NEW.kept > OLD.kept THEN 'dataset.add' ELSE 'dataset.change' END,
        'dataset', NEW.dataset_id,
        jsonb_build_object('owner', NEW.owner, 'app_id', left(NEW.app_id, 100)));
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_audit_dataset AFTER INSERT ON dataset_owners
    FOR EACH ROW WHEN (NEW.kept) EXECUTE FUNCTION evalqueue_audit_dataset();

CREATE TRIGGER evalqueue_audit_changed_dataset AFTER UPDATE ON dataset_owners
    FOR EACH ROW WHEN ((OLD.name, OLD.kept, OLD.app_id) IS DISTINCT FROM (NEW.name, NEW.kept, NEW.app_id))
    EXECUTE FUNCTION evalqueue_audit_dataset();

-- Where the dataset is gone before its owners, retention has deleted it.
CREATE OR REPLACE FUNCTION evalqueue_audit_removed_datasets() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM evalqueue_audit('dataset.remove', 'dataset', dataset_id,
            jsonb_build_object('owners', count(*), 'owner', min(owner)))
        FROM changed WHERE EXISTS (SELECT FROM datasets WHERE id = dataset_id) GROUP BY dataset_id;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_audit_removed_datasets AFTER DELETE ON dataset_owners
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_audit_removed_datasets();

-- Labels are never changed: each statement that adds some is one change of their dataset.
CREATE OR REPLACE FUNCTION evalqueue_audit_labels() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM evalqueue_audit('labels.add', 'dataset', dataset_id,
            jsonb_build_object('owner', owner, 'labels', count(*), 'people', count(DISTINCT labelled_by)))
        FROM changed GROUP BY owner, dataset_id;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_audit_labels AFTER INSERT ON labels
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_audit_labels();

CREATE OR REPLACE FUNCTION evalqueue_audit_notes() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM evalqueue_audit('notes.add', 'dataset', dataset_id,
            jsonb_build_object('owner', owner, 'notes', count(*)))
        FROM changed GROUP BY owner, dataset_id;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_audit_notes AFTER INSERT ON thread_notes
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_audit_notes();

CREATE OR REPLACE FUNCTION evalqueue_audit_annotation_queues() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM evalqueue_audit('annotation_queue.add', 'annotation_queue', id::text, jsonb_build_object(
            'owner', owner, 'run_id', run_id, 'evaluator', evaluator, 'name', name,
            'selection', selection, 'annotators', annotators))
        FROM changed;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_audit_annotation_queues AFTER INSERT ON annotation_queues
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_audit_annotation_queues();

-- Saved cases of an app: how many, and the first of them.
CREATE OR REPLACE FUNCTION evalqueue_audit_cases() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM evalqueue_audit(
            CASE TG_OP WHEN 'INSERT' THEN 'cases.add' ELSE 'cases.remove' END, 'cases', app_id,
            jsonb_build_object('owner', owner, 'cases', count(*), 'pinned', bool_or(pinned),
                'case_id', left(min(case_id), 200)))
        FROM changed GROUP BY app_id, owner;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_audit_cases AFTER INSERT ON saved_cases
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_audit_cases();

CREATE TRIGGER evalqueue_audit_removed_cases AFTER DELETE ON saved_cases
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_audit_cases();

CREATE OR REPLACE FUNCTION evalqueue_audit_pins() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM evalqueue_audit(
            CASE WHEN later.pinned THEN 'cases.pin' ELSE 'cases.unpin' END, 'cases', later.app_id,
            jsonb_build_object('owner', later.owner, 'cases', count(*),
                'case_id', left(min(later.case_id), 200)))
        FROM later JOIN earlier USING (app_id, owner, case_id)
        WHERE later.pinned <> earlier.pinned
        GROUP BY later.app_id, later.owner, later.pinned;
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_audit_pins AFTER UPDATE ON saved_cases
    REFERENCING OLD TABLE AS earlier NEW TABLE AS later
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_audit_pins();

-- Links that expired, or went with their run, are no change of their own.
CREATE OR REPLACE FUNCTION evalqueue_audit_shares() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM evalqueue_audit(
            CASE TG_OP WHEN 'INSERT' THEN 'share.add' ELSE 'share.revoke' END, 'run', run_id::text,
            jsonb_build_object('share_id', id, 'expires_at', expires_at))
        FROM changed
        WHERE expires_at > clock_timestamp() AND EXISTS (
            SELECT FROM eval_runs WHERE eval_runs.id = changed.run_id);
    RETURN NULL;
END;
$$;

CREATE TRIGGER evalqueue_audit_shares AFTER INSERT ON run_shares
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_audit_shares();

CREATE TRIGGER evalqueue_audit_revoked_shares AFTER DELETE ON run_shares
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION evalqueue_audit_shares();
