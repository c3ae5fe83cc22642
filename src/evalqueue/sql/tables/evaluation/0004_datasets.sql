-- Datasets: the conversations that are evaluated, stored once and read one conversation at a time.
--
-- A dataset is named by its content: the same file is the same dataset for every owner. Its owners,
-- and what each calls it, are in dataset_owners; the content is deleted when it has no owner and no
-- job or run needs it. A dataset with `content` came by plain SQL and was not read yet: the first
-- worker that needs it reads it, and replaces the content by rows of dataset_threads.

CREATE TABLE datasets (
    id text PRIMARY KEY CHECK (id ~ '^sha256:[0-9a-f]{64}$'),
    content text,
    size_bytes bigint NOT NULL CHECK (size_bytes = octet_length(content)),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    format text,
    mapping jsonb,                         -- our column: the file's header; NULL: they are the same
    messages integer,
    threads integer,
    users integer,
    first_at timestamptz,                  -- NULL: the file has no times
    last_at timestamptz,
    intents json,                          -- label: messages; jsonb would lose their order
    messages_with_images integer,
    messages_with_errors integer,
    notices json NOT NULL DEFAULT '[]',    -- {kind, count, row, message}: what a person should check

    CONSTRAINT datasets_mapping_is_an_object CHECK (jsonb_typeof(mapping) = 'object'),
    CONSTRAINT datasets_was_read_or_is_there CHECK (
        (content IS NULL) = (format IS NOT NULL) AND num_nulls(format, messages, threads, users,
            intents, messages_with_images, messages_with_errors) IN (0, 7)
    )
);

-- Which jobs read a dataset.
CREATE INDEX jobs_of_dataset ON jobs ((params ->> 'dataset_id')) WHERE params ? 'dataset_id';

-- One conversation: `turns` is an array of {number, timestamp, user_text, bot_text, routed_intent,
-- routed_query_type, has_image, error, session_id, response_id} and, where there are any, system,
-- context and tool_calls, in the order they happened.
CREATE TABLE dataset_threads (
    dataset_id text NOT NULL REFERENCES datasets ON DELETE CASCADE,
    position integer NOT NULL CHECK (position >= 1),  -- in order of first appearance
    thread_id text NOT NULL CHECK (length(thread_id) BETWEEN 1 AND 500),
    user_id text NOT NULL,                 -- the first that it names
    messages integer NOT NULL CHECK (messages >= 1),
    first_at timestamptz,                  -- NULL: the file has no times
    last_at timestamptz,
    has_images boolean NOT NULL,
    has_errors boolean NOT NULL,
    opening text NOT NULL CHECK (length(opening) <= 200),  -- the user's first message
    turns jsonb NOT NULL CHECK (jsonb_typeof(turns) = 'array'),

    PRIMARY KEY (dataset_id, thread_id),
    CONSTRAINT dataset_threads_stand_in_a_row UNIQUE (dataset_id, position)
);

CREATE TABLE dataset_owners (
    dataset_id text NOT NULL REFERENCES datasets ON DELETE CASCADE,
    owner text NOT NULL CHECK (length(owner) BETWEEN 1 AND 200),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 500),
    -- True: added by its owner, stays until removed. False: it came with a job, and may be deleted
    -- when no job and no run needs it.
    kept boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (dataset_id, owner)
);
CREATE INDEX dataset_owners_newest ON dataset_owners (owner, created_at DESC, dataset_id);
