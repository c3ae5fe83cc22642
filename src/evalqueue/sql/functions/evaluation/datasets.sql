-- Datasets come with jobs, stay while something needs them, and are removed.

-- A job of a type that has a run may bring a whole file as `csv_content`: it is stored once, as a
-- dataset, and the job's params name the dataset instead. A job with a file to be masked is refused:
-- that is done before a job is stored. A dataset that a new job names is locked against removal until
-- the transaction ends. A job or retry whose conversations were all removed with a user's data is refused.
CREATE OR REPLACE FUNCTION evalqueue_store_dataset() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    content CONSTANT text := NEW.params ->> 'csv_content';
    dataset text := NEW.params ->> 'dataset_id';
BEGIN
    IF content IS NULL OR NOT EXISTS (SELECT FROM eval_job_types WHERE job_type = NEW.job_type) THEN
        PERFORM 1 FROM datasets WHERE id = dataset FOR KEY SHARE;
        IF EXISTS (SELECT FROM datasets WHERE id = dataset AND threads = 0)
                OR NEW.params -> 'thread_ids' = '["removed"]' AND NOT EXISTS (
                    SELECT FROM dataset_threads WHERE dataset_id = dataset AND thread_id = 'removed')
                AND EXISTS (SELECT FROM datasets WHERE id = dataset AND threads IS NOT NULL) THEN
            RAISE EXCEPTION 'There is no conversation left: all were removed with the data of a user'
                USING ERRCODE = CASE WHEN NEW.retry_of IS NULL THEN 'invalid_parameter_value'
                    ELSE 'object_not_in_prerequisite_state' END;
        END IF;
        RETURN NEW;
    END IF;
    IF COALESCE(NEW.params -> 'mask', 'null') <> 'null'
            OR COALESCE(NEW.params -> 'mask_names', 'null') <> 'null' THEN
        RAISE EXCEPTION 'The file would be stored as it is: SQL masks nothing'
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Submit the job by HTTP, by the client or by the command line';
    END IF;
    dataset := 'sha256:' || encode(sha256(convert_to(content, 'UTF8')), 'hex');
    LOOP  -- until it is there and stays: an old one may be about to be deleted
        INSERT INTO datasets (id, content, size_bytes)
            VALUES (dataset, content, octet_length(content))
            ON CONFLICT DO NOTHING;
        PERFORM 1 FROM datasets WHERE id = dataset FOR KEY SHARE;
        EXIT WHEN FOUND;
    END LOOP;
    INSERT INTO dataset_owners (dataset_id, owner, name)
        VALUES (dataset, NEW.owner, 'csv_content') ON CONFLICT DO NOTHING;
    NEW.params := NEW.params - 'csv_content' || jsonb_build_object('dataset_id', dataset);
    RETURN NEW;
END;
$$;

CREATE TRIGGER evalqueue_store_dataset BEFORE INSERT ON jobs
    FOR EACH ROW WHEN (NEW.params ?| ARRAY['csv_content', 'dataset_id'])
    EXECUTE FUNCTION evalqueue_store_dataset();

-- Whether an owner that added it, a job, a run or a schedule needs a dataset.
CREATE OR REPLACE FUNCTION evalqueue_dataset_is_needed(dataset text) RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT EXISTS (SELECT 1 FROM dataset_owners WHERE dataset_id = dataset AND kept)
        OR EXISTS (SELECT 1 FROM jobs WHERE params ? 'dataset_id' AND params ->> 'dataset_id' = dataset)
        OR EXISTS (SELECT 1 FROM eval_runs WHERE dataset_id = dataset)
        OR EXISTS (SELECT 1 FROM job_schedules WHERE params ->> 'dataset_id' = dataset);
$$;

-- An owner has a dataset no longer (NULL: no owner has). 'gone': its content was deleted, too;
-- 'kept': others have it, or a job or run needs it; 'read': a job of theirs that is not over reads
-- it, and nothing was changed. NULL: they have none with this id.
CREATE OR REPLACE FUNCTION evalqueue_remove_dataset(dataset text, owner text) RETURNS text
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
BEGIN
    -- A transaction that submits a job that reads it waits, or is seen here.
    PERFORM 1 FROM datasets WHERE id = dataset FOR UPDATE;
    IF NOT EXISTS (SELECT 1 FROM dataset_owners AS entry
            WHERE entry.dataset_id = dataset AND (owner IS NULL OR entry.owner = owner)) THEN
        RETURN NULL;
    END IF;
    IF EXISTS (SELECT 1 FROM jobs
            WHERE params ? 'dataset_id' AND params ->> 'dataset_id' = dataset
                AND completed_at IS NULL AND (owner IS NULL OR jobs.owner = owner)) THEN
        RETURN 'read';
    END IF;
    DELETE FROM dataset_owners AS entry
        WHERE entry.dataset_id = dataset AND (owner IS NULL OR entry.owner = owner);
    DELETE FROM datasets WHERE id = dataset AND NOT evalqueue_dataset_is_needed(dataset)
        AND NOT EXISTS (SELECT 1 FROM dataset_owners WHERE dataset_id = dataset);
    RETURN CASE WHEN FOUND THEN 'gone' ELSE 'kept' END;
END;
$$;
