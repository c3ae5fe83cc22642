-- reserve --
SELECT evalqueue_reserve_calls(%(job_id)s, %(attempt)s, %(holder)s, %(asked)s::jsonb)

-- settle --
-- No call is in flight any more: what is left of the reservations is free
UPDATE llm_cap_holders AS mine SET
    held_usd = given.held_usd, held_tokens = given.held_tokens, is_open = false,
    revision = %(revision)s
FROM jsonb_to_recordset(%(held)s::jsonb) AS given (kind text, held_usd numeric, held_tokens bigint)
WHERE holder = %(holder)s AND revision < %(revision)s AND mine.scope LIKE given.kind || ' %%'
    AND (given.kind <> 'month' OR mine.scope LIKE 'month ' || %(month)s || ' %%')
