-- With the job type in it, a queue is counted by type from this index alone: metrics do so.
DROP INDEX jobs_in_queue;
CREATE INDEX jobs_in_order ON jobs (queue, priority DESC, due_at, task_id) INCLUDE (job_type)
    WHERE status = 'queued' AND NOT waiting AND parent_id IS NULL;
