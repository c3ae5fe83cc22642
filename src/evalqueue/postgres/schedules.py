"""Schedules: jobs that are submitted again and again, at the times of a cron expression.

croniter interprets cron expressions, as in procrastinate; the database knows the time, and that
each time is used once.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import croniter
import psycopg

from evalqueue.errors import InvalidParams, one_line
from evalqueue.postgres.database import TRANSIENT, Connection
from evalqueue.postgres.queries import SCHEDULES
from evalqueue.postgres.rows import jsonb
from evalqueue.telemetry import actors

TROUBLE_DELAY = 5.0  # seconds until a schedule that can't be submitted now is tried again

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What is submitted, and when."""

    name: str
    cron: str
    """Minute, hour, day of month, month, day of week; `@daily` and the like."""
    timezone: str
    job_type: str
    params: Mapping[str, Any]
    owner: str
    queue: str
    priority: int
    max_attempts: int
    next_at: datetime
    last_at: datetime | None = None
    last_job_id: UUID | None = None
    paused_at: datetime | None = None
    problem: str | None = None
    """Why it was paused, if its jobs can't be submitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSchedule:
    """A schedule whose time has come."""

    name: str
    cron: str
    timezone: str
    next_at: datetime
    moment: datetime


def next_time(cron: str, timezone: str, after: datetime) -> datetime:
    """The first time of a cron expression after a moment, in that time zone's wall-clock time.

    Raises:
        InvalidParams: it is no cron expression, never comes, or there is no such time zone.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidParams.of("timezone", f"There is no time zone {timezone!r}") from error
    iterator: Any = None
    try:
        iterator = cast("Any", croniter.croniter)(cron, after.astimezone(zone))
        return iterator.get_next(datetime)
    except (ValueError, TypeError) as error:
        raise InvalidParams.of("cron", f"{cron!r} is no cron expression: {error}") from error


async def put(connection: Connection, schedule: Schedule) -> None:
    """Store a schedule; one of the same name is replaced."""
    arguments = {name: getattr(schedule, name) for name in Schedule.__slots__}
    arguments |= {"params": jsonb(schedule.params), "actor": actors.setting()}
    await connection.execute(SCHEDULES["put"], arguments)


async def list_all(connection: Connection) -> list[Schedule]:
    return await SCHEDULES.rows(connection, Schedule, "list")


async def get(connection: Connection, name: str) -> Schedule | None:
    return next((each for each in await list_all(connection) if each.name == name), None)


async def pause(connection: Connection, name: str, *, problem: str | None = None) -> bool:
    """Submit nothing until it is resumed. False: there is no such schedule.

    Args:
        problem: why its jobs can't be submitted; None: a person wants it so.
    """
    arguments = {"name": name, "problem": problem, "actor": actors.setting()}
    cursor = await connection.execute(SCHEDULES["pause"], arguments)
    return await cursor.fetchone() is not None


async def resume(connection: Connection, name: str) -> bool:
    """Continue from now: times in the meantime are skipped. False: no such schedule."""
    schedule = await get(connection, name)
    if schedule is None:
        return False
    next_at = next_time(schedule.cron, schedule.timezone, await now(connection))
    arguments = {"name": name, "next_at": next_at, "actor": actors.setting()}
    cursor = await connection.execute(SCHEDULES["resume"], arguments)
    return await cursor.fetchone() is not None


async def remove(connection: Connection, name: str) -> bool:
    """False: there is no such schedule."""
    cursor = await connection.execute(
        SCHEDULES["remove"], {"name": name, "actor": actors.setting()}
    )
    return await cursor.fetchone() is not None


async def now(connection: Connection) -> datetime:
    """The database's time."""
    return await SCHEDULES.value(connection, "now")


async def fire_due(connection: Connection) -> float | None:
    """Submit what is due. Returns seconds until the next one is; None: there is none.

    A schedule that can't be submitted is paused; one that can't be submitted now is due again the
    next time. The others go on.
    """
    soonest = 0.0
    for due in await SCHEDULES.rows(connection, DueSchedule, "due"):
        try:
            await _fire(connection, due)
        except TRANSIENT as error:
            if connection.closed:
                raise
            logger.warning("Schedule %r can't be submitted now: %s", due.name, error)
            soonest = TROUBLE_DELAY
        except (InvalidParams, psycopg.Error) as error:
            if not await _pause_refused(connection, due, error):
                soonest = TROUBLE_DELAY
    due_in: float | None = await SCHEDULES.value(connection, "next")
    return None if due_in is None else max(due_in, soonest)


async def _pause_refused(
    connection: Connection, due: DueSchedule, error: psycopg.Error | InvalidParams
) -> bool:
    """Pause a schedule. False: that was refused, too."""
    logger.error("Schedule %r can't be submitted and is paused: %s", due.name, error)
    try:
        return await pause(connection, due.name, problem=one_line(error))
    except psycopg.Error as refused:
        if connection.closed:
            raise
        logger.warning("Schedule %r can't be paused: %s", due.name, refused)
        return False


async def _fire(connection: Connection, due: DueSchedule) -> None:
    # From now on, not from when it was due: missed times are submitted once.
    next_at = next_time(due.cron, due.timezone, due.moment)
    arguments = {"name": due.name, "at": due.next_at, "next_at": next_at}
    await connection.execute(SCHEDULES["fire"], arguments)
