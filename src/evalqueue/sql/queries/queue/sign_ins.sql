-- start --
-- Beside it, those that are over are deleted, and a caller's oldest ones beyond a hundred
WITH started AS (
    INSERT INTO api_sessions (digest, name, permission, token, expires_at)
    VALUES (%(digest)s, %(name)s, %(permission)s, %(token)s,
        clock_timestamp() + make_interval(secs => %(seconds)s))
)
DELETE FROM api_sessions WHERE expires_at < clock_timestamp()
    OR digest IN (SELECT digest FROM api_sessions WHERE name = %(name)s
        ORDER BY created_at DESC OFFSET %(at_most)s)

-- current --
SELECT name, permission, token FROM api_sessions
WHERE digest = %(digest)s AND expires_at > clock_timestamp()

-- end --
DELETE FROM api_sessions WHERE digest = %(digest)s
