-- Delete jobs that have been over for longer than `keep`, with their attempts and tasks: one chunk.
-- Returns how many jobs were deleted; 0: none is left.
CREATE OR REPLACE FUNCTION evalqueue_prune_jobs(keep interval, chunk integer DEFAULT 1000)
RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();  -- once: an index can use it
    old uuid[];
    tasks bigint[];
BEGIN
    old := ARRAY(SELECT id FROM jobs
        WHERE completed_at < moment - keep AND parent_id IS NULL
        ORDER BY completed_at LIMIT chunk);
    tasks := ARRAY(SELECT task_id FROM jobs
        WHERE (id = ANY (old) OR parent_id = ANY (old)) AND task_id IS NOT NULL ORDER BY task_id);
    DELETE FROM procrastinate_jobs WHERE id = ANY (tasks);
    DELETE FROM jobs WHERE id = ANY (old);
    RETURN cardinality(old);
END;
$$;
