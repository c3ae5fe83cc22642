-- prune --
-- One chunk of what is old; 0: none is left
SELECT evalqueue_prune(%(keep_jobs)s, %(keep_runs)s, %(keep_logs)s)
