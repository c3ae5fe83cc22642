-- Alerts: what they watch, and their events.

-- COLUMNS --
alert.id, alert.owner, alert.name, alert.watches, alert.app_id, alert.job_type, alert.requirements,
    alert.evaluator, alert.min_coverage, alert.webhook_url, alert.firing_since, alert.created_at

-- add --
-- Unless the owner has as many as there may be, or one of this name
INSERT INTO alerts AS alert (
    owner, name, watches, app_id, job_type, requirements, evaluator, min_coverage, webhook_url
)
SELECT %(owner)s, %(name)s, %(watches)s, %(app_id)s, %(job_type)s, %(requirements)s, %(evaluator)s,
    %(min_coverage)s, %(webhook_url)s
WHERE (SELECT count(*) FROM alerts WHERE owner = %(owner)s) < %(most)s
    AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL
ON CONFLICT DO NOTHING
RETURNING COLUMNS

-- job_types --
-- Of workers that run
SELECT DISTINCT unnest(job_types) AS job_type FROM job_workers

-- alerts --
-- Those that fire first, each with its newest event
SELECT COLUMNS, event.id AS event_id, event.kind, event.explanation, event.job_id, event.run_id,
    event.delivered_at, event.created_at AS event_at
FROM alerts AS alert
LEFT JOIN LATERAL (
    SELECT id, kind, explanation, job_id, run_id, delivered_at, created_at FROM alert_events
    WHERE alert_id = alert.id AND kind <> 'test' ORDER BY created_at DESC LIMIT 1
) AS event ON true
WHERE (%(owner)s::text IS NULL OR alert.owner = %(owner)s)
    AND (%(firing)s::boolean IS NULL OR (alert.firing_since IS NOT NULL) = %(firing)s)
ORDER BY alert.firing_since DESC NULLS LAST, alert.name, alert.owner LIMIT %(limit)s

-- meant --
-- By the id or the name; several owners may have the same name
SELECT COLUMNS FROM alerts AS alert
WHERE (alert.id::text = %(alert)s OR alert.name = %(alert)s)
    AND (%(owner)s::text IS NULL OR alert.owner = %(owner)s)
ORDER BY alert.owner LIMIT 2

-- remove --
WITH removed AS (
    DELETE FROM alerts WHERE id = %(alert_id)s
        AND set_config('evalqueue.actor', %(actor)s, true) IS NOT NULL
    RETURNING id
)
SELECT EXISTS (SELECT FROM removed) AS found

-- watching --
-- Those that a job which has ended is about
SELECT COLUMNS FROM jobs CROSS JOIN LATERAL evalqueue_alerts_of_job(jobs) AS alert
WHERE jobs.id = %(job_id)s AND jobs.owner = %(owner)s ORDER BY alert.id

-- decide --
SELECT evalqueue_decide_alert(%(alert_id)s, %(job_id)s, %(run_id)s, %(ended_at)s, %(fires)s,
    %(explanation)s, %(figures)s)

-- test --
INSERT INTO alert_events (alert_id, kind, explanation) VALUES (%(alert_id)s, 'test', %(explanation)s)
RETURNING id

-- event --
SELECT event.id, alert.name, alert.owner, alert.watches, alert.app_id, alert.webhook_url, event.kind,
    event.explanation, event.figures, event.job_id, event.run_id, event.created_at
FROM alert_events AS event JOIN alerts AS alert ON alert.id = event.alert_id
WHERE event.id = %(event_id)s AND alert.owner = %(owner)s

-- delivered --
UPDATE alert_events SET delivered_at = COALESCE(delivered_at, clock_timestamp())
WHERE id = %(event_id)s

-- fired_by --
-- The type of the job that failed when each of some alerts last began to fire
SELECT DISTINCT ON (event.alert_id) event.alert_id, jobs.job_type
FROM alert_events AS event JOIN jobs ON jobs.id = event.job_id
WHERE event.alert_id = ANY (%(alerts)s) AND event.kind = 'fired'
ORDER BY event.alert_id, event.created_at DESC
