-- The conversations of a user, whose data is to be deleted. `user_id` is the first that a conversation
-- names, or 'unknown'.
ALTER TABLE dataset_threads ADD COLUMN other_users text[];  -- whom it names besides; NULL: no one
CREATE INDEX dataset_threads_of_user ON dataset_threads (user_id);
CREATE INDEX dataset_threads_of_other_user ON dataset_threads USING gin (other_users)
    WHERE other_users IS NOT NULL;
