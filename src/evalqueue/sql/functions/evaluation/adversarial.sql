-- True: this attempt has the credential. It is free when its holder has released it, or when the
-- holder's attempt has been over for long enough that none of its messages is still on the way. A job
-- that is refused is next, as long as it keeps asking: otherwise its holder would always be faster.
CREATE OR REPLACE FUNCTION evalqueue_lease_credential(
    credential text, job_id uuid, attempt integer,
    grace_seconds double precision, patience_seconds double precision
) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    held credential_leases;
    moment timestamptz;
    is_taken boolean;
    is_promised boolean;
BEGIN
    INSERT INTO credential_leases (credential) VALUES (credential)
        ON CONFLICT ON CONSTRAINT credential_leases_pkey DO NOTHING;
    SELECT * INTO held FROM credential_leases
        WHERE credential_leases.credential = credential FOR UPDATE;
    moment := clock_timestamp();
    IF held.job_id = job_id AND held.attempt = attempt THEN
        RETURN true;
    END IF;
    is_taken := EXISTS (
        SELECT FROM job_attempts AS holder
        WHERE holder.job_id = held.job_id AND holder.attempt = held.attempt
            AND (holder.ended_at IS NULL
                OR holder.ended_at > moment - make_interval(secs => grace_seconds)));
    is_promised := COALESCE(held.wanted_by <> job_id
        AND held.wanted_at > moment - make_interval(secs => patience_seconds), false);
    IF is_taken OR is_promised THEN
        IF NOT is_promised THEN
            UPDATE credential_leases SET wanted_by = job_id, wanted_at = moment
                WHERE credential_leases.credential = credential;
        END IF;
        RETURN false;
    END IF;
    UPDATE credential_leases SET job_id = job_id, attempt = attempt, taken_at = moment,
            wanted_by = NULL, wanted_at = NULL
        WHERE credential_leases.credential = credential;
    RETURN true;
END;
$$;
