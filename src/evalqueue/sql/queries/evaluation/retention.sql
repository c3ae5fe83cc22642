-- prune --
-- One chunk of what is old; 0: none is left
SELECT evalqueue_prune(%(keep_jobs)s, %(keep_runs)s, %(keep_logs)s, keep_audit => %(keep_audit)s,
    is_recorded => %(is_recorded)s)
WHERE set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL
