-- counts --
-- How many rows are about a user, by table
SELECT kind, counted FROM evalqueue_rows_of_user(%(user_id)s)

-- datasets --
-- Those with conversations of a user
SELECT DISTINCT dataset_id FROM dataset_threads
WHERE user_id = %(user_id)s OR other_users @> ARRAY[%(user_id)s::text] ORDER BY 1

-- unread --
-- Files that came by plain SQL and were not read yet, with one of their owners
SELECT id, (SELECT owner FROM dataset_owners WHERE dataset_id = datasets.id LIMIT 1) AS owner
FROM datasets WHERE content IS NOT NULL

-- reading --
-- Jobs that are not over and read conversations of a user
SELECT id::text FROM jobs
WHERE params ? 'dataset_id' AND completed_at IS NULL AND parent_id IS NULL
    AND params ->> 'dataset_id' IN (
        SELECT dataset_id FROM dataset_threads
        WHERE user_id = %(user_id)s OR other_users @> ARRAY[%(user_id)s::text])
ORDER BY created_at LIMIT 10

-- store_rows --
-- Some rows of watched tables become messages, whose users are known; no row: there is none
SELECT evalqueue_store_rows(owner) FROM (SELECT owner FROM watched_rows ORDER BY id LIMIT 1) AS first

-- forget --
-- One chunk of a dataset; the actor is that of the audit log
SELECT evalqueue_forget_user(%(dataset_id)s, %(user_id)s, %(chunk)s, %(audited)s)
WHERE set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL

-- forget_posted --
-- Some of a user's posted conversations; the actor is that of the audit log
SELECT evalqueue_forget_posted(%(user_id)s, %(chunk)s, %(audited)s)
WHERE set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL
