-- Params and results as lists have them.

-- An object of more than 4 KiB with its first 50 keys only: long texts are cut, and lists and objects
-- of more than 200 characters left out. So a page of jobs stays small, whatever its jobs are about.
CREATE OR REPLACE FUNCTION evalqueue_listed(value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path FROM CURRENT AS $$
    SELECT CASE WHEN $1 IS NULL OR octet_length($1::text) <= 4096 THEN $1 ELSE (
        SELECT COALESCE(jsonb_object_agg(left(key, 200), CASE jsonb_typeof(entry)
            WHEN 'string' THEN to_jsonb(CASE WHEN length(entry #>> '{}') <= 200 THEN entry #>> '{}'
                ELSE left(entry #>> '{}', 200) || '…' END)
            ELSE entry END), '{}')
        FROM (SELECT * FROM jsonb_each($1) AS pair (key, entry) LIMIT 50) AS first
        WHERE jsonb_typeof(entry) = 'string' OR length(entry::text) <= 200) END;
$$;
