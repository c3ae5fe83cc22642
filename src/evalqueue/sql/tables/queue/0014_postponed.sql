-- An attempt may end because its job waits for something outside, such as a vendor's batch.
ALTER TABLE job_attempts DROP CONSTRAINT job_attempts_outcome_is_known;
ALTER TABLE job_attempts ADD CONSTRAINT job_attempts_outcome_is_known CHECK (
    outcome IN ('completed', 'failed', 'retried', 'released', 'yielded', 'postponed', 'cancelled',
        'lost')
);
