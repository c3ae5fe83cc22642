-- Caps: what LLM calls may use at most is reserved before they are made.

-- The row of a cap, locked, with all that is held by attempts that are over. A month begins with what
-- its owner's calls have cost so far.
CREATE OR REPLACE FUNCTION evalqueue_lock_cap(
    cap_scope text, month_owner text, my_job uuid, my_holder uuid
) RETURNS llm_caps
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    locked llm_caps;
BEGIN
    SELECT * INTO locked FROM llm_caps WHERE scope = cap_scope FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO llm_caps (scope, used_usd)
        SELECT cap_scope, COALESCE(sum(cost_usd), 0) FROM llm_usage
        WHERE owner = month_owner AND hour >= date_trunc('month', clock_timestamp(), 'UTC')
        ON CONFLICT DO NOTHING;
        SELECT * INTO locked FROM llm_caps WHERE scope = cap_scope FOR UPDATE;
    END IF;
    WITH over AS (
        DELETE FROM llm_cap_holders AS other
        WHERE other.scope = cap_scope AND other.holder <> my_holder AND (
            other.job_id = my_job OR NOT EXISTS (
                SELECT FROM jobs WHERE jobs.id = other.job_id AND jobs.attempt = other.attempt
                    AND jobs.status = 'running'))
        RETURNING held_usd, held_tokens
    )
    UPDATE llm_caps SET
        used_usd = used_usd + (SELECT COALESCE(sum(held_usd), 0) FROM over),
        used_tokens = used_tokens + (SELECT COALESCE(sum(held_tokens), 0) FROM over)
    WHERE scope = cap_scope AND EXISTS (SELECT FROM over)
    RETURNING * INTO locked;
    IF NOT FOUND THEN
        SELECT * INTO locked FROM llm_caps WHERE scope = cap_scope;
    END IF;
    RETURN locked;
END;
$$;

-- Reserve for as many of some calls as fit, in their order.
--
--   asked  {"caps": [{"kind": "job" or "month", "name": the job's id or the owner, "held_usd",
--          "held_tokens": what the calls of this attempt used, and what those in flight may use;
--          "limit_usd", "limit_tokens": NULL for none}],
--          "usd": […], "tokens": […]: what each new call may use at most,
--          "extra_usd", "extra_tokens": for calls that come later, where much is left;
--          "in_flight": how many calls are not settled; "revision": the number of the statement}
--
-- {granted: how many, extra: whether that was reserved, too; kind, unit, limit: of the cap that refused
-- the next call; is_open: whether other attempts may leave some of it; month}. NULL: the attempt is
-- over, or a later statement of it came first.
CREATE OR REPLACE FUNCTION evalqueue_reserve_calls(
    job_id uuid, attempt integer, holder uuid, asked jsonb
) RETURNS jsonb
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    PLENTY CONSTANT integer := 4;  -- so many times the extra has to be free
    my_job CONSTANT uuid := $1;
    my_attempt CONSTANT integer := $2;
    my_holder CONSTANT uuid := $3;
    this_month CONSTANT text := to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM');
    scopes text[] := '{}';
    free_usd numeric[] := '{}';
    free_tokens numeric[] := '{}';
    caps jsonb[] := '{}';
    cap jsonb;
    locked llm_caps;
    others record;
    granted integer := 0;
    sum_usd numeric := 0;
    sum_tokens numeric := 0;
    next_usd numeric;
    next_tokens numeric;
    refusing jsonb := '{}';
    with_extra boolean := true;
BEGIN
    PERFORM FROM jobs WHERE id = my_job AND jobs.attempt = my_attempt AND status = 'running';
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- Always in the same order, so that two attempts never wait for each other.
    FOR cap IN SELECT each FROM jsonb_array_elements(asked -> 'caps') AS each ORDER BY each ->> 'kind'
    LOOP
        scopes := scopes || CASE cap ->> 'kind'
            WHEN 'month' THEN 'month ' || this_month || ' ' || (cap ->> 'name')
            ELSE 'job ' || (cap ->> 'name') END;
        locked := evalqueue_lock_cap(
            scopes[cardinality(scopes)], CASE WHEN cap ->> 'kind' = 'month' THEN cap ->> 'name' END,
            my_job, my_holder);
        IF EXISTS (SELECT FROM llm_cap_holders AS mine WHERE mine.scope = locked.scope
                AND mine.holder = my_holder AND mine.revision >= (asked ->> 'revision')::bigint) THEN
            RETURN NULL;
        END IF;
        SELECT COALESCE(sum(held_usd), 0) AS usd, COALESCE(sum(held_tokens), 0) AS tokens,
            COALESCE(bool_or(is_open), false) AS are_open
        INTO others FROM llm_cap_holders AS other
        WHERE other.scope = locked.scope AND other.holder <> my_holder;
        caps := caps || (cap || jsonb_build_object('is_open', others.are_open));
        free_usd := free_usd || ((cap ->> 'limit_usd')::numeric
            - locked.used_usd - others.usd - (cap ->> 'held_usd')::numeric);
        free_tokens := free_tokens || ((cap ->> 'limit_tokens')::numeric
            - locked.used_tokens - others.tokens - (cap ->> 'held_tokens')::numeric);
    END LOOP;

    <<calls>>
    FOR i IN 0 .. jsonb_array_length(asked -> 'usd') - 1 LOOP
        next_usd := sum_usd + (asked -> 'usd' ->> i)::numeric;
        next_tokens := sum_tokens + (asked -> 'tokens' ->> i)::numeric;
        FOR n IN 1 .. cardinality(caps) LOOP
            IF next_usd > free_usd[n] OR next_tokens > free_tokens[n] THEN
                refusing := jsonb_build_object(
                    'kind', caps[n] -> 'kind', 'is_open', caps[n] -> 'is_open',
                    'unit', CASE WHEN next_usd > free_usd[n] THEN 'usd' ELSE 'tokens' END,
                    'limit', CASE WHEN next_usd > free_usd[n] THEN caps[n] ->> 'limit_usd'
                        ELSE caps[n] ->> 'limit_tokens' END);
                EXIT calls;
            END IF;
        END LOOP;
        granted := granted + 1;
        sum_usd := next_usd;
        sum_tokens := next_tokens;
    END LOOP;

    FOR n IN 1 .. cardinality(caps) LOOP
        with_extra := with_extra AND refusing = '{}'
            AND sum_usd + PLENTY * (asked ->> 'extra_usd')::numeric
                <= COALESCE(free_usd[n], 'Infinity')
            AND sum_tokens + PLENTY * (asked ->> 'extra_tokens')::numeric
                <= COALESCE(free_tokens[n], 'Infinity');
    END LOOP;
    IF with_extra THEN
        sum_usd := sum_usd + (asked ->> 'extra_usd')::numeric;
        sum_tokens := sum_tokens + (asked ->> 'extra_tokens')::numeric;
    END IF;

    FOR n IN 1 .. cardinality(caps) LOOP
        INSERT INTO llm_cap_holders AS mine (
            scope, holder, job_id, attempt, held_usd, held_tokens, is_open, revision
        ) VALUES (
            scopes[n], my_holder, my_job, my_attempt, (caps[n] ->> 'held_usd')::numeric + sum_usd,
            (caps[n] ->> 'held_tokens')::bigint + sum_tokens::bigint,
            granted > 0 OR (asked ->> 'in_flight')::integer > 0, (asked ->> 'revision')::bigint
        )
        ON CONFLICT ON CONSTRAINT llm_cap_holders_pkey DO UPDATE SET
            held_usd = EXCLUDED.held_usd, held_tokens = EXCLUDED.held_tokens,
            is_open = EXCLUDED.is_open, revision = EXCLUDED.revision;
    END LOOP;
    RETURN refusing || jsonb_build_object(
        'granted', granted, 'extra', with_extra, 'month', this_month);
END;
$$;
