-- cases --
-- The cases of a run, in order; no rows: they are not decided yet. An owner of NULL means any owner;
-- here and below
SELECT body FROM adversarial_cases
WHERE run_id = (
        SELECT id FROM eval_runs
        WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s))
ORDER BY position

-- settle_cases --
-- Repeated when the answer to the first time was lost: what is stored stays
INSERT INTO adversarial_cases (run_id, position, case_id, body)
SELECT %(run_id)s, position, body ->> 'case_id', body
FROM jsonb_array_elements(%(cases)s) WITH ORDINALITY AS listed (body, position)
ON CONFLICT DO NOTHING

-- count --
UPDATE eval_runs SET total_items = %(total_items)s WHERE id = %(run_id)s

-- case_ids --
-- Of a run
SELECT case_id FROM adversarial_cases WHERE run_id = %(run_id)s

-- cases_of --
-- Cases of an earlier run: those named, or else those that did not pass in every trial
SELECT body FROM adversarial_cases AS asked
WHERE run_id = (
        SELECT id FROM eval_runs
        WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s))
    AND CASE
    WHEN %(case_ids)s::text[] IS NOT NULL THEN case_id = ANY (%(case_ids)s)
    ELSE (
        SELECT count(*) FROM adversarial_evaluations AS found
        WHERE found.run_id = asked.run_id AND found.case_id = asked.case_id AND verdict = 'PASS'
    ) < COALESCE((
        SELECT (config -> 'params' ->> 'trials')::integer FROM eval_runs WHERE id = asked.run_id
    ), 1) END
ORDER BY position

-- checkpoint --
-- Trials that this job has nothing more to do for: judged, or tried by this very job
SELECT case_id || '/' || trial AS key, verdict IS NOT NULL AS succeeded
FROM adversarial_evaluations
WHERE run_id = %(run_id)s AND (verdict IS NOT NULL OR job_id = %(job_id)s)

-- dialogues --
-- Conversations without a verdict: those that can be judged, of any job, and those of an earlier
-- attempt of this job that did not end, or ended so that they can't be judged
SELECT case_id || '/' || trial AS key, credential, started_at, ended_at, ending,
    COALESCE((
        SELECT jsonb_agg(exchange ORDER BY turn) FROM adversarial_turns AS spoken
        WHERE (spoken.run_id, spoken.case_id, spoken.trial)
            = (held.run_id, held.case_id, held.trial)
    ), '[]') AS exchanges
FROM adversarial_dialogues AS held
WHERE run_id = %(run_id)s AND (ending ->> 'stop_reason' <> 'error' OR job_id = %(job_id)s)

-- forget --
-- All earlier turns of this trial
DELETE FROM adversarial_dialogues
WHERE run_id = %(run_id)s AND case_id = %(case_id)s AND trial = %(trial)s

-- begin --
INSERT INTO adversarial_dialogues (run_id, case_id, trial, job_id, attempt, credential)
VALUES (%(run_id)s, %(case_id)s, %(trial)s, %(job_id)s, %(attempt)s, %(credential)s)

-- note --
INSERT INTO adversarial_turns (run_id, case_id, trial, turn, exchange)
VALUES (%(run_id)s, %(case_id)s, %(trial)s, %(turn)s, %(exchange)s)
ON CONFLICT (run_id, case_id, trial, turn) DO UPDATE SET exchange = EXCLUDED.exchange

-- end --
UPDATE adversarial_dialogues SET ended_at = clock_timestamp(), ending = %(ending)s
WHERE run_id = %(run_id)s AND case_id = %(case_id)s AND trial = %(trial)s AND ended_at IS NULL
RETURNING started_at, ended_at

-- keep --
-- One trial's result: the checkpoint
INSERT INTO adversarial_evaluations (
    run_id, job_id, case_id, trial, label, category, difficulty, persona, tactic, verdict,
    goal_achieved, total_turns, stop_reason, error, result, credential, started_at, ended_at, attempt
) VALUES (
    %(run_id)s, %(job_id)s, %(case_id)s, %(trial)s, %(label)s, %(category)s, %(difficulty)s,
    %(persona)s, %(tactic)s, %(verdict)s, %(goal_achieved)s, %(total_turns)s, %(stop_reason)s,
    %(error)s, %(result)s, %(credential)s, %(started_at)s, %(ended_at)s, %(attempt)s
)
ON CONFLICT (run_id, case_id, trial) DO UPDATE SET
    job_id = EXCLUDED.job_id, verdict = EXCLUDED.verdict, goal_achieved = EXCLUDED.goal_achieved,
    total_turns = EXCLUDED.total_turns, stop_reason = EXCLUDED.stop_reason, error = EXCLUDED.error,
    result = EXCLUDED.result, credential = EXCLUDED.credential, started_at = EXCLUDED.started_at,
    ended_at = EXCLUDED.ended_at, attempt = EXCLUDED.attempt, created_at = EXCLUDED.created_at
-- The same job repeats it when the answer to the first time was lost: nothing changes. A verdict is
-- never taken back.
WHERE adversarial_evaluations.job_id IS DISTINCT FROM EXCLUDED.job_id
    AND adversarial_evaluations.verdict IS NULL

-- outcomes --
-- What counts of each trial, without the weight of its transcript
SELECT case_id, trial, category, difficulty, persona, tactic, verdict, stop_reason, error,
    counted -> 'traits' AS traits, counted -> 'goals' AS goals,
    counted -> 'goal_verdicts' AS goal_verdicts, counted -> 'failure_modes' AS failure_modes,
    counted -> 'rule_compliance' AS rule_compliance,
    counted -> 'contradictions' AS contradictions, counted -> 'failures' AS failures,
    counted -> 'evaluator_versions' AS evaluator_versions
FROM adversarial_evaluations WHERE run_id = %(run_id)s ORDER BY id

-- lease_credential --
SELECT evalqueue_lease_credential(
    %(credential)s, %(job_id)s, %(attempt)s, %(grace_seconds)s, %(patience_seconds)s)

-- release_credential --
UPDATE credential_leases SET job_id = NULL, attempt = NULL, taken_at = NULL
WHERE credential = %(credential)s AND job_id = %(job_id)s AND attempt = %(attempt)s

-- recorded --
-- Answers that this job has bought: the judge's on a trial or, without one, the cases made up; newest
-- first
SELECT request_hash, response AS text, model, request_id, duration_ms AS latency_ms,
    tokens_in, tokens_out, tokens_cached, tokens_reasoning
FROM api_logs
WHERE run_id = %(run_id)s AND job_id = %(job_id)s AND request_hash IS NOT NULL
    AND evaluator = %(evaluator)s AND (thread_id = %(key)s OR %(key)s::text IS NULL)
ORDER BY id DESC

-- saved --
-- Those that an owner's run may use: their own, and pinned ones; NULL: of all owners. Equal cases of
-- several owners are one.
SELECT app_id, owner, case_id, body, pinned, created_at
FROM (
    SELECT DISTINCT ON (case_id) app_id, owner, case_id, body, pinned, created_at FROM saved_cases
    WHERE app_id = %(app_id)s AND (NOT %(only_pinned)s OR pinned)
        AND (%(owner)s::text IS NULL OR owner = %(owner)s OR pinned)
    ORDER BY case_id, owner IS DISTINCT FROM %(owner)s, NOT pinned, created_at
) AS usable
ORDER BY created_at, case_id

-- saved_named --
SELECT app_id, owner, case_id, body, pinned, created_at
FROM (
    SELECT DISTINCT ON (case_id) app_id, owner, case_id, body, pinned, created_at FROM saved_cases
    WHERE app_id = %(app_id)s AND case_id = ANY (%(case_ids)s)
        AND (%(owner)s::text IS NULL OR owner = %(owner)s OR pinned)
    ORDER BY case_id, owner <> %(first_owner)s, NOT pinned, created_at
) AS usable
ORDER BY array_position(%(case_ids)s, case_id)

-- save --
INSERT INTO saved_cases (app_id, owner, case_id, body, pinned)
SELECT %(app_id)s, %(owner)s, body ->> 'case_id', body, %(pinned)s
FROM jsonb_array_elements(%(cases)s) AS listed (body)
WHERE set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL
ON CONFLICT (app_id, owner, case_id) DO UPDATE SET pinned = saved_cases.pinned OR EXCLUDED.pinned

-- count_saved --
SELECT count(*) FROM saved_cases WHERE app_id = %(app_id)s AND owner = %(owner)s

-- owners_of_saved --
SELECT case_id, array_agg(owner ORDER BY owner) AS owners FROM saved_cases
WHERE app_id = %(app_id)s AND case_id = ANY (%(case_ids)s)
    AND (%(owner)s::text IS NULL OR owner = %(owner)s)
GROUP BY case_id

-- differing --
-- Pinned cases of which owners expect different things
SELECT case_id FROM saved_cases
WHERE app_id = %(app_id)s AND case_id = ANY (%(case_ids)s) AND pinned
GROUP BY case_id HAVING count(DISTINCT body ->> 'expected_behavior') > 1
ORDER BY case_id

-- pin --
UPDATE saved_cases SET pinned = %(pinned)s
FROM unnest(%(case_ids)s::text[], %(owners)s::text[]) AS meant (case_id, owner)
WHERE app_id = %(app_id)s AND saved_cases.case_id = meant.case_id AND saved_cases.owner = meant.owner
    AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL

-- unsave --
DELETE FROM saved_cases
USING unnest(%(case_ids)s::text[], %(owners)s::text[]) AS meant (case_id, owner)
WHERE app_id = %(app_id)s AND saved_cases.case_id = meant.case_id AND saved_cases.owner = meant.owner
    AND (%(pinned_too)s OR NOT pinned)
    AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL

-- evaluations --
SELECT id, run_id, category, difficulty, verdict, goal_achieved, total_turns, result, case_id, trial,
    label, persona, tactic, stop_reason, error, credential, started_at, ended_at, created_at
FROM adversarial_evaluations
WHERE run_id = (
        SELECT id FROM eval_runs
        WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s))
    AND id > %(after)s
ORDER BY id LIMIT %(limit)s

-- count_evaluations --
SELECT count(*) FROM adversarial_evaluations
WHERE run_id = (
        SELECT id FROM eval_runs
        WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s))

-- trials --
-- What became of one case
SELECT id, run_id, category, difficulty, verdict, goal_achieved, total_turns, result, case_id, trial,
    label, persona, tactic, stop_reason, error, credential, started_at, ended_at, created_at
FROM adversarial_evaluations
WHERE run_id = (
        SELECT id FROM eval_runs
        WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s))
    AND case_id = %(case_id)s
ORDER BY trial

-- listed --
-- Trials, worst first, without the weight of their transcripts; those that passed only if asked for
SELECT case_id, trial, label, category, difficulty, persona, tactic, verdict,
    first_failing_turn
FROM adversarial_evaluations
WHERE run_id = %(run_id)s AND (%(with_passed)s OR verdict IS DISTINCT FROM 'PASS')
ORDER BY array_position(ARRAY['CRITICAL', 'HARD FAIL', 'SOFT FAIL', NULL, 'PASS'], verdict), id
LIMIT %(limit)s

-- reasons --
-- Why trials have no verdict, by which side failed
SELECT failure ->> 'evaluator' AS who, failure ->> 'reason' AS reason, count(*) AS trials,
    min(failure ->> 'message') AS example
FROM adversarial_evaluations, jsonb_array_elements(result -> 'failures') AS failure
WHERE run_id = %(run_id)s AND verdict IS NULL
GROUP BY who, reason ORDER BY trials DESC, who, reason

-- live --
-- Conversations without a verdict, with their turns so far; one that did not end and that no attempt
-- holds any more was cut short
SELECT case_id, trial, credential, started_at, ended_at, ending,
    ended_at IS NULL AND EXISTS (
        SELECT FROM job_attempts AS holder
        WHERE holder.job_id = held.job_id AND holder.attempt = held.attempt
            AND holder.ended_at IS NULL
    ) AS is_live,
    COALESCE((
        SELECT jsonb_agg(exchange ORDER BY turn) FROM adversarial_turns AS spoken
        WHERE (spoken.run_id, spoken.case_id, spoken.trial)
            = (held.run_id, held.case_id, held.trial)
    ), '[]') AS exchanges
FROM adversarial_dialogues AS held
WHERE run_id = (
        SELECT id FROM eval_runs
        WHERE id = %(run_id)s AND (%(owner)s::text IS NULL OR owner = %(owner)s))
    AND (%(case_id)s::text IS NULL OR case_id = %(case_id)s)
ORDER BY started_at, case_id, trial
LIMIT %(limit)s

-- saved_page --
SELECT app_id, owner, case_id, body, pinned, created_at FROM saved_cases
WHERE (%(app_id)s::text IS NULL OR app_id = %(app_id)s) AND (NOT %(only_pinned)s OR pinned)
    AND (%(owner)s::text IS NULL OR owner = %(owner)s OR pinned)
ORDER BY created_at, app_id, owner, case_id
LIMIT %(limit)s OFFSET %(offset)s
