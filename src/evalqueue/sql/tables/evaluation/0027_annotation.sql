-- Annotation queues: conversations of a run that people are asked to label. The labels themselves are
-- rows of `labels`, by which items are counted: here is only what is to be labelled, and by whom just now.

CREATE TABLE annotation_queues (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner text NOT NULL CHECK (length(owner) BETWEEN 1 AND 200),  -- of the run
    run_id uuid NOT NULL REFERENCES eval_runs ON DELETE CASCADE,
    dataset_id text NOT NULL CHECK (dataset_id ~ '^sha256:[0-9a-f]{64}$'),  -- of the run
    evaluator text NOT NULL CHECK (evaluator ~ '^[a-z][a-z0-9_]{0,49}$'),
    name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_]{0,49}$'),  -- of the score
    selection text NOT NULL CHECK (selection IN ('random', 'disagreements')),
    annotators integer NOT NULL CHECK (annotators BETWEEN 1 AND 5),  -- people who label each item
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX annotation_queues_of_run ON annotation_queues (run_id, created_at);

CREATE TABLE annotation_items (
    queue_id uuid NOT NULL REFERENCES annotation_queues ON DELETE CASCADE,
    position integer NOT NULL CHECK (position >= 1),  -- in the order in which they are offered
    thread_id text NOT NULL CHECK (length(thread_id) BETWEEN 1 AND 500),

    PRIMARY KEY (queue_id, position),
    UNIQUE (queue_id, thread_id)
);

-- An item that a person has on the screen. Only written while the row of the queue is locked.
CREATE TABLE annotation_leases (
    queue_id uuid NOT NULL,
    position integer NOT NULL,
    annotator text NOT NULL CHECK (length(annotator) BETWEEN 1 AND 200),
    adjudicates boolean NOT NULL,          -- decides where people disagree
    expires_at timestamptz NOT NULL,

    PRIMARY KEY (queue_id, position, annotator),
    FOREIGN KEY (queue_id, position) REFERENCES annotation_items ON DELETE CASCADE
);
