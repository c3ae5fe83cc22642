-- Apps: chatbots described as data, stored once by their content, as datasets are.
--
-- The same document is the same content for every owner. Each owner gives app_ids to contents, one
-- version after the other; the newest is used unless a job names another by its digest. Content is
-- deleted when it is no version of an app and no job or run needs it. The shipped apps have no
-- owner: their content is stored when a job first uses it, so that its run can be repeated.

CREATE TABLE apps (
    digest text PRIMARY KEY CHECK (digest ~ '^sha256:[0-9a-f]{64}$'),
    app_id text NOT NULL CHECK (length(app_id) BETWEEN 1 AND 100),  -- as the document has it
    document text NOT NULL CHECK (octet_length(document) <= 262144),  -- canonical JSON: the digest is its hash
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT apps_digest_is_the_hash
        CHECK (digest = 'sha256:' || encode(sha256(convert_to(document, 'UTF8')), 'hex'))
);

CREATE TABLE app_versions (
    owner text NOT NULL CHECK (length(owner) BETWEEN 1 AND 200),
    app_id text NOT NULL,
    version integer NOT NULL CHECK (version >= 1),  -- of this owner's app, in order
    digest text NOT NULL REFERENCES apps,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (owner, app_id, version)
);
CREATE INDEX app_versions_of_content ON app_versions (digest);

-- Which jobs and runs need an app's content.
CREATE INDEX jobs_of_app ON jobs ((params ->> 'app_digest')) WHERE params ? 'app_digest';
ALTER TABLE eval_runs ADD COLUMN app_digest text REFERENCES apps;
CREATE INDEX eval_runs_of_app ON eval_runs (app_digest) WHERE app_digest IS NOT NULL;

-- The app that is used for a dataset where a job names none. NULL: the default app.
ALTER TABLE dataset_owners ADD COLUMN app_id text CHECK (length(app_id) BETWEEN 1 AND 100);
