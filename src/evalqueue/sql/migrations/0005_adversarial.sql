-- Stress tests: the cases of a run, what was said while they run, what became of them; saved cases;
-- and which credential is in a conversation, since a chatbot holds one at a time with each user.

-- What a run puts to the bot, in order, settled once: a later attempt goes on with the same ones.
CREATE TABLE adversarial_cases (
    run_id uuid NOT NULL REFERENCES eval_runs ON DELETE CASCADE,
    position integer NOT NULL CHECK (position >= 1),
    case_id text NOT NULL CHECK (length(case_id) BETWEEN 1 AND 100),
    body jsonb NOT NULL,

    PRIMARY KEY (run_id, position),
    CONSTRAINT adversarial_cases_each_once UNIQUE (run_id, case_id)
);

-- One row per trial of a case. Without a verdict there is a reason, and it is in no rate.
ALTER TABLE adversarial_evaluations
    ADD COLUMN job_id uuid,                 -- as in thread_evaluations
    ADD COLUMN case_id text NOT NULL,
    ADD COLUMN trial integer NOT NULL CHECK (trial >= 1),
    ADD COLUMN label text NOT NULL,
    ADD COLUMN persona text NOT NULL,
    ADD COLUMN tactic text,
    ADD COLUMN stop_reason text NOT NULL CHECK (stop_reason IN
        ('goal_complete', 'goal_abandoned', 'max_turns', 'error')),
    ADD COLUMN error text CHECK (length(error) <= 4000),
    ADD COLUMN credential text,             -- the name of the one that was spoken with
    ADD COLUMN started_at timestamptz,      -- of the conversation; NULL: there was none
    ADD COLUMN ended_at timestamptz,
    ADD COLUMN attempt integer NOT NULL,    -- of the job, that stored it
    ADD CONSTRAINT adversarial_evaluations_once_per_run UNIQUE (run_id, case_id, trial),
    ADD CONSTRAINT adversarial_evaluations_no_verdict_has_a_reason
        CHECK ((verdict IS NULL) = (error IS NOT NULL)),
    ADD CONSTRAINT adversarial_evaluations_difficulty_is_known
        CHECK (difficulty IN ('easy', 'medium', 'hard'));

-- A conversation from its first message until there is a verdict on it. One that ended can still be
-- judged, by whoever comes next; one that was cut short can't be gone on with.
CREATE TABLE adversarial_dialogues (
    run_id uuid NOT NULL REFERENCES eval_runs ON DELETE CASCADE,
    case_id text NOT NULL,
    trial integer NOT NULL,
    job_id uuid NOT NULL,
    attempt integer NOT NULL,
    credential text,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    ending jsonb,

    PRIMARY KEY (run_id, case_id, trial),
    CONSTRAINT adversarial_dialogues_ended_somehow CHECK ((ended_at IS NULL) = (ending IS NULL))
);

-- Written before the message is sent, and again with what came back.
CREATE TABLE adversarial_turns (
    run_id uuid NOT NULL,
    case_id text NOT NULL,
    trial integer NOT NULL,
    turn integer NOT NULL CHECK (turn >= 1),
    exchange jsonb NOT NULL,

    PRIMARY KEY (run_id, case_id, trial, turn),
    FOREIGN KEY (run_id, case_id, trial) REFERENCES adversarial_dialogues ON DELETE CASCADE
);

-- Cases worth keeping. A pinned one is part of every later run of its app.
CREATE TABLE saved_cases (
    app_id text NOT NULL CHECK (length(app_id) BETWEEN 1 AND 100),
    case_id text NOT NULL CHECK (length(case_id) BETWEEN 1 AND 100),
    body jsonb NOT NULL,
    pinned boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (app_id, case_id)
);

-- Which credential is in a conversation, and whose. A lane is a hash of chatbot and user: two names
-- for the same user are one lane.
CREATE TABLE chatbot_lanes (
    lane text PRIMARY KEY,
    job_id uuid,                            -- NULL: nobody's
    attempt integer,
    taken_at timestamptz,
    wanted_by uuid,                         -- the job whose turn is next
    wanted_at timestamptz
);

-- True: the lane is ours. It is free when its holder has let go of it, or when the holder's attempt
-- has been over for long enough that whatever it still had on the line is gone. Whoever is refused
-- is next, as long as it keeps asking: its holder would otherwise always be faster.
CREATE FUNCTION evalqueue_take_lane(
    lane text, job_id uuid, attempt integer,
    grace_seconds double precision, patience_seconds double precision
) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    held chatbot_lanes;
    asked_at timestamptz;
    is_taken boolean;
    is_promised boolean;
BEGIN
    INSERT INTO chatbot_lanes (lane) VALUES (lane)
        ON CONFLICT ON CONSTRAINT chatbot_lanes_pkey DO NOTHING;
    SELECT * INTO held FROM chatbot_lanes WHERE chatbot_lanes.lane = lane FOR UPDATE;
    asked_at := clock_timestamp();
    IF held.job_id = job_id AND held.attempt = attempt THEN
        RETURN true;
    END IF;
    is_taken := EXISTS (
        SELECT FROM job_attempts AS holder
        WHERE holder.job_id = held.job_id AND holder.attempt = held.attempt
            AND (holder.ended_at IS NULL
                OR holder.ended_at > asked_at - make_interval(secs => grace_seconds)));
    is_promised := COALESCE(held.wanted_by <> job_id
        AND held.wanted_at > asked_at - make_interval(secs => patience_seconds), false);
    IF is_taken OR is_promised THEN
        IF NOT is_promised THEN
            UPDATE chatbot_lanes SET wanted_by = job_id, wanted_at = asked_at
                WHERE chatbot_lanes.lane = lane;
        END IF;
        RETURN false;
    END IF;
    UPDATE chatbot_lanes SET job_id = job_id, attempt = attempt, taken_at = asked_at,
            wanted_by = NULL, wanted_at = NULL
        WHERE chatbot_lanes.lane = lane;
    RETURN true;
END;
$$;

-- Tokens of chatbots are the workers' alone, also for those who submit by plain SQL.
ALTER TABLE jobs ADD CONSTRAINT jobs_hold_no_credentials_of_chatbots CHECK (
    job_type <> 'evaluate-adversarial'
    OR (NOT params ?| ARRAY['kaira_auth_token', 'kaira_credential_pool']
        AND NOT COALESCE(params -> 'chatbot', '{}') ?| ARRAY['token', 'auth_token', 'api_key'])
);

-- As before, and a run of cases counts those.
CREATE OR REPLACE FUNCTION evalqueue_follow_job() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    over CONSTANT boolean := NEW.completed_at IS NOT NULL;
    found jsonb := NEW.result - ARRAY['run_id', 'run_status', 'duration_seconds'];
BEGIN
    UPDATE eval_runs SET
        status = CASE NEW.status
            WHEN 'queued' THEN 'pending'
            WHEN 'completed' THEN CASE NEW.result ->> 'run_status'
                WHEN 'completed_with_errors' THEN 'completed_with_errors' ELSE 'completed' END
            ELSE NEW.status END,
        started_at = COALESCE(started_at, NEW.started_at),
        completed_at = NEW.completed_at,
        error_message = CASE WHEN over THEN NEW.error_message END,
        duration_seconds = CASE WHEN over AND NEW.started_at IS NOT NULL
            THEN GREATEST(EXTRACT(epoch FROM NEW.completed_at - NEW.started_at), 0) END,
        summary = CASE
            WHEN NEW.status <> 'cancelled' THEN found
            WHEN NEW.job_type = 'evaluate-adversarial' THEN jsonb_build_object(
                'total_tests', total_items, 'cancelled', true, 'processed',
                (SELECT count(*) FROM adversarial_evaluations WHERE run_id = eval_runs.id))
            ELSE jsonb_build_object(
                'total_threads', total_items, 'cancelled', true, 'processed',
                (SELECT count(*) FROM thread_evaluations WHERE run_id = eval_runs.id)) END
    WHERE job_id = NEW.id;
    RETURN NULL;
END;
$$;
