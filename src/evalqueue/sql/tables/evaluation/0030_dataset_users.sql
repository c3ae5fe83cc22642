-- The conversations of a user, whose data is to be deleted.
CREATE INDEX dataset_threads_of_user ON dataset_threads (user_id);
