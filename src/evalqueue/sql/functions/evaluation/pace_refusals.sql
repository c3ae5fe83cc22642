-- What is learned of a credential from refusals by a rate limit: of its own limit, or of an endpoint that
-- is overloaded.

-- The share of refusals that no known limit explains, of about the last 100 calls.
CREATE OR REPLACE FUNCTION evalqueue_unexplained_share(
    share double precision, answered integer, refused integer
) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT 1 - (1 - share * power(0.99, LEAST(answered, 2000))::double precision)
        * power(0.99, LEAST(refused, 2000))::double precision
$$;

-- Above this share they lower the rate.
CREATE OR REPLACE FUNCTION evalqueue_tolerated_share() RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT 0.06::double precision
$$;

-- Whether the endpoint seems to be overloaded: there was such a refusal within about 140 calls.
CREATE OR REPLACE FUNCTION evalqueue_is_overloaded(known llm_credentials) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT known.unexplained_share > 0.0025
$$;

-- How long calls have to be counted until what was admitted says what is allowed. Processes report
-- twice a second: within less, much is counted that was admitted before, or not counted yet.
CREATE OR REPLACE FUNCTION evalqueue_measuring_seconds() RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT 2.0::double precision
$$;

-- Whether a refusal says what is allowed. One below the limit that was measured does not, and neither
-- does one before anything was measured: it may be of an overloaded endpoint.
CREATE OR REPLACE FUNCTION evalqueue_is_explained(
    known llm_credentials, retry_after double precision, moment timestamptz
) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT known.is_starting
        OR COALESCE(retry_after > 2, false)  -- until the next window
        OR (COALESCE(EXTRACT(EPOCH FROM moment - known.measured_since)
                >= evalqueue_measuring_seconds(), false)
            AND (known.ceiling IS NULL
                OR (known.rate >= 0.98 * known.ceiling AND NOT evalqueue_is_overloaded(known))))
$$;

-- Lower the rate to what is allowed: what was admitted from one refusal to a later one. Epochs that are
-- too short to measure are measured together.
CREATE OR REPLACE FUNCTION evalqueue_lower_rate(known llm_credentials, moment timestamptz)
RETURNS llm_credentials
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    SLOWEST CONSTANT double precision := 1 / 120.0;
    seconds CONSTANT double precision := EXTRACT(EPOCH FROM moment - known.measured_since);
    is_measured CONSTANT boolean := NOT known.is_starting AND known.admitted > 0
        AND COALESCE(seconds >= evalqueue_measuring_seconds(), false);
    measured double precision;
BEGIN
    IF known.admitted > 0 AND NOT known.is_starting THEN
        measured := known.admitted / GREATEST(seconds, 0.05);
    END IF;
    known.rate := GREATEST(SLOWEST, CASE
        WHEN known.is_starting THEN known.rate / 2
        WHEN measured IS NULL THEN 0.85 * known.rate
        WHEN known.admitted < 3 THEN LEAST(known.rate, GREATEST(0.7 * known.rate, measured))
        WHEN NOT is_measured
            THEN LEAST(0.95 * known.rate, GREATEST(0.7 * known.rate, 0.95 * measured))
        WHEN known.ceiling IS NULL OR known.unexplained_share > evalqueue_tolerated_share()
            THEN 0.95 * LEAST(measured, known.rate)
        -- While the rate grew, less was wanted than is allowed, so less was admitted. The rate that
        -- was refused is above the limit: what follows is not below four fifths of it.
        ELSE GREATEST(0.95 * LEAST(measured, known.rate), 0.8 * known.rate) END);
    IF (is_measured AND known.admitted >= 3) OR (measured IS NULL AND NOT known.is_starting) THEN
        known.ceiling := known.rate / 0.95;
    END IF;
    IF is_measured OR known.measured_since IS NULL OR known.is_starting THEN
        known.measured_since := moment;
        known.admitted := 0;
    END IF;
    known.is_starting := false;
    known.unexplained_share := 0;
    RETURN known;
END;
$$;

-- The first refusal since calls were admitted ends an epoch.
--
-- As in BBR (draft-cardwell-iccrg-bbr-congestion-control-02), losses at a rate that was carried before
-- are no congestion until their share is large: an endpoint that is overloaded refuses some calls at
-- any rate, and to slow down for each of them ends in a crawl.
CREATE OR REPLACE FUNCTION evalqueue_end_epoch(
    known llm_credentials, report jsonb, moment timestamptz
) RETURNS llm_credentials
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    is_explained CONSTANT boolean := evalqueue_is_explained(
        known, (report ->> 'retry_after')::double precision, moment);
BEGIN
    known.spent := known.admitted;
    known.spent_since := known.measured_since;
    IF known.measured_since IS NULL THEN
        known.spent := known.minute_admitted;
        known.spent_since := known.minute_began_at;
    END IF;
    IF NOT is_explained THEN
        known.unexplained_share := evalqueue_unexplained_share(
            known.unexplained_share, 0, (report ->> 'refused')::integer);
    END IF;
    IF is_explained OR known.unexplained_share > evalqueue_tolerated_share() THEN
        known := evalqueue_lower_rate(known, moment);
    ELSIF known.measured_since IS NULL THEN
        known.measured_since := moment;
        known.admitted := 0;
    END IF;
    known.epoch := known.epoch + 1;
    known.exhausted_at := moment;
    known.probe_delay := 0.5;
    known.refused_probes := 0;
    RETURN known;
END;
$$;

-- Refusals by a rate limit: no call is made for a while, then a single one. After a refusal that did
-- not lower the rate, the single call is made at once.
CREATE OR REPLACE FUNCTION evalqueue_learn_refusals(
    known llm_credentials, report jsonb, moment timestamptz
) RETURNS llm_credentials
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    retry_after CONSTANT double precision := (report ->> 'retry_after')::double precision;
    is_current CONSTANT boolean := (report ->> 'epoch')::bigint = known.epoch;
    stalled double precision;
    pause double precision;
BEGIN
    IF COALESCE((report ->> 'refused')::integer, 0) = 0 THEN
        RETURN known;
    END IF;
    IF is_current IS NOT TRUE THEN
        IF retry_after > 0 AND known.is_probing AND known.pause_kind = 'refused' THEN
            known.paused_until := GREATEST(
                known.paused_until, moment + make_interval(secs => retry_after));
        END IF;
        RETURN known;
    END IF;
    IF known.is_probing AND known.pause_kind IS NOT NULL AND report ->> 'probe' = 'refused' THEN
        stalled := EXTRACT(EPOCH FROM moment - known.exhausted_at);
        IF known.unexplained_share > 0 THEN
            known.unexplained_share :=
                evalqueue_unexplained_share(known.unexplained_share, 0, 1);
            IF known.refused_probes = 1 OR known.unexplained_share > evalqueue_tolerated_share() THEN
                known := evalqueue_lower_rate(known, known.exhausted_at);
            END IF;
        END IF;
        known.refused_probes := known.refused_probes + 1;
        pause := GREATEST(retry_after, known.probe_delay);  -- a date has no fractions
        known.probe_delay := LEAST(GREATEST(0.5, stalled / 4), GREATEST(5, stalled / 10), 60);
    ELSE
        known := evalqueue_end_epoch(known, report, moment);
        pause := CASE
            WHEN known.unexplained_share > 0 THEN COALESCE(retry_after, 0)
            WHEN retry_after IS NULL THEN LEAST(GREATEST(0.3, 2 / known.rate), 5)
            ELSE GREATEST(retry_after, LEAST(0.3, 2 / known.rate)) END;
    END IF;
    known.is_probing := true;
    known.pause_kind := 'refused';
    known.pause_reason := left(report ->> 'reason', 500);
    known.paused_until := moment + make_interval(secs => pause);
    known.next_request_at := known.paused_until;
    RETURN known;
END;
$$;
