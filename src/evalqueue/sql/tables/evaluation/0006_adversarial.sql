-- Adversarial tests: the cases of a run, the conversations while they run, the verdicts; saved cases;
-- and which credential is in use, since a chatbot holds one conversation at a time with each user.

-- The cases that a run puts to the chatbot, in order, decided once: a later attempt uses the same.
CREATE TABLE adversarial_cases (
    run_id uuid NOT NULL REFERENCES eval_runs ON DELETE CASCADE,
    position integer NOT NULL CHECK (position >= 1),
    case_id text NOT NULL CHECK (length(case_id) BETWEEN 1 AND 100),
    body jsonb NOT NULL,

    PRIMARY KEY (run_id, position),
    CONSTRAINT adversarial_cases_each_once UNIQUE (run_id, case_id)
);

-- What the summary counts, without the transcript. Part of the table: see 0005_runs.sql.
CREATE FUNCTION evalqueue_counted(result jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT jsonb_build_object(
    'traits', result #> '{test_case,traits}', 'goals', result #> '{test_case,goals}',
    'goal_verdicts', result #> '{judge,goal_verdicts}',
    'failure_modes', result #> '{judge,failure_modes}',
    'rule_compliance', result #> '{judge,rule_compliance}',
    'contradictions', result #> '{derived,contradictions}',
    'failures', result -> 'failures', 'evaluator_versions', result -> 'evaluator_versions')
$$;

-- One row per trial of a case. Without a verdict there is a reason, and it is in no rate.
CREATE TABLE adversarial_evaluations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid NOT NULL REFERENCES eval_runs ON DELETE CASCADE,
    job_id uuid,                            -- as in thread_evaluations
    case_id text NOT NULL,
    trial integer NOT NULL CHECK (trial >= 1),
    label text NOT NULL,
    category text NOT NULL,
    difficulty text NOT NULL,
    persona text NOT NULL,
    tactic text,
    verdict text CHECK (verdict IN ('PASS', 'SOFT FAIL', 'HARD FAIL', 'CRITICAL')),
    goal_achieved boolean,
    total_turns integer NOT NULL CHECK (total_turns >= 0),
    stop_reason text NOT NULL CHECK (stop_reason IN
        ('goal_complete', 'goal_abandoned', 'max_turns', 'error')),
    error text CHECK (length(error) <= 4000),
    credential text,                        -- the name of the one that was used
    result jsonb NOT NULL,
    first_failing_turn integer GENERATED ALWAYS AS (jsonb_path_query_first(
        result, '$.judge.first_failing_turn ? (@.type() == "number")')::integer) STORED,
    counted jsonb NOT NULL GENERATED ALWAYS AS (evalqueue_counted(result)) STORED,
    attempt integer NOT NULL,               -- of the job, that stored it
    started_at timestamptz,                 -- of the conversation; NULL: there was none
    ended_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT adversarial_evaluations_once_per_run UNIQUE (run_id, case_id, trial),
    CONSTRAINT adversarial_evaluations_no_verdict_has_a_reason
        CHECK ((verdict IS NULL) = (error IS NOT NULL)),
    CONSTRAINT adversarial_evaluations_difficulty_is_known
        CHECK (difficulty IN ('easy', 'medium', 'hard'))
);

CREATE INDEX adversarial_evaluations_of_run ON adversarial_evaluations (run_id, id);

-- A conversation from its first message until it has a verdict. A later attempt can still judge one
-- that ended; one that was cut short can't be continued.
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

-- Written before the message is sent, and again with the answer.
CREATE TABLE adversarial_turns (
    run_id uuid NOT NULL,
    case_id text NOT NULL,
    trial integer NOT NULL,
    turn integer NOT NULL CHECK (turn >= 1),
    exchange jsonb NOT NULL,

    PRIMARY KEY (run_id, case_id, trial, turn),
    FOREIGN KEY (run_id, case_id, trial) REFERENCES adversarial_dialogues ON DELETE CASCADE
);

-- Cases for later runs. A pinned one is part of every later run of its app.
CREATE TABLE saved_cases (
    app_id text NOT NULL CHECK (length(app_id) BETWEEN 1 AND 100),
    case_id text NOT NULL CHECK (length(case_id) BETWEEN 1 AND 100),
    body jsonb NOT NULL,
    pinned boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (app_id, case_id)
);

-- Which credential is in use, and by which job. It is named by a hash of chatbot and user: two names
-- for the same user are one credential.
CREATE TABLE credential_leases (
    credential text PRIMARY KEY,
    job_id uuid,                            -- NULL: it is free
    attempt integer,
    taken_at timestamptz,
    wanted_by uuid,                         -- the job that is next
    wanted_at timestamptz
);

-- Only workers have the tokens of chatbots: a job that comes by plain SQL can't bring one, either.
ALTER TABLE jobs ADD CONSTRAINT jobs_hold_no_credentials_of_chatbots CHECK (
    job_type <> 'evaluate-adversarial'
    OR (NOT params ?| ARRAY['kaira_auth_token', 'kaira_credential_pool']
        AND NOT COALESCE(params -> 'chatbot', '{}') ?| ARRAY['token', 'auth_token', 'api_key'])
);
