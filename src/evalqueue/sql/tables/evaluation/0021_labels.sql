-- Labels: what people say about conversations. A label is never changed: a later one by the same person
-- about the same question takes its place.
--
-- A label belongs to a conversation of a dataset, which is named by its content: it holds for every run
-- over that dataset, whatever evaluator and model judged it.

CREATE TABLE labels (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text NOT NULL CHECK (length(owner) BETWEEN 1 AND 200),
    -- No foreign key: a label outlives the conversations, which retention may delete.
    dataset_id text NOT NULL CHECK (dataset_id ~ '^sha256:[0-9a-f]{64}$'),
    thread_id text NOT NULL CHECK (length(thread_id) BETWEEN 1 AND 500),
    evaluator text NOT NULL CHECK (evaluator ~ '^[a-z][a-z0-9_]{0,49}$'),
    name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_]{0,49}$'),  -- of the score
    label text NOT NULL CHECK (length(label) BETWEEN 1 AND 200),  -- of a boolean: true or false
    labelled_by text NOT NULL CHECK (length(labelled_by) BETWEEN 1 AND 200),
    -- Whether the conversation was drawn at random from its dataset. Only such ones tell how often the
    -- judge is wrong.
    is_random boolean NOT NULL,
    adjudicates boolean NOT NULL DEFAULT false,  -- decides where people disagree
    note text CHECK (length(note) <= 4000),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX labels_current ON labels
    (owner, dataset_id, thread_id, evaluator, name, labelled_by, id DESC);
