-- lock --
-- One migration at a time in a database; released with the transaction
SELECT pg_advisory_xact_lock(hashtextextended('evalqueue migrate', 0))

-- has_ledger --
SELECT to_regclass('evalqueue_migrations') IS NOT NULL

-- create_ledger --
CREATE TABLE evalqueue_migrations (
    name text PRIMARY KEY,
    digest text,  -- of what was applied
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)

-- applied --
-- A ledger of an early build has no digests
SELECT name, to_jsonb(migration) ->> 'digest' FROM evalqueue_migrations AS migration ORDER BY name

-- record --
INSERT INTO evalqueue_migrations (name, digest) VALUES (%(name)s, %(digest)s)

-- has_procrastinate --
SELECT to_regclass('procrastinate_jobs') IS NOT NULL

-- procrastinate_is_current --
-- The newest thing its schema has that we lean on
SELECT to_regproc('procrastinate_retry_job_v2') IS NOT NULL
    AND to_regproc('procrastinate_fetch_job_v2') IS NOT NULL

-- pin_search_path --
-- Our functions keep the search_path of this transaction: the schema everything is made in, the
-- one procrastinate is in, and nobody's temporary tables before them
SELECT set_config('search_path', concat_ws(', ',
    quote_ident(current_schema()),
    (SELECT quote_ident(nspname) FROM pg_namespace JOIN pg_class ON relnamespace = pg_namespace.oid
        WHERE pg_class.oid = to_regclass('procrastinate_jobs') AND nspname <> current_schema()),
    'pg_temp'), true)
