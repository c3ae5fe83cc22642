-- The pace of one credential's LLM calls: permits are taken from its row, which all workers share.

-- The row of a credential, locked, and made if there is none. NULL: another process has locked it.
CREATE OR REPLACE FUNCTION evalqueue_lock_pace(
    credential text, label text, set_rate double precision, moment timestamptz
) RETURNS llm_credentials
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    known llm_credentials;
BEGIN
    SELECT * INTO known FROM llm_credentials
        WHERE llm_credentials.credential = credential FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        RETURN known;
    END IF;
    moment := COALESCE(moment, clock_timestamp());
    INSERT INTO llm_credentials (credential, label, rate, is_starting, grown_at, next_request_at,
            next_token_at, minute_began_at, exhausted_at, updated_at)
        VALUES (credential, label, COALESCE(set_rate, 16), set_rate IS NULL, moment,
            moment - interval '0.5 s', moment - interval '0.5 s', moment, moment, moment)
        ON CONFLICT DO NOTHING;
    SELECT * INTO known FROM llm_credentials
        WHERE llm_credentials.credential = credential FOR UPDATE SKIP LOCKED;
    RETURN CASE WHEN FOUND THEN known END;
END;
$$;

-- Write a row that was changed.
CREATE OR REPLACE FUNCTION evalqueue_save_pace(known llm_credentials) RETURNS void
LANGUAGE sql SET search_path FROM CURRENT AS $$
    UPDATE llm_credentials SET
        label = known.label,
        rate = known.rate, is_starting = known.is_starting, ceiling = known.ceiling,
        request_limit = known.request_limit, token_limit = known.token_limit,
        grown_at = known.grown_at, next_request_at = known.next_request_at,
        next_token_at = known.next_token_at, epoch = known.epoch,
        exhausted_at = known.exhausted_at, measured_since = known.measured_since,
        admitted = known.admitted, spent = known.spent,
        spent_since = known.spent_since, minute_began_at = known.minute_began_at,
        minute_admitted = known.minute_admitted, paused_until = known.paused_until,
        pause_kind = known.pause_kind, pause_reason = known.pause_reason,
        is_probing = known.is_probing, probe_worker = known.probe_worker,
        probe_until = known.probe_until, probe_delay = known.probe_delay,
        refused_probes = known.refused_probes, unexplained_share = known.unexplained_share,
        succeeded_at = known.succeeded_at, failures = known.failures,
        updated_at = known.updated_at
    WHERE credential = known.credential
$$;

-- How many calls one process may have in flight: what it wants, out of what the others leave, and at
-- least what is in flight already. NULL: the settings don't bound them.
CREATE OR REPLACE FUNCTION evalqueue_call_slots(credential text, worker text, request jsonb)
RETURNS integer
LANGUAGE sql SET search_path FROM CURRENT AS $$
    SELECT GREATEST(0, LEAST(
        (request ->> 'concurrent')::bigint - (
            SELECT COALESCE(sum(other.slots), 0) FROM llm_demand AS other
            WHERE other.credential = evalqueue_call_slots.credential
                AND other.worker <> evalqueue_call_slots.worker),
        GREATEST((request ->> 'slots')::bigint, (
            SELECT sum((job ->> 'in_flight')::bigint)
            FROM jsonb_array_elements(request -> 'jobs') AS job))
    ))::integer
    WHERE request ->> 'concurrent' IS NOT NULL
$$;

-- Write down what one worker process wants. Returns the calls of all of them, and how many calls this
-- one may have in flight (NULL: the settings don't bound them).
--
-- `known_at`: the last exchange of any process. After a gap all of them may have gone on by themselves,
-- and each has to say something before its calls are forgotten.
CREATE OR REPLACE FUNCTION evalqueue_note_demand(
    credential text, worker text, request jsonb, known_at timestamptz, moment timestamptz,
    OUT in_flight bigint, OUT waiting bigint, OUT slots integer
)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    SILENCE CONSTANT interval := '4 s';
    jobs CONSTANT jsonb := COALESCE(request -> 'jobs', '[]');
BEGIN
    IF known_at < moment - interval '2 s' THEN
        UPDATE llm_demand SET expires_at = moment + SILENCE
            WHERE llm_demand.credential = credential AND llm_demand.slots > 0;
    END IF;
    DELETE FROM llm_demand
        WHERE llm_demand.credential = credential
            AND (expires_at < moment OR (jobs = '[]' AND llm_demand.worker = worker));
    slots := evalqueue_call_slots(credential, worker, request);
    IF jobs <> '[]' THEN
        INSERT INTO llm_demand (credential, worker, demand, slots, expires_at)
            VALUES (credential, worker, jobs, COALESCE(slots, 0), moment + SILENCE)
            ON CONFLICT ON CONSTRAINT llm_demand_pkey
            DO UPDATE SET demand = EXCLUDED.demand, slots = EXCLUDED.slots,
                expires_at = EXCLUDED.expires_at;
    END IF;
    SELECT COALESCE(sum((job ->> 'in_flight')::bigint), 0),
            COALESCE(sum((job ->> 'waiting')::bigint), 0)
        INTO in_flight, waiting
        FROM llm_demand, jsonb_array_elements(llm_demand.demand) AS job
        WHERE llm_demand.credential = credential;
END;
$$;

-- Give the permit for the one call that is made alone, if no worker has it.
CREATE OR REPLACE FUNCTION evalqueue_give_probe(
    INOUT known llm_credentials, worker text, wanted integer, moment timestamptz,
    OUT granted integer, OUT first_at timestamptz
)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    granted := 0;
    IF known.probe_worker IS NULL OR known.probe_until < moment THEN
        first_at := GREATEST(known.paused_until, moment);
        IF wanted > 0 AND first_at <= moment THEN
            granted := 1;
            known.probe_worker := worker;
            known.probe_until := moment + interval '4 s';
        END IF;
    ELSE
        first_at := GREATEST(known.next_request_at, moment, known.paused_until);
        IF known.probe_worker = worker OR known.pause_kind = 'failed' THEN
            first_at := GREATEST(first_at, known.probe_until);
        ELSE  -- the call of another process is nearly over
            first_at := GREATEST(first_at, moment + interval '0.1 s');
        END IF;
    END IF;
END;
$$;

-- Give permits by the generic cell rate algorithm: the next one is due a step after the last one, and
-- half a second of unused allowance may be caught up with.
CREATE OR REPLACE FUNCTION evalqueue_give_permits(
    INOUT known llm_credentials, worker text, request jsonb, token_pace double precision,
    moment timestamptz,
    OUT granted integer, OUT first_at timestamptz, OUT step double precision
)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    oldest CONSTANT timestamptz := moment - interval '0.5 s';
    wanted CONSTANT integer := COALESCE((request ->> 'wanted')::integer, 0);
    ahead CONSTANT interval := make_interval(secs => (request ->> 'ahead')::double precision);
    token_step double precision := 0;
    probe record;
BEGIN
    step := 1 / known.rate;
    first_at := GREATEST(known.next_request_at, oldest);
    known.next_token_at := GREATEST(known.next_token_at, oldest);
    IF token_pace > 0 THEN
        token_step := COALESCE((request ->> 'tokens_each')::double precision, 0) / token_pace;
        first_at := GREATEST(first_at, known.next_token_at);
        step := GREATEST(step, token_step);
    END IF;
    granted := 0;
    IF known.is_probing THEN
        probe := evalqueue_give_probe(known, worker, wanted, moment);
        known := probe.known;
        granted := probe.granted;
        first_at := probe.first_at;
    ELSIF first_at <= moment + ahead THEN
        granted := LEAST(wanted,
            floor(EXTRACT(EPOCH FROM moment + ahead - first_at) / step)::integer + 1);
    END IF;
    IF granted > 0 THEN
        -- Not by the step of tokens, some of which may be given back.
        known.next_request_at := first_at + make_interval(secs => granted / known.rate);
        known.next_token_at := known.next_token_at + make_interval(secs => granted * token_step);
    END IF;
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
    set_rate CONSTANT double precision := (request ->> 'set_rate')::double precision;
    set_tokens CONSTANT double precision := (request ->> 'set_tokens')::double precision;
    known llm_credentials;
    known_at timestamptz;
    token_pace double precision;
    demand record;
    permits record;
BEGIN
    known := evalqueue_lock_pace(credential, label, set_rate, moment);
    IF known.credential IS NULL THEN
        RETURN NULL;
    END IF;
    moment := COALESCE(moment, clock_timestamp());
    known_at := known.updated_at;
    known.label := label;

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
    token_pace := LEAST(set_tokens, evalqueue_below_limit(known.token_limit));

    demand := evalqueue_note_demand(credential, worker, request, known_at, moment);
    IF NOT known.is_probing AND demand.in_flight = 0
            AND COALESCE(known.succeeded_at < moment - interval '5 min', true) THEN
        known.is_probing := true;
        known.probe_delay := 0.5;
    END IF;
    IF request ->> 'probe' = 'held' AND known.probe_worker = worker THEN
        known.probe_until := moment + interval '4 s';
    END IF;
    IF demand.waiting = 0 AND NOT known.is_probing THEN
        -- Allowance was left: what was admitted is not what is allowed.
        known.measured_since := NULL;
        known.admitted := 0;
    END IF;

    permits := evalqueue_give_permits(known, worker, request, token_pace, moment);
    known := permits.known;
    known.updated_at := moment;
    PERFORM evalqueue_save_pace(known);

    RETURN jsonb_build_object(
        'granted', permits.granted,
        'slots', demand.slots,
        'is_probe', known.is_probing AND permits.granted > 0,
        'first_in', EXTRACT(EPOCH FROM permits.first_at - moment)::double precision,
        'step', permits.step,
        'rate', known.rate,
        'token_rate', token_pace,
        'stated', LEAST(set_rate, known.request_limit),
        'is_limit_known', known.request_limit IS NOT NULL OR set_rate IS NOT NULL
            OR (known.ceiling IS NOT NULL AND NOT evalqueue_is_overloaded(known)),
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
