-- Calls of a judge that has no key and no label for what it is asked; and questions without a majority,
-- which is never the outcome of a single call.

ALTER TABLE api_logs DROP CONSTRAINT api_logs_outcome_check;
ALTER TABLE api_logs ADD CONSTRAINT api_logs_outcome_check CHECK (outcome IN (
    'ok', 'reused', 'rate_limited', 'transient', 'timeout', 'auth', 'billing', 'model_missing',
    'bad_request', 'context_too_long', 'content_filter', 'judge_refused', 'truncated',
    'schema_invalid', 'cancelled', 'no_key', 'undecided'));
