-- Which job a free slot takes next, and which job a full worker gives its slot up for.

-- The next jobs, in fair order: priority first; jobs before helper jobs; of two owners the one with
-- fewer running jobs, over all workers; then the one that is due for longer. Paused and full queues
-- have none. A worker that already works on a job's items gets no helper job of it. Jobs in `skipped`
-- are left out.
CREATE OR REPLACE FUNCTION evalqueue_next_jobs(
    worker text, queues text[], job_types text[], at_most integer, skipped uuid[] DEFAULT '{}'
) RETURNS SETOF jobs
LANGUAGE sql STABLE SET search_path FROM CURRENT
SET enable_hashjoin = on  -- of owners, which may be many
-- While statistics are older than a large backlog, a planner that expects one waiting job would read
-- and sort all of them at each hop. jobs_claimable has them in order.
SET enable_sort = off AS $$
    WITH RECURSIVE stretches AS (  -- hops from stretch to stretch of the index, however long they are
        (SELECT queue, owner, job_type FROM jobs WHERE status = 'queued' AND NOT waiting
            ORDER BY queue, owner, job_type LIMIT 1)
        UNION ALL
        SELECT hop.queue, hop.owner, hop.job_type FROM stretches CROSS JOIN LATERAL (
            SELECT queue, owner, job_type FROM jobs WHERE status = 'queued' AND NOT waiting
                AND (queue, owner, job_type) > (stretches.queue, stretches.owner, stretches.job_type)
            ORDER BY queue, owner, job_type LIMIT 1
        ) AS hop
    ), busy AS (
        SELECT queue, owner, count(*) AS running FROM jobs WHERE status = 'running'
        GROUP BY queue, owner
    ), open AS (
        SELECT stretches.queue, stretches.owner, stretches.job_type,
            COALESCE(busy.running, 0) AS running,
            rules.max_running_per_owner - COALESCE(busy.running, 0) AS free_of_owner,
            rules.max_running - (
                SELECT COALESCE(sum(busy.running), 0) FROM busy WHERE busy.queue = stretches.queue
            ) AS free_in_queue
        FROM stretches LEFT JOIN busy USING (queue, owner)
            LEFT JOIN job_queues AS rules ON rules.name = stretches.queue
        WHERE ($2 IS NULL OR stretches.queue = ANY ($2)) AND stretches.job_type = ANY ($3)
            AND rules.paused_at IS NULL
    ), heads AS (
        SELECT head.job, open.*, (head.job).parent_id IS NOT NULL AS is_helper,
            (head.job).priority, (head.job).due_at, (head.job).task_id
        FROM open CROSS JOIN LATERAL (
            SELECT jobs AS job FROM jobs WHERE status = 'queued' AND NOT waiting
                AND queue = open.queue AND owner = open.owner AND job_type = open.job_type
                AND due_at <= statement_timestamp()  -- which an index can use
                AND id <> ALL ($5)
                AND (parent_id IS NULL OR NOT EXISTS (
                    SELECT 1 FROM jobs AS near WHERE near.status = 'running' AND near.worker = $1
                        AND COALESCE(near.parent_id, near.id) = jobs.parent_id))
            ORDER BY priority DESC, (parent_id IS NOT NULL), due_at, task_id LIMIT $4
        ) AS head
        WHERE COALESCE(open.free_of_owner, 1) > 0 AND COALESCE(open.free_in_queue, 1) > 0
    ), shares AS (
        -- How many jobs of this owner run when those before this one have been claimed, too.
        SELECT *, row_number() OVER (
            PARTITION BY queue, owner ORDER BY priority DESC, is_helper, due_at, task_id) AS nth
        FROM heads
    ), ordered AS (
        SELECT *, row_number() OVER (PARTITION BY queue
            ORDER BY priority DESC, is_helper, running + nth, due_at, task_id) AS nth_in_queue
        FROM shares WHERE free_of_owner IS NULL OR nth <= free_of_owner
    )
    SELECT (job).* FROM ordered WHERE free_in_queue IS NULL OR nth_in_queue <= free_in_queue
    ORDER BY priority DESC, is_helper, running + nth, due_at, task_id
    LIMIT $4;
$$;

-- These tasks' jobs belong to a worker from now on, each with a new attempt.
CREATE OR REPLACE FUNCTION evalqueue_claim_tasks(
    tasks bigint[], worker_id bigint, worker text, lease_seconds double precision
) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT
-- By id only: a plan that was made for small tables must not read whole ones once they have grown.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_variable
BEGIN
    -- The trigger that moves the jobs writes these into the same version of their rows.
    PERFORM set_config('evalqueue.claiming_worker', worker, true),
        set_config('evalqueue.claiming_lease', lease_seconds::text, true);
    UPDATE procrastinate_jobs SET
        status = 'doing', worker_id = evalqueue_claim_tasks.worker_id
    WHERE id = ANY (tasks);
    PERFORM set_config('evalqueue.claiming_worker', '', true);
    INSERT INTO job_attempts (job_id, attempt, worker)
        SELECT jobs.id, jobs.attempt, jobs.worker FROM jobs WHERE task_id = ANY (tasks);
END;
$$;

-- Of two jobs of a lost worker the later one is the reason, if it was claimed so much later.
CREATE OR REPLACE FUNCTION evalqueue_apart() RETURNS interval
LANGUAGE sql IMMUTABLE AS $$
    SELECT interval '5 seconds';
$$;

-- Whether this worker claimed something so short a time ago that a job claimed now could be taken for
-- the reason why the worker is lost, or the other way round.
CREATE OR REPLACE FUNCTION evalqueue_claimed_just_now(worker text) RETURNS boolean
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT EXISTS (
        SELECT 1 FROM jobs JOIN job_attempts AS try
            ON try.job_id = jobs.id AND try.attempt = jobs.attempt
        WHERE jobs.status = 'running' AND jobs.worker = $1
            AND try.started_at > clock_timestamp() - evalqueue_apart());
$$;

-- Up to `slots` jobs belong to this worker from now on, each with a new attempt that runs. They are
-- returned in the order in which they were claimed. Jobs in `skipped` are left out.
--
-- An isolated job is claimed alone, once all that runs here was claimed long enough before it, and no
-- job overtakes it for that. While it runs, its worker claims nothing.
CREATE OR REPLACE FUNCTION evalqueue_claim_jobs(
    worker_id bigint, worker text, queues text[], job_types text[], slots integer,
    lease_seconds double precision, skipped uuid[] DEFAULT '{}'
) RETURNS SETOF jobs
LANGUAGE plpgsql SET search_path FROM CURRENT
-- By id only: a plan that was made for small tables must not read whole ones once they have grown.
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_variable
DECLARE
    open integer := slots;
    candidates bigint[];   -- tasks, in fair order
    jobs_of uuid[];        -- their jobs
    helpers boolean[];     -- which of them are of helper jobs
    isolated integer;      -- place of the first one that runs apart from others
    at_most integer;
    from_here integer;
    up_to integer;
    claimed bigint[];
BEGIN
    IF EXISTS (SELECT 1 FROM jobs
            WHERE jobs.isolated AND jobs.status = 'running' AND jobs.worker = worker) THEN
        RETURN;
    END IF;
    -- Where a limit holds for all workers together, they claim one after another.
    PERFORM 1 FROM job_queues
        WHERE (queues IS NULL OR name = ANY (queues))
            AND (max_running IS NOT NULL OR max_running_per_owner IS NOT NULL)
        ORDER BY name FOR UPDATE;
    WHILE open > 0 LOOP
        at_most := 2 * open + 20;  -- other workers may be claiming some of them
        SELECT array_agg(next.task_id), array_agg(next.id), array_agg(next.parent_id IS NOT NULL),
                array_position(array_agg(next.isolated), true)
            INTO candidates, jobs_of, helpers, isolated
            FROM evalqueue_next_jobs(worker, queues, job_types, at_most, skipped) AS next;
        IF isolated = 1 THEN
            EXIT WHEN open < slots OR evalqueue_claimed_just_now(worker);
            PERFORM 1 FROM procrastinate_jobs WHERE id = candidates[1] AND status = 'todo'
                FOR UPDATE SKIP LOCKED;
            IF NOT FOUND THEN  -- another worker is claiming it
                skipped := skipped || jobs_of[1];
                CONTINUE;
            END IF;
        END IF;
        IF isolated IS NOT NULL THEN
            candidates := candidates[:GREATEST(isolated - 1, 1)];
            helpers := helpers[:GREATEST(isolated - 1, 1)];
        END IF;
        claimed := '{}';
        up_to := 0;
        -- All jobs up to the next helper job, or one helper job: afterwards this worker gets no other
        -- helper job of the same job.
        WHILE cardinality(claimed) = 0 AND up_to < cardinality(candidates) LOOP
            from_here := up_to + 1;
            up_to := CASE WHEN helpers[from_here] THEN from_here ELSE COALESCE(
                from_here - 2 + array_position(helpers[from_here:], true), cardinality(candidates)) END;
            -- A job that another worker is claiming is skipped.
            SELECT array_agg(free.id) INTO claimed FROM (
                SELECT task.id
                FROM unnest(candidates[from_here:up_to]) WITH ORDINALITY AS candidate (id, place)
                    JOIN procrastinate_jobs AS task USING (id)
                WHERE task.status = 'todo'
                    AND (task.scheduled_at IS NULL OR task.scheduled_at <= clock_timestamp())
                ORDER BY candidate.place LIMIT open FOR UPDATE OF task SKIP LOCKED
            ) AS free;
            claimed := COALESCE(claimed, '{}');
        END LOOP;
        EXIT WHEN cardinality(claimed) = 0;
        PERFORM evalqueue_claim_tasks(claimed, worker_id, worker, lease_seconds);
        RETURN QUERY
            SELECT jobs.* FROM unnest(claimed) WITH ORDINALITY AS listed (task_id, place)
                JOIN jobs USING (task_id) ORDER BY place;
        open := open - cardinality(claimed);
        EXIT WHEN up_to = cardinality(candidates) AND up_to < at_most;
    END LOOP;
END;
$$;

-- After a claim that raised: which of the jobs can't be claimed, and why. NULL: this one can. Each is
-- tried by itself, and nothing is changed.
CREATE OR REPLACE FUNCTION evalqueue_try_claims(
    worker_id bigint, worker text, queues text[], job_types text[], slots integer,
    lease_seconds double precision, skipped uuid[]
) RETURNS TABLE (job_id uuid, problem text)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    task_id bigint;
BEGIN
    FOR job_id, task_id IN
        SELECT next.id, next.task_id
        FROM evalqueue_next_jobs(worker, queues, job_types, 2 * slots + 20, skipped) AS next
    LOOP
        BEGIN
            PERFORM 1 FROM procrastinate_jobs WHERE id = task_id FOR UPDATE SKIP LOCKED;
            CONTINUE WHEN NOT FOUND;
            PERFORM evalqueue_claim_tasks(ARRAY[task_id], worker_id, worker, lease_seconds);
            SET CONSTRAINTS ALL IMMEDIATE;
            RAISE EXCEPTION USING ERRCODE = 'EQ000', MESSAGE = 'claimed';  -- undoes it
        EXCEPTION
            WHEN SQLSTATE 'EQ000' THEN problem := NULL;
            WHEN query_canceled OR OTHERS THEN problem := SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
END;
$$;

-- Which of the jobs it holds should a full worker put back, so that others get their share? A helper
-- job yields its slot to any job. A job yields once it had its slice: to one of higher priority, to
-- one that never ran (it may be short), and to one whose owner has so many fewer jobs running that it
-- still has no more afterwards.
CREATE OR REPLACE FUNCTION evalqueue_jobs_to_yield(
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
        SELECT * FROM evalqueue_next_jobs(worker, queues, job_types, cardinality(held))
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

-- Seconds until a job is due that no NOTIFY will announce. NULL: there is none. Below zero: one is
-- due, and waits for what this worker does.
CREATE OR REPLACE FUNCTION evalqueue_next_due(queues text[], worker text DEFAULT NULL)
RETURNS double precision
LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT LEAST((
        SELECT EXTRACT(epoch FROM due_at - statement_timestamp())::double precision FROM jobs
        WHERE status = 'queued' AND NOT waiting AND ($1 IS NULL OR queue = ANY ($1))
            -- What became due within the last second may have slipped between the claim and this look.
            AND due_at > statement_timestamp() - interval '1 second'
        ORDER BY due_at LIMIT 1
    ), (
        SELECT -1.0::double precision FROM jobs
        WHERE isolated AND status = 'queued' AND NOT waiting AND due_at <= statement_timestamp()
            AND ($1 IS NULL OR queue = ANY ($1)) AND evalqueue_claimed_just_now($2)
        LIMIT 1
    ));
$$;
