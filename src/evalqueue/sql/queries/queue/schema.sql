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

-- definition_rights --
-- Statements that give functions and views, made anew, the rights that they have now
SELECT statement FROM pg_proc CROSS JOIN LATERAL (
    SELECT format('ALTER FUNCTION %%I SECURITY DEFINER', proname) WHERE prosecdef
    UNION ALL SELECT format('REVOKE ALL ON FUNCTION %%I FROM PUBLIC', proname)
        WHERE proacl IS NOT NULL
            AND NOT EXISTS (SELECT FROM aclexplode(proacl) WHERE grantee = 0)
    UNION ALL SELECT format('GRANT EXECUTE ON FUNCTION %%I TO %%I', proname, rolname)
        FROM aclexplode(proacl) JOIN pg_roles ON pg_roles.oid = grantee WHERE grantee <> proowner
) AS rights (statement)
WHERE 'FUNCTION ' || proname = ANY (%(names)s) AND pg_function_is_visible(pg_proc.oid)
UNION ALL
SELECT format('GRANT %%s ON %%I TO %%s', privilege_type, relname,
    COALESCE(quote_ident(rolname), 'PUBLIC'))
FROM pg_class CROSS JOIN LATERAL aclexplode(relacl) LEFT JOIN pg_roles ON pg_roles.oid = grantee
WHERE relkind = 'v' AND grantee <> relowner AND 'VIEW ' || relname = ANY (%(names)s)
    AND pg_table_is_visible(pg_class.oid)

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

-- role --
-- Who this session is, quoted as GRANT takes it
SELECT quote_ident(current_user) AS name,
    EXISTS (SELECT FROM unnest(%(tables)s::text[]) AS name WHERE name <> 'evalqueue_migrations'
        AND has_table_privilege(to_regclass(quote_ident(name)), 'INSERT, UPDATE, DELETE')) AS writes,
    pg_has_role('pg_read_all_stats', 'USAGE') AS sees_sessions

-- lacked_rights --
-- What it lacks of a worker's or an API's rights, on what is there; as `evalqueue roles` grants them
WITH wanted AS (
    SELECT 'TABLE' AS object_type, quote_ident(name) AS name, "right",
        has_table_privilege(to_regclass(quote_ident(name)), "right") AS has, place
    FROM unnest(%(tables)s::text[]) AS name
        CROSS JOIN unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[])
            WITH ORDINALITY AS list ("right", place)
    WHERE to_regclass(quote_ident(name)) IS NOT NULL
        AND (name <> 'evalqueue_migrations' OR "right" = 'SELECT')
    UNION ALL
    SELECT 'SEQUENCE', quote_ident(sequence.relname), 'USAGE',
        CASE sequence.relkind WHEN 'S' THEN has_sequence_privilege(sequence.oid, 'USAGE') END, 1
    FROM pg_class AS sequence JOIN pg_depend ON objid = sequence.oid AND deptype IN ('a', 'i')
        JOIN pg_class AS made ON made.oid = refobjid
    WHERE sequence.relkind = 'S' AND made.relname = ANY (%(tables)s) AND pg_table_is_visible(made.oid)
    UNION ALL
    SELECT 'FUNCTION', oid::regprocedure::text, 'EXECUTE', has_function_privilege(oid, 'EXECUTE'), 1
    FROM pg_proc WHERE proname = ANY (%(functions)s) AND pg_function_is_visible(oid)
), lacked AS (
    SELECT object_type, name, string_agg("right", ', ' ORDER BY place) AS rights
    FROM wanted WHERE NOT has GROUP BY object_type, name
)
SELECT object_type, rights, array_agg(name ORDER BY name) AS names FROM lacked
GROUP BY object_type, rights ORDER BY object_type DESC, rights

-- hidden_ledger --
-- A schema of the search_path that holds the ledger, and that this role may not use: its names are
-- not found then
SELECT quote_ident(nspname), quote_ident(current_user)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relname = 'evalqueue_migrations' AND relkind = 'r' AND NOT has_schema_privilege(nspname, 'USAGE')
    AND nspname IN (
        SELECT trim(BOTH ' "' FROM replace(name, '$user', current_user))
        FROM unnest(string_to_array(current_setting('search_path'), ',')) AS name)
LIMIT 1

-- readers --
-- Roles that `evalqueue roles` made to read, by their names and by what they may read: quoted as GRANT
-- takes them
SELECT quote_ident(rolname) FROM pg_attribute
    CROSS JOIN LATERAL aclexplode(attacl) JOIN pg_roles ON pg_roles.oid = grantee
WHERE attrelid = to_regclass('jobs') AND attname = 'id' AND privilege_type = 'SELECT'
    AND NOT has_table_privilege(grantee, 'jobs', 'SELECT')
    AND has_table_privilege(grantee, 'evalqueue_migrations', 'SELECT')
    AND rolname ~ '_read$'
    AND EXISTS (SELECT FROM pg_roles AS beside
        WHERE beside.rolname = regexp_replace(pg_roles.rolname, '_read$', '_submit'))
ORDER BY rolname

-- lacking_roles --
-- Roles that may change jobs, and lack rights on another table or function
SELECT quote_ident(rolname) FROM pg_class CROSS JOIN LATERAL aclexplode(relacl)
    JOIN pg_roles ON pg_roles.oid = grantee
WHERE pg_class.oid = to_regclass('jobs') AND privilege_type = 'UPDATE' AND grantee <> relowner
    AND (
        EXISTS (SELECT FROM unnest(%(tables)s::text[]) AS name
            WHERE NOT has_table_privilege(grantee, to_regclass(quote_ident(name)), 'SELECT'))
        OR EXISTS (SELECT FROM pg_proc
            WHERE proname = ANY (%(functions)s) AND pg_function_is_visible(pg_proc.oid)
                AND NOT has_function_privilege(grantee, pg_proc.oid, 'EXECUTE')))
ORDER BY rolname
