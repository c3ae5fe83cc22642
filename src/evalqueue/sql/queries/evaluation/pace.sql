-- exchange --
-- Report, and take permits; NULL: the row is locked
SELECT evalqueue_pace(%(credential)s, %(label)s, %(worker)s, %(request)s::jsonb)
