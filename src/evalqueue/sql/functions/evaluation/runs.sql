-- A run follows its job: the states of tables/evaluation/0005_runs.sql. A job has a run when its type
-- is in eval_job_types; the run's id is in the job's progress.

-- From now on each new job of this type has a run, and so have those that were submitted before and
-- have not begun: no worker that has not declared the type takes them. Called by workers when they
-- start.
CREATE OR REPLACE FUNCTION evalqueue_declare_job_type(job_type text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    job jobs;
BEGIN
    INSERT INTO eval_job_types VALUES (job_type) ON CONFLICT DO NOTHING;
    FOR job IN
        SELECT * FROM jobs
        WHERE jobs.job_type = job_type AND jobs.status = 'queued' AND jobs.attempt = 0
            AND jobs.parent_id IS NULL AND NOT jobs.progress ? 'run_id'
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        job.progress := job.progress || jsonb_build_object('run_id', gen_random_uuid());
        UPDATE jobs SET progress = job.progress WHERE id = job.id;
        PERFORM evalqueue_open_run(job);
    END LOOP;
END;
$$;

-- The id of a job's run is in its progress from the first moment. A helper job shares its parent's
-- run, a retry continues the one of the job it retries.
CREATE OR REPLACE FUNCTION evalqueue_name_run() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM eval_job_types WHERE job_type = NEW.job_type) THEN
        NEW.progress := NEW.progress || jsonb_build_object('run_id', COALESCE(
            (SELECT progress ->> 'run_id' FROM jobs WHERE id = COALESCE(NEW.parent_id, NEW.retry_of)),
            gen_random_uuid()::text));
    END IF;
    RETURN NEW;
END;
$$;

CREATE TRIGGER evalqueue_name_run BEFORE INSERT ON jobs
    FOR EACH ROW EXECUTE FUNCTION evalqueue_name_run();

-- A run is opened with its job, or attached to the job that retries it: its threads stay, its end is
-- taken back. It names the dataset that it will read and the app's content where its job does.
CREATE OR REPLACE FUNCTION evalqueue_open_run(job jobs) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO eval_runs (
        id, job_id, command, app_id, name, description, llm_provider, llm_model, data_path, owner,
        dataset_id, app_digest
    ) VALUES (
        (job.progress ->> 'run_id')::uuid, job.id, job.job_type, job.params ->> 'app_id',
        job.params ->> 'name', job.params ->> 'description', job.params ->> 'llm_provider',
        job.params ->> 'llm_model', job.params ->> 'data_path', job.owner,
        (SELECT id FROM datasets WHERE id = job.params ->> 'dataset_id'),
        (SELECT digest FROM apps WHERE digest = job.params ->> 'app_digest')
    )
    ON CONFLICT (id) DO UPDATE SET
        job_id = EXCLUDED.job_id, status = 'pending', completed_at = NULL,
        duration_seconds = NULL, error_message = NULL, summary = NULL
        WHERE eval_runs.completed_at IS NOT NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'Run % is not over: job % can''t be retried now',
                job.progress ->> 'run_id', job.retry_of
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Another job goes on with it: wait for that one, or cancel it.';
    END IF;
END;
$$;

CREATE OR REPLACE FUNCTION evalqueue_open_run_of_new_job() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM evalqueue_open_run(NEW);
    RETURN NULL;
END;
$$;

-- A new job's progress names a run only because evalqueue_name_run put it there.
CREATE TRIGGER evalqueue_open_run AFTER INSERT ON jobs
    FOR EACH ROW WHEN (NEW.progress ? 'run_id' AND NEW.parent_id IS NULL)
    EXECUTE FUNCTION evalqueue_open_run_of_new_job();

-- The run changes with its job, in the same transaction. The job's result is its summary, beside
-- {run_id, run_status, duration_seconds}. What a message says went wrong may quote a conversation: it
-- is the run's error, and not in the summary. A cancelled run says how many items were processed.
CREATE OR REPLACE FUNCTION evalqueue_follow_job() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    over CONSTANT boolean := NEW.completed_at IS NOT NULL;
    incomplete CONSTANT boolean := evalqueue_is_incomplete(NEW.status, NEW.result);
    unsound CONSTANT boolean := incomplete OR NEW.status <> 'completed';
BEGIN
    UPDATE eval_runs SET
        status = CASE
            WHEN NEW.status = 'queued' THEN 'pending'
            WHEN NEW.status = 'completed' AND incomplete THEN 'completed_with_errors'
            ELSE NEW.status END,
        started_at = COALESCE(started_at, NEW.started_at),
        completed_at = NEW.completed_at,
        error_message = CASE WHEN over THEN COALESCE(NEW.error_message,
            CASE WHEN unsound THEN NULLIF(left(NEW.result ->> 'message', 4000), '') END) END,
        duration_seconds = CASE WHEN over AND NEW.started_at IS NOT NULL
            THEN GREATEST(EXTRACT(epoch FROM NEW.completed_at - NEW.started_at), 0) END,
        summary = CASE
            WHEN NEW.status <> 'cancelled' THEN
                NEW.result - ARRAY['run_id', 'run_status', 'duration_seconds', 'incomplete']
                    - CASE WHEN unsound THEN 'message' ELSE '' END
            WHEN NEW.job_type = 'evaluate-adversarial' THEN jsonb_build_object(
                'total_tests', total_items, 'cancelled', true, 'processed',
                (SELECT count(*) FROM adversarial_evaluations WHERE run_id = eval_runs.id))
            ELSE jsonb_build_object(
                'total_threads', total_items, 'cancelled', true, 'processed',
                (SELECT count(*) FROM thread_evaluations WHERE run_id = eval_runs.id)) END
    WHERE job_id = NEW.id;
    IF OLD.status = 'running' AND NEW.status <> 'completed' THEN
        PERFORM evalqueue_count_stored(NEW);
    END IF;
    RETURN NULL;
END;
$$;

-- Its name comes after evalqueue_settle_dependents, which ends the helper jobs: what they store is
-- counted, too.
CREATE TRIGGER evalqueue_update_run AFTER UPDATE OF status ON jobs
    FOR EACH ROW
    WHEN (NEW.progress ? 'run_id' AND NEW.parent_id IS NULL
        AND OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION evalqueue_follow_job();

-- Progress is written less often than results are stored. The worker of a job that is cancelled or lost
-- can't write it any more: it is brought up to what is stored, as a checkpoint counts it.
CREATE OR REPLACE FUNCTION evalqueue_count_stored(job jobs) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    run CONSTANT uuid := job.progress ->> 'run_id';
    noun text := 'Thread';
    stored bigint;
    ok bigint;
    total bigint;
BEGIN
    -- A worker that yields, postpones or tries again has written all of it.
    IF job.status = 'queued' AND NOT EXISTS (SELECT FROM job_attempts AS tried
            WHERE tried.job_id = job.id AND tried.attempt = job.attempt
                AND tried.outcome IN ('lost', 'released')) THEN
        RETURN;
    END IF;
    IF job.job_type = 'evaluate-adversarial' THEN
        noun := 'Case';
        SELECT count(*), count(verdict) INTO stored, ok FROM adversarial_evaluations
            WHERE run_id = run AND (verdict IS NOT NULL OR job_id = job.id);
    ELSE
        SELECT count(*), count(*) FILTER (WHERE error IS NULL) INTO stored, ok FROM thread_evaluations
            WHERE run_id = run AND (missing_verdicts = 0 OR job_id = job.id);
    END IF;
    IF stored > (job.progress ->> 'current')::numeric THEN
        SELECT GREATEST((job.progress ->> 'total')::numeric, total_items, stored) INTO total
            FROM eval_runs WHERE id = run;
        UPDATE jobs SET progress = jobs.progress || jsonb_build_object(
            'current', stored, 'total', total, 'message', format('%s %s/%s (%s ok, %s failed)',
                COALESCE(substring(job.progress ->> 'message' from '^(\S+) \d+/\d+ \('), noun),
                stored, total, ok, stored - ok))
        WHERE jobs.id = job.id;
    END IF;
END;
$$;
