-- lock --
-- One new version of an owner's app at a time; released with the transaction
SELECT pg_advisory_xact_lock(hashtextextended('evalqueue app ' || %(owner)s || ' ' || %(app_id)s, 0))

-- store --
SELECT evalqueue_store_app(%(digest)s, %(app_id)s, %(document)s)

-- add_version --
INSERT INTO app_versions (owner, app_id, version, digest)
SELECT %(owner)s, %(app_id)s, COALESCE(max(version), 0) + 1, %(digest)s
FROM app_versions WHERE owner = %(owner)s AND app_id = %(app_id)s
HAVING set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL

-- versions --
-- Newest first. NULL: of any owner, any app, any version; only the newest of each app if asked for
SELECT app_id, owner, version, digest, created_at, document FROM (
    SELECT entry.app_id, entry.owner, entry.version, entry.digest, entry.created_at, apps.document,
        max(entry.version) OVER (PARTITION BY entry.owner, entry.app_id) AS newest
    FROM app_versions AS entry JOIN apps USING (digest)
    WHERE (%(owner)s::text IS NULL OR entry.owner = %(owner)s)
        AND (%(app_id)s::text IS NULL OR entry.app_id = %(app_id)s)
) AS known
WHERE (%(version)s::integer IS NULL OR version = %(version)s)
    AND (%(digest)s::text IS NULL OR digest = %(digest)s)
    AND (NOT %(only_newest)s OR version = newest)
ORDER BY owner IS DISTINCT FROM %(first_owner)s, created_at DESC, owner, app_id, version DESC
LIMIT %(limit)s OFFSET %(offset)s

-- content --
SELECT document FROM apps WHERE digest = %(digest)s

-- is_shipped --
-- Whether a content was once stored for a shipped app; no owner can store one with its app_id
SELECT EXISTS (SELECT 1 FROM apps WHERE digest = %(digest)s AND app_id = %(app_id)s)

-- remove --
SELECT evalqueue_remove_app(%(owner)s, %(app_id)s)
WHERE set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL

-- of_dataset --
SELECT app_id FROM dataset_owners WHERE dataset_id = %(dataset_id)s AND owner = %(owner)s

-- set_of_dataset --
UPDATE dataset_owners SET app_id = %(app_id)s
WHERE dataset_id = %(dataset_id)s AND owner = %(owner)s
    AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL RETURNING true

-- pin --
-- A job that named no version of its app uses this one from now on, and so do its helper jobs
UPDATE jobs SET params = params || jsonb_build_object(
    'app_id', %(app_id)s::text, 'app_digest', %(digest)s::text)
WHERE id = %(job_id)s AND NOT params ? 'app_digest'
