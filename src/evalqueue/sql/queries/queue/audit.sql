-- entries --
-- Newest first; NULL filters nothing
SELECT id, at, actor, role, application, door, action, subject_kind, subject_id, details
FROM audit_log
WHERE (%(actor)s::text IS NULL OR actor = %(actor)s)
    AND (%(action)s::text IS NULL OR action = %(action)s OR split_part(action, '.', 1) = %(action)s)
    AND (%(subject_kind)s::text IS NULL OR subject_kind = %(subject_kind)s)
    AND (%(subject_id)s::text IS NULL OR subject_id = %(subject_id)s)
    AND (%(after)s::bigint IS NULL OR id < %(after)s)
ORDER BY id DESC LIMIT %(limit)s
