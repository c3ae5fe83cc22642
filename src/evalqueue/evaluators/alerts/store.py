"""Alerts and their events, in Postgres."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from evalqueue import codec
from evalqueue.errors import Refused
from evalqueue.evaluators.alerts.alert import (
    ALERTS_MAX,
    Alert,
    AlertEvent,
    ListedAlert,
    NewAlert,
)
from evalqueue.evaluators.alerts.decision import EXPLANATION_MAX, AlertFinding
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load
from evalqueue.postgres.rows import jsonb
from evalqueue.telemetry import actors

QUERIES = load("evaluation/alerts")
TEST_EXPLANATION = "This is a test: nothing has changed"


class AlertRefused(Refused):
    """An alert can't be added, with the reason."""


async def add(
    connection: Connection, new: NewAlert, *, owner: str, job_types: Collection[str]
) -> Alert:
    """Store an alert.

    Args:
        job_types: those that this process knows. Workers and jobs may have others.

    Raises:
        AlertRefused: the owner has one of this name, or as many as there may be; or nothing knows
            the job type.
    """
    if new.job_type is not None and new.job_type not in job_types:
        cursor = await connection.execute(QUERIES["job_types"])
        known = {*job_types, *(name for (name,) in await cursor.fetchall())}
        if new.job_type not in known:
            names = ", ".join(sorted(known))
            raise AlertRefused(f"There is no job type {new.job_type!r}. Known: {names}")
    added = await QUERIES.row(
        connection, Alert, "add", owner=owner, most=ALERTS_MAX, actor=actors.setting(),
        **{**new.model_dump(), "watches": str(new.watches)},
    )  # fmt: skip
    if added is not None:
        return added
    if await meant(connection, new.name, owner=owner):
        raise AlertRefused(f"There is an alert {new.name!r} already")
    raise AlertRefused(f"{owner!r} has {ALERTS_MAX} alerts, which is the most. Remove one first")


async def alerts(
    connection: Connection, *, owner: str | None, firing: bool | None = None, limit: int
) -> list[ListedAlert]:
    """The alerts of an owner (None: of all), those that fire first."""
    return await QUERIES.rows(
        connection, ListedAlert, "alerts", owner=owner, firing=firing, limit=limit
    )


async def meant(connection: Connection, alert: str, *, owner: str | None) -> list[Alert]:
    """The alerts that have this id or name: two at most."""
    return await QUERIES.rows(connection, Alert, "meant", alert=alert, owner=owner)


async def remove(connection: Connection, alert_id: UUID) -> bool:
    """Delete an alert with its events. False: there is none."""
    found = await QUERIES.value(connection, "remove", alert_id=alert_id, actor=actors.setting())
    return bool(found)


async def watching(connection: Connection, job_id: UUID, *, owner: str) -> list[Alert]:
    """The alerts that a job which has ended is about."""
    return await QUERIES.rows(connection, Alert, "watching", job_id=job_id, owner=owner)


async def fired_by(connection: Connection, alerts: Sequence[UUID]) -> dict[UUID, str]:
    """The type of the job by which each alert last began to fire, as far as the job is there."""
    rows = await QUERIES.mappings(connection, "fired_by", alerts=list(alerts))
    return {UUID(str(row["alert_id"])): str(row["job_type"]) for row in rows}


async def decide(
    connection: Connection,
    alert: Alert,
    finding: AlertFinding,
    *,
    job_id: UUID,
    run_id: UUID | None,
    ended_at: datetime,
) -> UUID | None:
    """Write down what an alert comes to. The event, if it begins to fire or recovers."""
    event: UUID | None = await QUERIES.value(
        connection,
        "decide",
        alert_id=alert.id,
        job_id=job_id,
        run_id=run_id,
        ended_at=ended_at,
        fires=finding.fires,
        explanation=codec.clean_text(finding.explanation, limit=EXPLANATION_MAX),
        figures=jsonb(codec.clean_json(dict(finding.figures))),
    )
    return event


async def test(connection: Connection, alert: Alert) -> UUID:
    """An event that tells nothing."""
    event: UUID = await QUERIES.value(
        connection, "test", alert_id=alert.id, explanation=TEST_EXPLANATION
    )
    return event


async def event(connection: Connection, event_id: UUID, *, owner: str) -> AlertEvent | None:
    """None: its alert was removed."""
    return await QUERIES.row(connection, AlertEvent, "event", event_id=event_id, owner=owner)


async def delivered(connection: Connection, event_id: UUID) -> None:
    """The receiver has answered."""
    await connection.execute(QUERIES["delivered"], {"event_id": event_id})
