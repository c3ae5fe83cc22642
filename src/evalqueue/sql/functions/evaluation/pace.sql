-- The pace of one credential's LLM calls: what happened since is reported, permits are taken.

-- A limit as it is used: what its vendor counts differs a little from what is counted here.
CREATE OR REPLACE FUNCTION evalqueue_below_limit(stated double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT stated * 0.97
$$;

-- Answers, refusals and failures since the last report change what is known of a credential.
CREATE OR REPLACE FUNCTION evalqueue_learn_pace(
    known llm_credentials, report jsonb, moment timestamptz
) RETURNS llm_credentials
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    SLOWEST CONSTANT double precision := 1 / 120.0;
    FASTEST CONSTANT double precision := 10000;
    answered CONSTANT integer := COALESCE((report ->> 'answered')::integer, 0);
    refused CONSTANT integer := COALESCE((report ->> 'refused')::integer, 0);
    failed CONSTANT integer := COALESCE((report ->> 'failed')::integer, 0);
    succeeded CONSTANT boolean := COALESCE((report ->> 'succeeded')::boolean, false);
    retry_after CONSTANT double precision := (report ->> 'retry_after')::double precision;
    probe CONSTANT text := report ->> 'probe';
    breaker CONSTANT integer := (report ->> 'breaker')::integer;
    is_limited CONSTANT boolean := COALESCE((report ->> 'waiting')::integer, 0) > 0;
    is_current CONSTANT boolean := (report ->> 'epoch')::bigint = known.epoch;
    stated double precision := (report ->> 'request_limit')::double precision;
    measured double precision;
    stalled double precision;
    pause double precision;
    passed double precision;
BEGIN
    IF stated > 0 AND stated IS DISTINCT FROM known.request_limit THEN
        known.request_limit := stated;
        known.rate := LEAST(evalqueue_below_limit(stated), FASTEST);
        known.is_starting := false;
        known.ceiling := NULL;
    END IF;
    stated := (report ->> 'token_limit')::double precision;
    IF stated > 0 AND stated IS DISTINCT FROM known.token_limit THEN
        known.token_limit := stated;
    END IF;

    IF known.updated_at < moment - interval '2 s' AND known.paused_until IS NULL THEN
        known.exhausted_at := NULL;  -- not all that was admitted since is known
        known.admitted := 0;
    END IF;
    IF moment >= known.minute_began_at + interval '60 s' THEN
        known.minute_began_at := moment;
        known.minute_admitted := 0;
    END IF;
    IF answered > 0 THEN
        known.admitted := known.admitted + answered;
        known.minute_admitted := known.minute_admitted + answered;
        known.succeeded_at := moment;
        IF known.is_starting THEN
            IF NOT known.is_probing AND is_limited AND moment >= known.grown_at + interval '0.25 s' THEN
                known.rate := LEAST(known.rate * 2, FASTEST);
                known.grown_at := moment;
            END IF;
        ELSIF NOT known.is_probing AND is_limited THEN
            -- Quickly to the measured limit, slowly beyond: each step past it costs a refusal.
            passed := LEAST(EXTRACT(EPOCH FROM moment - known.updated_at), 10);
            known.rate := LEAST(FASTEST, known.rate * (1 + CASE
                WHEN COALESCE(known.rate < 0.95 * known.ceiling, true)
                    OR known.exhausted_at < moment - interval '10 min'
                    THEN LEAST(0.005 * answered, 0.1 * passed)
                ELSE LEAST(0.00025 * answered, 0.002 * passed) END));
        END IF;
    END IF;
    IF succeeded OR probe = 'answered' THEN
        known.failures := 0;
    END IF;

    IF probe IS NOT NULL AND is_current AND known.is_probing AND probe <> 'held' THEN
        known.probe_worker := NULL;
        known.probe_until := NULL;
    END IF;
    IF probe = 'answered' AND is_current AND known.is_probing THEN
        stalled := EXTRACT(EPOCH FROM moment - known.exhausted_at);
        IF known.pause_kind = 'refused' AND known.refused_probes > 0 THEN
            -- Nothing at all was admitted for a while: a window, and what was spent is its limit. It
            -- began a little before: the last call that was refused is up to a fifth of that ago.
            passed := EXTRACT(EPOCH FROM moment - known.spent_since);
            IF known.spent > 0 AND known.request_limit IS NULL THEN
                known.ceiling := known.spent / (passed - stalled / 5);
                known.rate := GREATEST(LEAST(known.rate, 0.95 * known.spent / passed), SLOWEST);
            END IF;
            known.exhausted_at := moment;
        END IF;
        known.is_probing := false;
        known.paused_until := NULL;
        known.pause_kind := NULL;
        known.pause_reason := NULL;
        known.probe_delay := 0.5;
        known.next_request_at := moment + make_interval(secs => 1 / known.rate);
        known.next_token_at := GREATEST(known.next_token_at, moment);
        known.grown_at := moment;
    END IF;

    IF refused > 0 AND is_current THEN
        IF NOT known.is_probing OR probe IS DISTINCT FROM 'refused' OR known.pause_kind IS NULL THEN
            known.spent := known.admitted;
            known.spent_since := known.exhausted_at;
            IF known.exhausted_at IS NULL THEN
                known.spent := known.minute_admitted;
                known.spent_since := known.minute_began_at;
            ELSIF known.admitted > 0 AND NOT known.is_starting THEN
                -- From one exhaustion to the next, what was admitted is what was allowed.
                measured := known.admitted / GREATEST(
                    EXTRACT(EPOCH FROM moment - known.exhausted_at), 0.05);
            END IF;
            known.rate := GREATEST(SLOWEST, CASE
                WHEN known.is_starting THEN known.rate / 2
                WHEN measured IS NULL THEN known.rate * 0.7
                WHEN known.admitted < 3 THEN LEAST(known.rate, GREATEST(0.7 * known.rate, measured))
                ELSE GREATEST(LEAST(0.95 * measured, 0.95 * known.rate),
                    -- A busy machine measures too little: what was measured before counts as well.
                    known.rate * CASE WHEN known.ceiling IS NULL THEN 0.25 ELSE 0.5 END) END);
            IF known.admitted >= 3 THEN
                known.ceiling := COALESCE(measured, known.ceiling);
            END IF;
            known.is_starting := false;
            known.epoch := known.epoch + 1;
            known.exhausted_at := moment;
            known.admitted := 0;
            known.probe_delay := 0.5;
            known.refused_probes := 0;
            pause := COALESCE(GREATEST(retry_after, LEAST(0.3, 2 / known.rate)),
                LEAST(GREATEST(0.3, 2 / known.rate), 5));
        ELSE
            stalled := EXTRACT(EPOCH FROM moment - known.exhausted_at);
            known.refused_probes := known.refused_probes + 1;
            pause := GREATEST(retry_after, known.probe_delay);  -- a date has no fractions
            known.probe_delay := LEAST(GREATEST(0.5, stalled / 4), GREATEST(5, stalled / 10), 60);
        END IF;
        known.is_probing := true;
        known.pause_kind := 'refused';
        known.pause_reason := left(report ->> 'reason', 500);
        known.paused_until := moment + make_interval(secs => pause);
        known.next_request_at := known.paused_until;
    ELSIF refused > 0 AND retry_after > 0 AND known.is_probing AND known.pause_kind = 'refused' THEN
        known.paused_until := GREATEST(
            known.paused_until, moment + make_interval(secs => retry_after));
    END IF;

    IF failed > 0 THEN
        known.failures := CASE WHEN succeeded THEN failed ELSE known.failures + failed END;
        IF probe = 'failed' AND is_current THEN
            known.pause_kind := 'failed';
            known.pause_reason := left(report ->> 'reason', 500);
            known.paused_until := moment + make_interval(secs => known.probe_delay);
            known.probe_delay := LEAST(known.probe_delay * 2, 60);
        ELSIF known.failures >= breaker AND NOT known.is_probing THEN
            known.epoch := known.epoch + 1;
            known.exhausted_at := NULL;
            known.is_probing := true;
            known.pause_kind := 'failed';
            known.pause_reason := left(report ->> 'reason', 500);
            known.probe_delay := 2;
            known.paused_until := moment + interval '1 s';
        END IF;
    END IF;
    RETURN known;
END;
$$;

-- Report what happened to the calls of one worker process, say what it wants, and take permits: how
-- many, from when on, and how far apart. NULL: another process is at it; ask again in 20 ms.
--
-- A permit is for one call at one moment, and none is given for a moment that is more than `ahead`
-- seconds away: what a dead process has taken is little. Permits that were not used are `returned`.
-- The limits of the settings come with each request. Time is database time (`moment`: for tests).
CREATE OR REPLACE FUNCTION evalqueue_pace(
    credential text, label text, worker text, request jsonb, moment timestamptz DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    BURST CONSTANT interval := interval '0.5 s';  -- of unused allowance may be caught up with
    known llm_credentials;
    wanted integer := COALESCE((request ->> 'wanted')::integer, 0);
    tokens CONSTANT double precision := COALESCE((request ->> 'tokens_each')::double precision, 0);
    ahead CONSTANT interval := make_interval(secs => (request ->> 'ahead')::double precision);
    jobs CONSTANT jsonb := COALESCE(request -> 'jobs', '[]');
    set_rate CONSTANT double precision := (request ->> 'set_rate')::double precision;
    set_tokens CONSTANT double precision := (request ->> 'set_tokens')::double precision;
    pace double precision;
    token_pace double precision;
    token_step double precision := 0;
    step double precision;
    first_at timestamptz;
    granted integer := 0;
    is_probe boolean := false;
    in_flight bigint;
    is_enough boolean;  -- no call waits
BEGIN
    SELECT * INTO known FROM llm_credentials
        WHERE llm_credentials.credential = credential FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        INSERT INTO llm_credentials (credential, label, rate, is_starting, grown_at, next_request_at,
                next_token_at, minute_began_at, exhausted_at, updated_at)
            SELECT credential, label, COALESCE(set_rate, 16), set_rate IS NULL, now.at,
                now.at - BURST, now.at - BURST, now.at, now.at, now.at
            FROM (SELECT COALESCE(moment, clock_timestamp()) AS at) AS now
            ON CONFLICT DO NOTHING;
        SELECT * INTO known FROM llm_credentials
            WHERE llm_credentials.credential = credential FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    moment := COALESCE(moment, clock_timestamp());

    -- What was taken under an earlier epoch was not taken from the present allowance.
    IF (request ->> 'epoch')::bigint = known.epoch AND NOT known.is_probing THEN
        known.next_request_at := known.next_request_at - make_interval(
            secs => COALESCE((request ->> 'returned_seconds')::double precision, 0));
    END IF;
    token_pace := LEAST(set_tokens, evalqueue_below_limit(known.token_limit));
    IF token_pace > 0 THEN
        known.next_token_at := known.next_token_at + make_interval(
            secs => COALESCE((request ->> 'token_change')::double precision, 0) / token_pace);
    END IF;

    known := evalqueue_learn_pace(known, request, moment);
    known.rate := LEAST(known.rate, set_rate, evalqueue_below_limit(known.request_limit));

    DELETE FROM llm_demand
        WHERE llm_demand.credential = credential AND expires_at < moment;
    IF jobs = '[]' THEN
        DELETE FROM llm_demand
            WHERE llm_demand.credential = credential AND llm_demand.worker = worker;
    ELSE
        INSERT INTO llm_demand (credential, worker, demand, expires_at)
            VALUES (credential, worker, jobs, moment + interval '4 s')
            ON CONFLICT ON CONSTRAINT llm_demand_pkey
            DO UPDATE SET demand = EXCLUDED.demand, expires_at = EXCLUDED.expires_at;
    END IF;
    SELECT COALESCE(sum((job ->> 'in_flight')::bigint), 0),
            COALESCE(sum((job ->> 'waiting')::bigint), 0) = 0
        INTO in_flight, is_enough
        FROM llm_demand, jsonb_array_elements(llm_demand.demand) AS job
        WHERE llm_demand.credential = credential;

    IF NOT known.is_probing AND in_flight = 0
            AND COALESCE(known.succeeded_at < moment - interval '5 min', true) THEN
        known.is_probing := true;
        known.probe_delay := 0.5;
    END IF;
    IF request ->> 'probe' = 'held' AND known.probe_worker = worker THEN
        known.probe_until := moment + interval '4 s';
    END IF;

    pace := known.rate;
    token_pace := LEAST(set_tokens, evalqueue_below_limit(known.token_limit));
    step := 1 / pace;
    IF token_pace > 0 THEN
        token_step := tokens / token_pace;
    END IF;
    IF is_enough AND NOT known.is_probing THEN
        known.exhausted_at := NULL;  -- allowance was left: what was admitted is not what is allowed
        known.admitted := 0;
    END IF;
    first_at := GREATEST(known.next_request_at, moment - BURST);
    IF token_pace > 0 THEN
        known.next_token_at := GREATEST(known.next_token_at, moment - BURST);
        first_at := GREATEST(first_at, known.next_token_at);
        step := GREATEST(step, token_step);
    END IF;
    IF known.is_probing THEN
        first_at := GREATEST(first_at, known.paused_until, known.probe_until);
        IF known.probe_worker IS NULL OR known.probe_until < moment THEN
            first_at := GREATEST(known.paused_until, moment);
            IF wanted > 0 AND first_at <= moment THEN
                granted := 1;
                is_probe := true;
                known.probe_worker := worker;
                known.probe_until := moment + interval '4 s';
            END IF;
        END IF;
    ELSIF first_at <= moment + ahead THEN
        granted := LEAST(wanted,
            floor(EXTRACT(EPOCH FROM moment + ahead - first_at) / step)::integer + 1);
    END IF;
    IF granted > 0 THEN
        known.next_request_at := first_at + make_interval(secs => granted * step);
        known.next_token_at := GREATEST(known.next_token_at, moment - BURST)
            + make_interval(secs => granted * token_step);
    END IF;
    known.updated_at := moment;

    UPDATE llm_credentials SET
        label = evalqueue_pace.label,
        rate = known.rate, is_starting = known.is_starting, ceiling = known.ceiling,
        request_limit = known.request_limit, token_limit = known.token_limit,
        grown_at = known.grown_at, next_request_at = known.next_request_at,
        next_token_at = known.next_token_at, epoch = known.epoch,
        exhausted_at = known.exhausted_at, admitted = known.admitted, spent = known.spent,
        spent_since = known.spent_since, minute_began_at = known.minute_began_at,
        minute_admitted = known.minute_admitted, paused_until = known.paused_until,
        pause_kind = known.pause_kind, pause_reason = known.pause_reason,
        is_probing = known.is_probing, probe_worker = known.probe_worker,
        probe_until = known.probe_until, probe_delay = known.probe_delay,
        refused_probes = known.refused_probes,
        succeeded_at = known.succeeded_at, failures = known.failures,
        updated_at = known.updated_at
    WHERE llm_credentials.credential = credential;

    RETURN jsonb_build_object(
        'granted', granted,
        'is_probe', is_probe,
        'first_in', EXTRACT(EPOCH FROM first_at - moment)::double precision,
        'step', step,
        'rate', pace,
        'token_rate', token_pace,
        'stated', LEAST(set_rate, known.request_limit),
        'is_limit_known', known.request_limit IS NOT NULL OR set_rate IS NOT NULL
            OR known.ceiling IS NOT NULL,
        'epoch', known.epoch,
        'is_probing', known.is_probing,
        'pause_kind', known.pause_kind,
        'pause_reason', known.pause_reason,
        'failures', known.failures,
        'succeeded_ago', EXTRACT(EPOCH FROM moment - known.succeeded_at)::double precision,
        'demand', COALESCE((
            SELECT jsonb_agg(jsonb_build_object('worker', other.worker, 'jobs', other.demand))
            FROM llm_demand AS other WHERE other.credential = evalqueue_pace.credential), '[]')
    );
END;
$$;
