-- Scores: what evaluators measured, one row for each. A score has a value, or a failure, or neither
-- where there was nothing to measure. What has no row was not measured.

CREATE TABLE scores (
    run_id uuid NOT NULL,
    evaluation_id bigint NOT NULL REFERENCES thread_evaluations ON DELETE CASCADE,
    thread_id text NOT NULL,               -- as in thread_evaluations
    turn integer CHECK (turn >= 1),        -- NULL: the whole conversation
    evaluator text NOT NULL CHECK (evaluator ~ '^[a-z][a-z0-9_]{0,49}$'),
    version text NOT NULL CHECK (length(version) <= 200),  -- scores of two are never counted together
    name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_]{0,49}$'),
    kind text NOT NULL CHECK (kind IN ('category', 'number', 'boolean')),
    value_text text CHECK (length(value_text) <= 200),
    value_number double precision
        CHECK (value_number > '-Infinity' AND value_number < 'Infinity'),  -- NaN is greater
    value_boolean boolean,
    expected text CHECK (length(expected) <= 200),  -- the label on record that it is compared with
    evidence jsonb,
    reasoning text CHECK (length(reasoning) <= 4000),
    failure text CHECK (length(failure) BETWEEN 1 AND 50),  -- why there is no value

    CONSTRAINT scores_once UNIQUE NULLS NOT DISTINCT (evaluation_id, turn, evaluator, name),
    CONSTRAINT scores_value_or_failure
        CHECK (num_nonnulls(value_text, value_number, value_boolean, failure) <= 1),
    CONSTRAINT scores_value_is_of_its_kind CHECK (
        (value_text IS NULL OR kind = 'category') AND (value_number IS NULL OR kind = 'number')
        AND (value_boolean IS NULL OR kind = 'boolean')),
    CONSTRAINT scores_expected_is_a_label CHECK (expected IS NULL OR kind = 'category')
-- As for api_logs: an index answers alone only for rows that a vacuum has been over.
) WITH (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000);

-- All that is counted, so that evidence and reasoning are not read.
CREATE INDEX scores_counted ON scores (run_id, evaluator, name)
    INCLUDE (version, evaluation_id, turn, kind, value_text, value_number, value_boolean, failure);
