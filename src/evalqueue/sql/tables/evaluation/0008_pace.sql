-- The pace of LLM calls. A vendor's limits belong to a credential: an endpoint, a model and a key. All
-- workers share its row; only evalqueue_pace (functions/evaluation/pace.sql) writes it.

CREATE TABLE llm_credentials (
    -- SHA-256 of provider, endpoint, model and the hash of the key.
    credential text PRIMARY KEY CHECK (credential ~ '^[0-9a-f]{64}$'),
    label text NOT NULL CHECK (length(label) BETWEEN 1 AND 300),

    -- What is known of the limits; per second. NULL: unknown.
    rate double precision NOT NULL CHECK (rate > 0),    -- requests: the pace that is kept
    is_starting boolean NOT NULL DEFAULT true,          -- it doubles until a call is refused
    ceiling double precision,           -- the limit as it was last measured
    request_limit double precision,     -- as the vendor says
    token_limit double precision,       -- as the vendor says
    grown_at timestamptz NOT NULL,      -- when the rate last doubled

    -- The generic cell rate algorithm: when the next request, and the next token, is due at the
    -- earliest. In the past: so much of the allowance was not used.
    next_request_at timestamptz NOT NULL,
    next_token_at timestamptz NOT NULL,

    -- An epoch ends when a call of it is refused: refusals of calls that were sent in earlier epochs
    -- say nothing new.
    epoch bigint NOT NULL DEFAULT 1,
    exhausted_at timestamptz,           -- when this epoch began; NULL: allowance was left since
    measured_since timestamptz,         -- the refusal from which `admitted` counts; NULL: none yet
    admitted bigint NOT NULL DEFAULT 0, -- calls since measured_since
    spent bigint NOT NULL DEFAULT 0,    -- what was admitted when this epoch began
    spent_since timestamptz,            -- since when
    minute_began_at timestamptz NOT NULL,
    minute_admitted bigint NOT NULL DEFAULT 0,

    -- Calls are held until paused_until. Then, or for a credential whose last answer is long ago, one
    -- call is made alone; its outcome decides.
    paused_until timestamptz,
    pause_kind text CHECK (pause_kind IN ('refused', 'failed')),
    pause_reason text CHECK (length(pause_reason) <= 500),
    is_probing boolean NOT NULL DEFAULT true,
    probe_worker text,                  -- who makes that call
    probe_until timestamptz,            -- unless it says nothing until then
    probe_delay double precision NOT NULL DEFAULT 0.5,  -- seconds
    refused_probes integer NOT NULL DEFAULT 0,  -- since the epoch began

    succeeded_at timestamptz,           -- the last answer
    failures integer NOT NULL DEFAULT 0, -- calls in a row that the endpoint failed to answer
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 50);  -- written twice a second per worker: space for HOT updates

-- Which worker processes want to call, and for which jobs. A process that says nothing is forgotten
-- after some seconds, and its share goes to the others.
CREATE TABLE llm_demand (
    credential text NOT NULL REFERENCES llm_credentials ON DELETE CASCADE,
    worker text NOT NULL,               -- of one process, made up when it starts
    demand jsonb NOT NULL,              -- [{job, owner, waiting, in_flight, wanted}]
    expires_at timestamptz NOT NULL,

    PRIMARY KEY (credential, worker)
) WITH (fillfactor = 50);
