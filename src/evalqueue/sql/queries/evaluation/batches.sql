-- Questions that are asked by batches, and the batches.

-- BATCH_COLUMNS --
id, run_id, job_id, owner, provider, model, vendor_id, questions, done, reserved_usd, reserved_tokens,
    reserved_month, outcome, created_at, ended_at

-- known --
-- What is known of the questions about a thread
SELECT request_hash, outcome, failure FROM llm_questions
WHERE job_id = %(job_id)s AND thread_id = %(thread_id)s

-- visited --
-- Threads with questions in no batch yet
SELECT DISTINCT thread_id FROM llm_questions
WHERE job_id = %(job_id)s AND batch_id IS NULL AND outcome IS NULL AND thread_id IS NOT NULL

-- add --
INSERT INTO llm_questions (run_id, job_id, thread_id, request_hash, question)
SELECT %(run_id)s, %(job_id)s, given.thread_id, given.request_hash, given.question::json
FROM unnest(%(thread_ids)s::text[], %(hashes)s::bytea[], %(questions)s::text[])
    AS given (thread_id, request_hash, question)
ON CONFLICT (job_id, request_hash) DO NOTHING

-- waiting --
-- Questions in no batch yet, in the order in which they were added
SELECT id, request_hash, question FROM llm_questions
WHERE job_id = %(job_id)s AND batch_id IS NULL AND outcome IS NULL AND id > %(after)s
ORDER BY id LIMIT %(limit)s

-- ask_live --
-- This question is asked outside of batches
UPDATE llm_questions SET outcome = 'live', question = NULL WHERE id = %(id)s

-- fail_live --
UPDATE llm_questions SET outcome = %(outcome)s, failure = %(failure)s::json
WHERE job_id = %(job_id)s AND request_hash = %(request_hash)s

-- open --
INSERT INTO llm_batches (
    id, run_id, job_id, owner, provider, model, questions, reserved_usd, reserved_tokens, reserved_month
) VALUES (
    %(id)s, %(run_id)s, %(job_id)s, %(owner)s, %(provider)s, %(model)s, %(questions)s,
    %(reserved_usd)s, %(reserved_tokens)s, %(reserved_month)s
)
ON CONFLICT (id) DO NOTHING

-- assign --
UPDATE llm_questions SET batch_id = %(batch_id)s
WHERE id = ANY (%(ids)s::bigint[]) AND batch_id IS NULL AND outcome IS NULL

-- release --
-- Its questions are in no batch
UPDATE llm_questions SET batch_id = NULL WHERE batch_id = %(batch_id)s AND outcome IS NULL

-- submitted --
-- NULL: it is over, or was submitted by another attempt
UPDATE llm_batches SET vendor_id = %(vendor_id)s
WHERE id = %(batch_id)s AND ended_at IS NULL AND (vendor_id IS NULL OR vendor_id = %(vendor_id)s)
RETURNING id

-- open_of_run --
SELECT BATCH_COLUMNS,
    EXTRACT(epoch FROM clock_timestamp() - created_at)::double precision AS age_seconds
FROM llm_batches
WHERE run_id = %(run_id)s AND ended_at IS NULL
ORDER BY created_at, id

-- open_of_job --
SELECT BATCH_COLUMNS,
    EXTRACT(epoch FROM clock_timestamp() - created_at)::double precision AS age_seconds
FROM llm_batches
WHERE job_id = %(job_id)s AND ended_at IS NULL
ORDER BY created_at, id

-- left_open --
-- Those of a job of the owner that is over
SELECT BATCH_COLUMNS,
    EXTRACT(epoch FROM clock_timestamp() - created_at)::double precision AS age_seconds
FROM llm_batches AS batch
WHERE job_id = %(job_id)s AND ended_at IS NULL AND owner = %(owner)s
    AND NOT EXISTS (SELECT FROM jobs WHERE jobs.id = batch.job_id AND completed_at IS NULL)
ORDER BY created_at, id

-- in_batch --
SELECT id, request_hash, question FROM llm_questions
WHERE batch_id = %(batch_id)s AND id > %(after)s AND question IS NOT NULL
ORDER BY id LIMIT %(limit)s

-- in_batch_by_hash --
SELECT id, request_hash, question FROM llm_questions
WHERE batch_id = %(batch_id)s AND request_hash = ANY (%(hashes)s::bytea[]) AND question IS NOT NULL

-- note_done --
UPDATE llm_batches SET done = GREATEST(done, %(done)s) WHERE id = %(batch_id)s

-- settle --
-- What became of some questions of a batch. The texts are in the record of the call
UPDATE llm_questions SET
    outcome = given.outcome, failure = given.failure, question = NULL,
    used_usd = given.used_usd, used_tokens = given.used_tokens
FROM json_to_recordset(%(settled)s::json)
    AS given (id bigint, outcome text, failure json, used_usd numeric, used_tokens bigint)
WHERE llm_questions.id = given.id AND llm_questions.outcome IS NULL

-- end --
SELECT evalqueue_end_batch(%(batch_id)s, %(outcome)s)

-- progress --
-- How far the batches of a job are
SELECT COALESCE(sum(questions), 0)::bigint AS total,
    COALESCE(sum(CASE WHEN ended_at IS NULL THEN done ELSE questions END), 0)::bigint AS done
FROM llm_batches WHERE job_id = %(job_id)s
