-- What figures are made of, taken out of each result as it is stored: a result is kilobytes out of
-- line, and whoever looks at a run wants all of its rows every few seconds.

-- Labels are the data's, and so may be whole novels; what tells two of them apart comes sooner.
-- [[expected, predicted], …] of the messages that could be compared; NULL: none could.
CREATE FUNCTION evalqueue_intents(result jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT jsonb_agg(jsonb_build_array(
        left(said ->> 'expected_intent', 200), left(said ->> 'predicted_intent', 200)))
    FROM jsonb_path_query(result,
        '$.intent_evaluations[*] ? (@.is_correct_intent.type() == "boolean")') AS said
$$;

-- [[evaluator, reason, how often, an example], …]; NULL: nothing failed.
CREATE FUNCTION evalqueue_failures(result jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path FROM CURRENT AS $$
    SELECT jsonb_agg(jsonb_build_array(evaluator, reason, times, example))
    FROM (
        SELECT failure ->> 'evaluator' AS evaluator, failure ->> 'reason' AS reason,
            count(*) AS times, left(min(failure ->> 'message'), 500) AS example
        FROM jsonb_path_query(result, '$.failures[*]') AS failure
        GROUP BY 1, 2
    ) AS grouped
$$;

ALTER TABLE thread_evaluations
    ADD COLUMN messages integer GENERATED ALWAYS AS (jsonb_path_query_first(
        result, '$.thread.message_count ? (@.type() == "number")')::integer) STORED,
    ADD COLUMN intents_compared integer NOT NULL GENERATED ALWAYS AS (jsonb_array_length(
        jsonb_path_query_array(result,
            '$.intent_evaluations[*].is_correct_intent ? (@.type() == "boolean")'))) STORED,
    ADD COLUMN intents_correct integer NOT NULL GENERATED ALWAYS AS (jsonb_array_length(
        jsonb_path_query_array(result,
            '$.intent_evaluations[*].is_correct_intent ? (@ == true)'))) STORED,
    ADD COLUMN intents jsonb GENERATED ALWAYS AS (evalqueue_intents(result)) STORED,
    ADD COLUMN coverage jsonb GENERATED ALWAYS AS (result -> 'coverage') STORED,
    ADD COLUMN failures jsonb GENERATED ALWAYS AS (evalqueue_failures(result)) STORED;

-- What the summary of a stress test counts, without the transcript.
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

ALTER TABLE adversarial_evaluations
    ADD COLUMN first_failing_turn integer GENERATED ALWAYS AS (jsonb_path_query_first(
        result, '$.judge.first_failing_turn ? (@.type() == "number")')::integer) STORED,
    ADD COLUMN counted jsonb NOT NULL GENERATED ALWAYS AS (evalqueue_counted(result)) STORED;

-- The calls of one thread, newest first. It does what the index on answers that can be replayed did:
-- a thread has few others.
CREATE INDEX api_logs_of_thread ON api_logs (run_id, thread_id, id DESC);
DROP INDEX api_logs_replayable;

-- Everything that is counted of a call, so that its row, which has its texts, isn't looked at; and in
-- the order in which percentiles are found.
CREATE INDEX api_logs_counted ON api_logs (run_id, evaluator, duration_ms)
    INCLUDE (outcome, started_at, tokens_in, tokens_out);
-- An index tells all by itself of what a vacuum has been over; a fifth of a large table, as by default,
-- would be all calls of the runs that are looked at.
ALTER TABLE api_logs SET (
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000
);
