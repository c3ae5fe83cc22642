-- Apps are stored by content, get versions, stay while something needs them, and are removed.

-- The content of an app is there from now on, and stays until the transaction ends.
CREATE OR REPLACE FUNCTION evalqueue_store_app(content_digest text, content_app_id text, content text)
RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    LOOP  -- until it is there and stays: an old one may be about to be deleted
        INSERT INTO apps (digest, app_id, document) VALUES (content_digest, content_app_id, content)
            ON CONFLICT DO NOTHING;
        PERFORM 1 FROM apps WHERE digest = content_digest FOR KEY SHARE;
        EXIT WHEN FOUND;
    END LOOP;
END;
$$;

-- A job that names an app's content locks it against removal until the transaction ends.
CREATE OR REPLACE FUNCTION evalqueue_keep_app() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM 1 FROM apps WHERE digest = NEW.params ->> 'app_digest' FOR KEY SHARE;
    RETURN NEW;
END;
$$;

CREATE TRIGGER evalqueue_keep_app BEFORE INSERT ON jobs
    FOR EACH ROW WHEN (NEW.params ? 'app_digest') EXECUTE FUNCTION evalqueue_keep_app();

-- Whether an owner's app, a job, a run or a schedule needs an app's content.
CREATE OR REPLACE FUNCTION evalqueue_app_is_needed(content_digest text) RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT EXISTS (SELECT 1 FROM app_versions WHERE digest = content_digest)
        OR EXISTS (SELECT 1 FROM jobs
            WHERE params ? 'app_digest' AND params ->> 'app_digest' = content_digest)
        OR EXISTS (SELECT 1 FROM eval_runs WHERE app_digest = content_digest)
        OR EXISTS (SELECT 1 FROM job_schedules WHERE params ->> 'app_digest' = content_digest);
$$;

-- An owner has an app no longer, with all its versions. Content that nothing needs is deleted.
-- Returns the number of versions.
CREATE OR REPLACE FUNCTION evalqueue_remove_app(app_owner text, removed_app_id text) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    digests CONSTANT text[] := ARRAY(SELECT DISTINCT digest FROM app_versions
        WHERE owner = app_owner AND app_id = removed_app_id ORDER BY digest);
    removed integer;
BEGIN
    -- A transaction that submits a job with one of them waits, or is seen here.
    PERFORM 1 FROM apps WHERE digest = ANY (digests) ORDER BY digest FOR UPDATE;
    DELETE FROM app_versions WHERE owner = app_owner AND app_id = removed_app_id;
    GET DIAGNOSTICS removed = ROW_COUNT;
    DELETE FROM apps WHERE digest = ANY (digests) AND NOT evalqueue_app_is_needed(digest);
    RETURN removed;
END;
$$;
