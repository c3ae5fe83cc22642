-- What evaluators found where they were tried.

-- keep --
INSERT INTO tried_conversations (job_id, thread_id, findings)
VALUES (%(job_id)s, %(thread_id)s, %(findings)s)
ON CONFLICT DO NOTHING

-- found --
SELECT thread_id, findings FROM tried_conversations WHERE job_id = %(job_id)s ORDER BY id
