-- Where EVALQUEUE_LLM_LIMITS bounds the calls in flight: how many of them each worker process may have.
-- Of all processes together they are never more than the bound.
ALTER TABLE llm_demand ADD COLUMN slots integer NOT NULL DEFAULT 0 CHECK (slots >= 0);
