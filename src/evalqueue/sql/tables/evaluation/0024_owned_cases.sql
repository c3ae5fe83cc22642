-- A saved case belongs to who saved it: others use it only once an administrator has pinned it.
ALTER TABLE saved_cases ADD COLUMN owner text NOT NULL DEFAULT 'default'
    CHECK (length(owner) BETWEEN 1 AND 200);
ALTER TABLE saved_cases ALTER COLUMN owner DROP DEFAULT;
ALTER TABLE saved_cases DROP CONSTRAINT saved_cases_pkey;
ALTER TABLE saved_cases ADD PRIMARY KEY (app_id, owner, case_id);
