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

-- used_in_month --
-- What the calls of an owner have used in this month, without those in flight
SELECT COALESCE((
    SELECT used_usd + (
        SELECT COALESCE(sum(held_usd), 0) FROM llm_cap_holders AS holding
        WHERE holding.scope = llm_caps.scope AND NOT is_open
    )
    FROM llm_caps
    WHERE scope = 'month ' || to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM') || ' '
        || %(owner)s
), (
    SELECT sum(cost_usd) FROM llm_usage
    WHERE owner = %(owner)s AND hour >= date_trunc('month', clock_timestamp(), 'UTC')
), 0)
