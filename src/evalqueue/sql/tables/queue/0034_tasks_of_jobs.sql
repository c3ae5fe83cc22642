-- A job that nothing carries would wait for ever: only evalqueue_submit_job makes one. It is checked
-- for new rows and for changed ones; scanning all rows would block a large table.
ALTER TABLE jobs ADD CONSTRAINT jobs_have_a_task_until_they_are_over
    CHECK (task_id IS NOT NULL OR completed_at IS NOT NULL) NOT VALID;
