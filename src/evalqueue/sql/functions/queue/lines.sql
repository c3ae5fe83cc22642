-- Why a text is no name, of which people read one line, as `evalqueue.problems` in Python; NULL: it is.
CREATE OR REPLACE FUNCTION evalqueue_line_problem(value text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN $1 ~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]'
            THEN 'Write one line without control characters'
        WHEN $1 !~ '[^[:space:]]' THEN 'It is empty: write something that can be seen'
        END;
$$;
