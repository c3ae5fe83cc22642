-- Caps on what LLM calls may use. What the calls of an attempt may use at most is reserved before they
-- are made; only evalqueue_reserve_calls (functions/evaluation/caps.sql) reserves. A reservation of a
-- process that dies counts as used: its calls may be billed.

CREATE TABLE llm_caps (
    scope text PRIMARY KEY,                 -- 'job <id>', or 'month <yyyy-mm> <owner>'
    -- Used by attempts that are over.
    used_usd numeric NOT NULL DEFAULT 0,
    used_tokens bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- The attempts that make calls under a cap. An attempt that is over is added to the row above.
CREATE TABLE llm_cap_holders (
    scope text NOT NULL REFERENCES llm_caps ON DELETE CASCADE,
    holder uuid NOT NULL,                   -- made up by the process when it starts the attempt
    job_id uuid NOT NULL,                   -- only compared, never followed
    attempt integer NOT NULL,
    -- Used, and reserved for calls that are in flight or will be made.
    held_usd numeric NOT NULL,
    held_tokens bigint NOT NULL,
    -- Whether a part of it is reserved, and so may become free again.
    is_open boolean NOT NULL,
    -- Of the statement that wrote this. An earlier one that arrives late changes nothing.
    revision bigint NOT NULL,

    PRIMARY KEY (scope, holder)
) WITH (fillfactor = 50);
