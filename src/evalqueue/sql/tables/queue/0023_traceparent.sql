-- The trace that a job belongs to: of the request that submitted it, in the form of W3C Trace Context
-- (https://www.w3.org/TR/trace-context/). Its attempts, helper jobs and retries continue that trace.
ALTER TABLE jobs ADD COLUMN traceparent text
    CONSTRAINT jobs_traceparent_is_sound
        CHECK (traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$');
