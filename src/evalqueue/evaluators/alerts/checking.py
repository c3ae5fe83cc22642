"""How `check-alerts` works."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict
from uuid import UUID

from evalqueue.client import Client
from evalqueue.context import JobContext
from evalqueue.evaluators import figures
from evalqueue.evaluators.alerts import decision, store
from evalqueue.evaluators.alerts.alert import Alert, Watched
from evalqueue.evaluators.alerts.decision import AlertFinding
from evalqueue.evaluators.alerts.job_types import DELIVERIES_MAX, CheckAlerts, DeliverAlert
from evalqueue.evaluators.batch.distributions import Key
from evalqueue.evaluators.comparison.gate import GatedRun
from evalqueue.evaluators.comparison.rates import CorrectedRate
from evalqueue.evaluators.figures import RunFigures
from evalqueue.evaluators.figures.corrected import corrected_rates
from evalqueue.jobs import Job
from evalqueue.postgres import store as jobs
from evalqueue.postgres.database import Connection
from evalqueue.settings import Settings

logger = logging.getLogger(__name__)


class CheckedAlerts(TypedDict):
    """The result of the job: names of alerts."""

    fired: list[str]
    recovered: list[str]
    unchanged: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The job that has ended, and what alerts look at."""

    job: Job
    alerts: Sequence[Alert]
    run: RunFigures | None
    corrected: Mapping[Key, CorrectedRate]
    """The rates of the run for which there are labels enough."""
    fired_by: Mapping[UUID, str]
    """Types of the jobs by which alerts last began to fire."""


async def check_alerts(
    context: JobContext, params: CheckAlerts, settings: Settings
) -> CheckedAlerts:
    """Decide each alert that the job is about, and write down what has changed."""
    result: CheckedAlerts = {"fired": [], "recovered": [], "unchanged": []}
    owner, what = context.job.owner, f"Job {context.job.id}"

    async def look(connection: Connection) -> _Seen | None:
        job = await jobs.get(connection, params.job_id, owner=owner)
        alerts = await store.watching(connection, params.job_id, owner=owner)
        if job is None or not alerts:
            return None
        run_id = job.run_id
        run = None if run_id is None else await figures.statistics(connection, run_id, owner=owner)
        watches_rates = any(alert.watches == Watched.RATE for alert in alerts)
        corrected: Mapping[Key, CorrectedRate] = {}
        if run_id is not None and watches_rates:
            corrected = await corrected_rates(connection, run_id, owner=owner)
        fired_by = await store.fired_by(connection, [alert.id for alert in alerts])
        return _Seen(job=job, alerts=alerts, run=run, corrected=corrected, fired_by=fired_by)

    seen = await context.database.until_done(look, what=what)
    if seen is None:
        return result
    found = [(each, _finding(each, seen)) for each in seen.alerts]
    client = Client(settings=settings, database=context.database)

    async def tell(connection: Connection) -> list[tuple[Alert, AlertFinding]]:
        return [
            (alert, finding)
            for alert, finding in found
            if await _tell(context, connection, client, seen.job, alert, finding) is not None
        ]

    changed = await context.retry_fenced(tell)
    for alert, finding in changed:
        change = "fired" if finding.fires else "recovered"
        result[change].append(alert.name)
        logger.warning("Alert %r %s: %s", alert.name, change, finding.explanation)
    names = {alert.id for alert, _ in changed}
    result["unchanged"] = [each.name for each in seen.alerts if each.id not in names]
    return result


def _finding(alert: Alert, seen: _Seen) -> AlertFinding:
    job, run = seen.job, seen.run
    match Watched(alert.watches):
        case Watched.FAILED:
            return decision.of_failure(job, seen.fired_by.get(alert.id))
        case Watched.DRIFT:
            return decision.of_drift(job.result or {})
        case Watched.COVERAGE:
            return decision.of_coverage(alert, None if run is None else run.batch)
        case Watched.RATE:
            statistics = None if run is None else run.batch
            status = "not there" if run is None else run.status
            gated = GatedRun(status=status, statistics=statistics, corrected=seen.corrected)
            return decision.of_rate(alert, gated)


async def _tell(
    context: JobContext,
    connection: Connection,
    client: Client,
    job: Job,
    alert: Alert,
    finding: AlertFinding,
) -> UUID | None:
    """Write down what an alert comes to, and have it delivered. None: nothing has changed."""
    if finding.fires is None or job.completed_at is None:
        return None
    event_id = await store.decide(
        connection, alert, finding, job_id=job.id, run_id=job.run_id, ended_at=job.completed_at
    )
    if event_id is not None and alert.webhook_url is not None:
        await client.submit(
            DeliverAlert(event_id=event_id),
            connection=connection,
            owner=alert.owner,
            queue=context.job.queue,
            priority=context.job.priority,
            max_attempts=DELIVERIES_MAX,
            idempotency_key=f"deliver-alert {event_id}",
        )
    return event_id
