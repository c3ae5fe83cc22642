-- What is learned of a credential from the answers, refusals and failures of its calls.
--
-- Each function takes the row as it is known and returns it as it is afterwards; evalqueue_pace writes
-- it. `report` is what one worker process has seen since its last report.

-- A limit as it is used: what its vendor counts differs a little from what is counted here.
CREATE OR REPLACE FUNCTION evalqueue_below_limit(stated double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT stated * 0.97
$$;

-- The limits that the vendor names.
CREATE OR REPLACE FUNCTION evalqueue_learn_limits(known llm_credentials, report jsonb)
RETURNS llm_credentials
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    FASTEST CONSTANT double precision := 10000;
    requests CONSTANT double precision := (report ->> 'request_limit')::double precision;
    tokens CONSTANT double precision := (report ->> 'token_limit')::double precision;
BEGIN
    IF requests > 0 AND requests IS DISTINCT FROM known.request_limit THEN
        known.request_limit := requests;
        known.rate := LEAST(evalqueue_below_limit(requests), FASTEST);
        known.is_starting := false;
        known.ceiling := NULL;
    END IF;
    IF tokens > 0 AND tokens IS DISTINCT FROM known.token_limit THEN
        known.token_limit := tokens;
    END IF;
    RETURN known;
END;
$$;

-- Answers: the rate grows while calls wait.
CREATE OR REPLACE FUNCTION evalqueue_learn_answers(
    known llm_credentials, report jsonb, moment timestamptz
) RETURNS llm_credentials
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    FASTEST CONSTANT double precision := 10000;
    answered CONSTANT integer := COALESCE((report ->> 'answered')::integer, 0);
    is_limited CONSTANT boolean := COALESCE((report ->> 'waiting')::integer, 0) > 0;
    passed double precision;
BEGIN
    IF known.updated_at < moment - interval '2 s' AND known.paused_until IS NULL THEN
        -- Processes went on by themselves: not all that was admitted since is known.
        known.measured_since := NULL;
        known.admitted := 0;
        IF answered > 0 THEN  -- and they have used the allowance
            known.next_request_at := GREATEST(known.next_request_at, moment);
            known.next_token_at := GREATEST(known.next_token_at, moment);
        END IF;
    END IF;
    IF moment >= known.minute_began_at + interval '60 s' THEN
        known.minute_began_at := moment;
        known.minute_admitted := 0;
    END IF;
    IF answered > 0 THEN
        known.admitted := known.admitted + answered;
        known.minute_admitted := known.minute_admitted + answered;
        known.succeeded_at := moment;
        known.unexplained_share :=
            evalqueue_unexplained_share(known.unexplained_share, answered, 0);
        IF known.is_probing OR NOT is_limited THEN
            NULL;
        ELSIF known.is_starting THEN
            IF moment >= known.grown_at + interval '0.25 s'
                    AND COALESCE((report ->> 'refused')::integer, 0) = 0 THEN
                known.rate := LEAST(known.rate * 2, FASTEST);
                known.grown_at := moment;
            END IF;
        ELSE
            -- Quickly to the measured limit, and while the endpoint refuses some calls at any rate.
            -- Slowly beyond: each step past the limit costs a refusal. The longer nothing was refused,
            -- the quicker, as in CUBIC (RFC 9438): the limit may have been measured too low.
            passed := LEAST(EXTRACT(EPOCH FROM moment - known.updated_at), 1);
            known.rate := LEAST(FASTEST, known.rate * (1 + CASE
                WHEN COALESCE(known.rate < 0.95 * known.ceiling, true)
                    OR known.exhausted_at < moment - interval '10 min'
                    OR (evalqueue_is_overloaded(known)
                        AND known.unexplained_share < evalqueue_tolerated_share() / 2)
                    THEN LEAST(0.005 * answered, 0.1 * passed)
                ELSE LEAST(0.1 * passed, LEAST(0.0003 * answered, 0.0025 * passed)
                    * GREATEST(1, EXTRACT(EPOCH FROM moment - known.exhausted_at) / 60) ^ 2)
                END));
        END IF;
    END IF;
    IF (report ->> 'succeeded')::boolean OR report ->> 'probe' = 'answered' THEN
        known.failures := 0;
    END IF;
    RETURN known;
END;
$$;

-- The end of the call that is made alone: once it is answered, the others go on.
CREATE OR REPLACE FUNCTION evalqueue_learn_probe(
    known llm_credentials, report jsonb, moment timestamptz
) RETURNS llm_credentials
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    SLOWEST CONSTANT double precision := 1 / 120.0;
    probe CONSTANT text := report ->> 'probe';
    stalled double precision;
    passed double precision;
BEGIN
    IF probe IS NULL OR probe = 'held' OR NOT known.is_probing
            OR (report ->> 'epoch')::bigint IS DISTINCT FROM known.epoch THEN
        RETURN known;
    END IF;
    known.probe_worker := NULL;
    known.probe_until := NULL;
    IF probe <> 'answered' THEN
        RETURN known;
    END IF;
    IF known.pause_kind = 'refused' AND known.refused_probes > 0 THEN
        -- Nothing at all was admitted for a while, as long as calls were before: a window, and what
        -- was spent is its limit. It began a little before: the last call that was refused is up to a
        -- fifth of that ago.
        stalled := EXTRACT(EPOCH FROM moment - known.exhausted_at);
        passed := EXTRACT(EPOCH FROM moment - known.spent_since);
        IF known.spent > 0 AND known.request_limit IS NULL
                AND stalled >= passed / 2 AND passed >= evalqueue_measuring_seconds() THEN
            known.ceiling := known.spent / (passed - stalled / 5);
            known.rate := GREATEST(LEAST(known.rate, 0.95 * known.spent / passed), SLOWEST);
            known.measured_since := moment;
            known.admitted := 1;
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
    RETURN known;
END;
$$;

-- Calls that the endpoint did not answer: the breaker.
CREATE OR REPLACE FUNCTION evalqueue_learn_failures(
    known llm_credentials, report jsonb, moment timestamptz
) RETURNS llm_credentials
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    failed CONSTANT integer := COALESCE((report ->> 'failed')::integer, 0);
BEGIN
    IF failed = 0 THEN
        RETURN known;
    END IF;
    known.failures := failed + CASE
        WHEN (report ->> 'succeeded')::boolean THEN 0 ELSE known.failures END;
    IF report ->> 'probe' = 'failed' AND (report ->> 'epoch')::bigint = known.epoch THEN
        known.pause_kind := 'failed';
        known.pause_reason := left(report ->> 'reason', 500);
        known.paused_until := moment + make_interval(secs => known.probe_delay);
        known.probe_delay := LEAST(known.probe_delay * 2, 60);
    ELSIF known.failures >= (report ->> 'breaker')::integer AND NOT known.is_probing THEN
        known.epoch := known.epoch + 1;
        known.exhausted_at := NULL;
        known.measured_since := NULL;
        known.is_probing := true;
        known.pause_kind := 'failed';
        known.pause_reason := left(report ->> 'reason', 500);
        known.probe_delay := 2;
        known.paused_until := moment + interval '1 s';
    END IF;
    RETURN known;
END;
$$;

-- All that a report says.
CREATE OR REPLACE FUNCTION evalqueue_learn_pace(
    known llm_credentials, report jsonb, moment timestamptz
) RETURNS llm_credentials
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    known := evalqueue_learn_limits(known, report);
    known := evalqueue_learn_answers(known, report, moment);
    known := evalqueue_learn_probe(known, report, moment);
    known := evalqueue_learn_refusals(known, report, moment);
    RETURN evalqueue_learn_failures(known, report, moment);
END;
$$;
