-- lock --
-- One migration at a time in a database; released with the transaction
SELECT pg_advisory_xact_lock(hashtextextended('evalqueue migrate', 0))

-- limit_waits --
-- For this transaction: how long it waits for a lock; what it does with one may take as long as it takes
SELECT set_config('lock_timeout', %(lock_timeout)s, true), set_config('statement_timeout', '0', true)

-- backend --
-- Also behind a pooler, in a transaction
SELECT pg_backend_pid()

-- lock_budget --
-- Milliseconds after which a session that waits looks for a deadlock
SELECT setting::double precision FROM pg_settings WHERE name = 'deadlock_timeout'

-- blockers --
-- The sessions that another one waits for
SELECT blocking.pid, usename::text AS who, NULLIF(application_name, '') AS application, state,
    clock_timestamp() - xact_start AS age, left(query, 1000) AS query
FROM (SELECT DISTINCT unnest(pg_blocking_pids(%(pid)s))) AS blocking (pid)
    LEFT JOIN pg_stat_activity AS activity ON activity.pid = blocking.pid
ORDER BY xact_start NULLS LAST LIMIT 10

-- has_ledger --
SELECT to_regclass('evalqueue_migrations') IS NOT NULL

-- create_ledger --
-- A row per table file, and one per function, view and trigger: those are named as DROP names them
CREATE TABLE evalqueue_migrations (
    name text PRIMARY KEY,
    digest text NOT NULL,  -- of what was applied
    signature text,        -- of a definition: what can't be replaced in place
    -- Digests of the definition's earlier bodies, newest first, as long as the signature is the same:
    -- the build that has one of these is older than the database, and can work with it.
    earlier text[] NOT NULL DEFAULT '{}',
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)

-- applied --
-- The ledger of an older build has fewer columns
SELECT name, ledger ->> 'digest' AS digest, ledger ->> 'signature' AS signature,
    COALESCE(ledger -> 'earlier', '[]') AS earlier
FROM (SELECT name, to_jsonb(migration) AS ledger FROM evalqueue_migrations AS migration) AS recorded

-- defer_checks --
-- A body may call functions that are created after it; a test checks them all
SELECT set_config('check_function_bodies', 'off', true)

-- existing --
-- Functions, views and triggers of this name pattern, as DROP names them, that are there now
SELECT 'FUNCTION ' || proname FROM pg_proc
    WHERE proname LIKE 'evalqueue\_%' AND pg_function_is_visible(oid)
UNION SELECT 'VIEW ' || relname FROM pg_class WHERE relkind = 'v' AND pg_table_is_visible(oid)
UNION SELECT 'TRIGGER ' || tgname || ' ON ' || relname
    FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
    WHERE NOT tgisinternal AND pg_table_is_visible(tgrelid)

-- sizes --
-- Of those relations that are there, as of their last VACUUM or ANALYZE, which waits for no lock; of an
-- index, its table
SELECT relation, target.relname::text AS "table",
    current_setting('block_size')::bigint * (target.relpages + COALESCE(toast.relpages, 0)) AS bytes,
    target.reltuples::bigint AS rows
FROM unnest(%(names)s::text[]) AS relation
    LEFT JOIN pg_index ON indexrelid = to_regclass(quote_ident(relation))
    JOIN pg_class AS target ON target.oid = COALESCE(indrelid, to_regclass(quote_ident(relation)))
    LEFT JOIN pg_class AS toast ON toast.oid = target.reltoastrelid
WHERE target.relkind IN ('r', 'p')

-- record --
INSERT INTO evalqueue_migrations (name, digest) VALUES (%(name)s, %(digest)s)

-- function_rights --
-- Statements that give functions, made anew, the rights that they have now
SELECT statement FROM pg_proc CROSS JOIN LATERAL (
    SELECT format('ALTER FUNCTION %%I SECURITY DEFINER', proname) WHERE prosecdef
    UNION ALL SELECT format('REVOKE ALL ON FUNCTION %%I FROM PUBLIC', proname)
        WHERE proacl IS NOT NULL
            AND NOT EXISTS (SELECT FROM aclexplode(proacl) WHERE grantee = 0)
    UNION ALL SELECT format('GRANT EXECUTE ON FUNCTION %%I TO %%I', proname, rolname)
        FROM aclexplode(proacl) JOIN pg_roles ON pg_roles.oid = grantee WHERE grantee <> proowner
) AS rights (statement)
WHERE proname = ANY (%(names)s) AND pg_function_is_visible(pg_proc.oid)

-- record_definitions --
INSERT INTO evalqueue_migrations AS recorded (name, digest, signature)
SELECT name, digest, signature
FROM unnest(%(names)s::text[], %(digests)s::text[], %(signatures)s::text[])
    AS given (name, digest, signature)
ON CONFLICT (name) DO UPDATE SET
    digest = EXCLUDED.digest, signature = EXCLUDED.signature, applied_at = clock_timestamp(),
    earlier = CASE WHEN recorded.signature <> EXCLUDED.signature THEN '{}'
        WHEN recorded.digest = EXCLUDED.digest THEN recorded.earlier
        ELSE (recorded.digest || recorded.earlier)[1:20] END

-- forget_definitions --
DELETE FROM evalqueue_migrations WHERE name = ANY (%(names)s)

-- has_procrastinate --
SELECT to_regclass('procrastinate_jobs') IS NOT NULL

-- procrastinate_is_current --
-- The newest parts of its schema that our SQL uses
SELECT to_regproc('procrastinate_retry_job_v2') IS NOT NULL
    AND to_regproc('procrastinate_fetch_job_v2') IS NOT NULL

-- pin_search_path --
-- Our functions keep the search_path of this transaction: the schema everything is created in, the
-- one procrastinate is in, and no session's temporary tables before them
SELECT set_config('search_path', concat_ws(', ',
    quote_ident(current_schema()),
    (SELECT quote_ident(nspname) FROM pg_namespace JOIN pg_class ON relnamespace = pg_namespace.oid
        WHERE pg_class.oid = to_regclass('procrastinate_jobs') AND nspname <> current_schema()),
    'pg_temp'), true)
