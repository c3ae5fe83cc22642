-- The fleet: which workers there are, which of them looks after the others' jobs, and who gets what.

-- A worker that runs. It says so every few seconds; one that was not heard of for a minute is gone.
CREATE TABLE job_workers (
    id bigint PRIMARY KEY REFERENCES procrastinate_workers ON DELETE CASCADE,
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    queues text[],                          -- NULL: all
    job_types text[] NOT NULL,
    slots integer NOT NULL,
    stuck integer NOT NULL DEFAULT 0,       -- handlers that ignore being cancelled
    draining boolean NOT NULL DEFAULT false,
    listening boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One worker at a time looks after the fleet, for a term that it may renew. Rows and database time
-- only: nothing of it lives in a session, so a pooler in between changes nothing.
CREATE TABLE job_leader (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    worker text NOT NULL,
    term bigint NOT NULL DEFAULT 1,         -- goes up with every change of hands
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at timestamptz NOT NULL
);

CREATE FUNCTION evalqueue_enter_worker(
    name text, host text, pid integer, version text, queues text[], job_types text[], slots integer
) RETURNS job_workers
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    entered job_workers;
BEGIN
    INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id INTO entered.id;
    INSERT INTO job_workers (id, name, host, pid, version, queues, job_types, slots)
        -- A process that was restarted may have its predecessor's host and number: the id tells.
        VALUES (entered.id, format('%s@%s:%s/%s', name, host, pid, entered.id), host, pid, version,
            queues, job_types, slots)
        RETURNING * INTO entered;
    RETURN entered;
END;
$$;

-- A worker lives. False: it was taken for gone, and has to enter again.
CREATE FUNCTION evalqueue_beat(
    worker_id bigint, stuck integer, draining boolean, listening boolean
) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
BEGIN
    UPDATE procrastinate_workers SET last_heartbeat = clock_timestamp() WHERE id = worker_id;
    UPDATE job_workers SET
        stuck = evalqueue_beat.stuck, draining = evalqueue_beat.draining,
        listening = evalqueue_beat.listening, seen_at = clock_timestamp()
    WHERE id = worker_id;
    RETURN FOUND;
END;
$$;

CREATE FUNCTION evalqueue_leave(worker_id bigint) RETURNS void
LANGUAGE sql SET search_path FROM CURRENT AS $$
    UPDATE job_leader SET ends_at = clock_timestamp()
        WHERE worker = (SELECT name FROM job_workers WHERE id = $1) AND ends_at > clock_timestamp();
    DELETE FROM procrastinate_workers WHERE id = $1;
$$;

-- Who is next, in fair order: priority first; jobs before hands; of two owners the one with fewer
-- running jobs, over all workers; then who came first. Paused and full queues have nobody next.
-- A hand is of no use to a worker that already works on its parent's items.
CREATE FUNCTION evalqueue_next_in_line(
    worker text, queues text[], job_types text[], at_most integer
) RETURNS SETOF jobs
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH RECURSIVE lines AS (  -- hops from line to line, however long they are
        (SELECT queue, owner, job_type FROM jobs WHERE status = 'queued' AND NOT waiting
            ORDER BY queue, owner, job_type LIMIT 1)
        UNION ALL
        SELECT hop.queue, hop.owner, hop.job_type FROM lines CROSS JOIN LATERAL (
            SELECT queue, owner, job_type FROM jobs WHERE status = 'queued' AND NOT waiting
                AND (queue, owner, job_type) > (lines.queue, lines.owner, lines.job_type)
            ORDER BY queue, owner, job_type LIMIT 1
        ) AS hop
    ), busy AS (
        SELECT queue, owner, count(*) AS running FROM jobs WHERE status = 'running'
        GROUP BY queue, owner
    ), open AS (
        SELECT lines.queue, lines.owner, lines.job_type, COALESCE(busy.running, 0) AS running
        FROM lines LEFT JOIN busy USING (queue, owner)
            LEFT JOIN job_queues AS rules ON rules.name = lines.queue
        WHERE ($2 IS NULL OR lines.queue = ANY ($2)) AND lines.job_type = ANY ($3)
            AND rules.paused_at IS NULL
            AND (rules.max_running_per_owner IS NULL
                OR COALESCE(busy.running, 0) < rules.max_running_per_owner)
            AND (rules.max_running IS NULL OR rules.max_running > (
                SELECT COALESCE(sum(busy.running), 0) FROM busy WHERE busy.queue = lines.queue))
    )
    SELECT head.* FROM open CROSS JOIN LATERAL (
        SELECT * FROM jobs WHERE status = 'queued' AND NOT waiting
            AND queue = open.queue AND owner = open.owner AND job_type = open.job_type
            AND due_at <= statement_timestamp()  -- which an index can use
            AND (parent_id IS NULL OR NOT EXISTS (
                SELECT 1 FROM jobs AS near WHERE near.status = 'running' AND near.worker = $1
                    AND COALESCE(near.parent_id, near.id) = jobs.parent_id))
        ORDER BY priority DESC, (parent_id IS NOT NULL), due_at, task_id LIMIT $4
    ) AS head
    ORDER BY head.priority DESC, (head.parent_id IS NOT NULL), open.running, head.due_at, head.task_id
    LIMIT $4;
$$;

-- Up to `slots` jobs are this worker's from now on, each with a new attempt that runs.
CREATE FUNCTION evalqueue_claim_jobs(
    worker_id bigint, worker text, queues text[], job_types text[], slots integer,
    lease_seconds double precision
) RETURNS SETOF jobs
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    candidate jobs;
    job jobs;
BEGIN
    -- Where a limit holds for all workers together, they claim one after another.
    PERFORM 1 FROM job_queues
        WHERE (queues IS NULL OR name = ANY (queues))
            AND (max_running IS NOT NULL OR max_running_per_owner IS NOT NULL)
        ORDER BY name FOR UPDATE;
    FOR slot IN 1..slots LOOP
        job := NULL;
        FOR candidate IN SELECT * FROM evalqueue_next_in_line(worker, queues, job_types, 20) LOOP
            -- Whoever is being claimed by another worker is passed over.
            PERFORM 1 FROM procrastinate_jobs
                WHERE id = candidate.task_id AND status = 'todo'
                    AND (scheduled_at IS NULL OR scheduled_at <= clock_timestamp())
                FOR UPDATE SKIP LOCKED;
            CONTINUE WHEN NOT FOUND;
            UPDATE procrastinate_jobs SET
                status = 'doing', worker_id = evalqueue_claim_jobs.worker_id
            WHERE id = candidate.task_id;
            UPDATE jobs SET
                worker = evalqueue_claim_jobs.worker,
                lease_expires_at = clock_timestamp() + make_interval(secs => lease_seconds)
            WHERE id = candidate.id RETURNING * INTO job;
            INSERT INTO job_attempts (job_id, attempt, worker) VALUES (job.id, job.attempt, worker);
            RETURN NEXT job;
            EXIT;
        END LOOP;
        EXIT WHEN job.id IS NULL;
    END LOOP;
END;
$$;

-- Which of the jobs it holds should a full worker put back, so that others get their share? A hand
-- makes room for any job. A job makes room once it had its slice: for one of higher priority, for
-- one that never ran (it may be short), and for one whose owner has so much less running that it
-- is still no more afterwards.
CREATE FUNCTION evalqueue_make_room(
    worker text, held uuid[], queues text[], job_types text[], slice_seconds double precision
) RETURNS SETOF uuid
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    head jobs;
    leaving uuid;
    chosen uuid[] := '{}';
BEGIN
    FOR head IN
        SELECT * FROM evalqueue_next_in_line(worker, queues, job_types, cardinality(held))
        WHERE parent_id IS NULL
    LOOP
        WITH busy AS (
            SELECT queue, owner, count(*) AS running FROM jobs WHERE status = 'running'
            GROUP BY queue, owner
        )
        SELECT ours.id INTO leaving
        FROM jobs AS ours
            JOIN job_attempts AS try ON try.job_id = ours.id AND try.attempt = ours.attempt
            JOIN busy USING (queue, owner)
        WHERE ours.id = ANY (held) AND ours.id <> ALL (chosen) AND ours.status = 'running'
            AND ours.priority <= head.priority
            AND (ours.parent_id IS NOT NULL OR (
                try.started_at < clock_timestamp() - make_interval(secs => slice_seconds)
                AND (head.priority > ours.priority OR head.attempt = 0 OR busy.running >= 2 + COALESCE((
                    SELECT other.running FROM busy AS other
                    WHERE other.queue = head.queue AND other.owner = head.owner), 0))))
        ORDER BY (ours.parent_id IS NULL), ours.priority, busy.running DESC, try.started_at
        LIMIT 1;
        IF leaving IS NOT NULL THEN
            chosen := chosen || leaving;
            RETURN NEXT leaving;
        END IF;
    END LOOP;
END;
$$;

-- Seconds until a job is due that no NOTIFY will tell. NULL: none is.
CREATE FUNCTION evalqueue_next_due(queues text[]) RETURNS double precision
LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT EXTRACT(epoch FROM due_at - statement_timestamp())::double precision FROM jobs
    WHERE status = 'queued' AND NOT waiting AND (queues IS NULL OR queue = ANY (queues))
        -- What became due within the last second may have slipped between claim and this look.
        AND due_at > statement_timestamp() - interval '1 second'
    ORDER BY due_at LIMIT 1;
$$;

-- A look after the whole fleet, by one worker at a time: jobs that lost their worker go back, records
-- of workers that are gone are removed, and whoever waits for a job that is over is let go. `due_in`
-- is the number of seconds until this worker should look again.
CREATE FUNCTION evalqueue_sweep(
    worker text, term_seconds double precision,
    OUT in_charge boolean, OUT reaped integer, OUT due_in double precision
)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    term CONSTANT interval := make_interval(secs => term_seconds);
    moment CONSTANT timestamptz := clock_timestamp();
    unattended CONSTANT interval := moment - (SELECT job_leader.ends_at FROM job_leader);
    ends timestamptz;
BEGIN
    reaped := 0;
    INSERT INTO job_leader AS held (worker, ends_at) VALUES (worker, moment + term)
        ON CONFLICT (one) DO UPDATE SET
            worker = EXCLUDED.worker, ends_at = EXCLUDED.ends_at,
            term = held.term + CASE WHEN held.worker = EXCLUDED.worker THEN 0 ELSE 1 END,
            since = CASE WHEN held.worker = EXCLUDED.worker THEN held.since ELSE EXCLUDED.since END
        WHERE held.worker = EXCLUDED.worker OR held.ends_at < clock_timestamp();
    in_charge := FOUND;
    IF NOT in_charge THEN
        SELECT job_leader.ends_at INTO ends FROM job_leader;
        due_in := GREATEST(EXTRACT(epoch FROM ends - clock_timestamp()), 0);
        RETURN;
    END IF;

    -- If nobody at all was in office, the database was away, and nobody could extend a lease:
    -- whoever still lives says so within a term.
    IF unattended > term / 2 THEN
        UPDATE jobs SET lease_expires_at = GREATEST(lease_expires_at, moment + term)
            WHERE status = 'running';
    END IF;

    -- The leader's row is locked until this ends: there is no second one, however slow this is.
    reaped := evalqueue_reap_jobs();
    DELETE FROM procrastinate_workers WHERE id IN (
        SELECT id FROM procrastinate_workers
        WHERE last_heartbeat < clock_timestamp() - interval '1 minute'
        ORDER BY id FOR UPDATE SKIP LOCKED);
    PERFORM evalqueue_let_begin(next) FROM jobs AS next
        LEFT JOIN jobs AS before ON before.id = next.after_id
        WHERE next.waiting AND next.status = 'queued'
            AND (before.id IS NULL OR before.completed_at IS NOT NULL)
        ORDER BY next.task_id;
    IF FOUND THEN  -- a chain that was too long for one transaction may go on
        due_in := 0;
        RETURN;
    END IF;
    SELECT min(lease_expires_at) INTO ends FROM jobs WHERE status = 'running';
    due_in := GREATEST(LEAST(EXTRACT(epoch FROM ends - clock_timestamp()), term_seconds / 2), 0);
END;
$$;

-- What is old goes, a chunk at a time. NULL keeps for ever. Returns how many rows went; 0: all did.
--
--   keep_jobs  jobs that are over, with their attempts, tasks, and datasets nobody names any more
--   keep_runs  runs that are over, with their threads and calls
--   keep_logs  the LLM calls of runs that are over
CREATE FUNCTION evalqueue_prune(
    keep_jobs interval, keep_runs interval, keep_logs interval, chunk integer DEFAULT 1000
) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    old uuid[];
    tasks bigint[];
    unnamed text[];
    gone integer;
    total integer := 0;
BEGIN
    IF keep_logs IS NOT NULL THEN
        DELETE FROM api_logs WHERE id IN (
            SELECT log.id FROM eval_runs AS run JOIN api_logs AS log ON log.run_id = run.id
            WHERE run.completed_at < moment - keep_logs LIMIT chunk);
        GET DIAGNOSTICS gone = ROW_COUNT;
        total := total + gone;
    END IF;
    IF keep_runs IS NOT NULL THEN
        -- One run may have ten thousand threads.
        DELETE FROM eval_runs WHERE id IN (
            SELECT id FROM eval_runs WHERE completed_at < moment - keep_runs
            ORDER BY completed_at LIMIT GREATEST(chunk / 100, 1) FOR UPDATE SKIP LOCKED);
        GET DIAGNOSTICS gone = ROW_COUNT;
        total := total + gone;
    END IF;
    IF keep_jobs IS NOT NULL THEN
        old := ARRAY(SELECT id FROM jobs
            WHERE completed_at < moment - keep_jobs AND parent_id IS NULL
            ORDER BY completed_at LIMIT chunk);
        tasks := ARRAY(SELECT task_id FROM jobs
            WHERE (id = ANY (old) OR parent_id = ANY (old)) AND task_id IS NOT NULL ORDER BY task_id);
        DELETE FROM procrastinate_jobs WHERE id = ANY (tasks);
        DELETE FROM jobs WHERE id = ANY (old);
        total := total + cardinality(old);
        unnamed := ARRAY(SELECT id FROM datasets
            WHERE created_at < moment - keep_jobs
                AND NOT EXISTS (SELECT 1 FROM jobs WHERE params ? 'dataset_id'
                    AND params ->> 'dataset_id' = datasets.id)
            LIMIT chunk FOR UPDATE SKIP LOCKED);
        -- Looked at again, now that they are locked: a job may just have been submitted.
        DELETE FROM datasets WHERE id = ANY (unnamed)
            AND NOT EXISTS (SELECT 1 FROM jobs WHERE params ? 'dataset_id'
                AND params ->> 'dataset_id' = datasets.id);
        GET DIAGNOSTICS gone = ROW_COUNT;
        total := total + gone;
    END IF;
    RETURN total;
END;
$$;
