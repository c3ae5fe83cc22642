-- COLUMNS --
id, run_id, created_at, expires_at

-- forget_expired --
DELETE FROM run_shares WHERE run_id = %(run_id)s AND expires_at <= clock_timestamp()

-- add --
-- Nothing if the run is gone, or has so many already
INSERT INTO run_shares (run_id, token_hash, expires_at)
SELECT id, %(token_hash)s, clock_timestamp() + make_interval(days => %(days)s)
FROM eval_runs
WHERE id = %(run_id)s AND (SELECT count(*) FROM run_shares WHERE run_id = %(run_id)s) < %(most)s
    AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL
RETURNING COLUMNS

-- of_run --
SELECT COLUMNS FROM run_shares
WHERE run_id = %(run_id)s AND expires_at > clock_timestamp()
ORDER BY created_at DESC, id

-- revoke --
DELETE FROM run_shares
WHERE id = %(share_id)s AND run_id = %(run_id)s AND expires_at > clock_timestamp()
    AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL
RETURNING COLUMNS

-- shown --
-- The run that a token shows
SELECT run_id FROM run_shares WHERE token_hash = %(token_hash)s AND expires_at > clock_timestamp()

-- of_token --
SELECT COLUMNS FROM run_shares
WHERE token_hash = %(token_hash)s AND expires_at > clock_timestamp()
