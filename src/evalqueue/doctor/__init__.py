"""Is the fleet healthy? What is examined, and what a finding means.

Reading needs a database, judging doesn't: `judged` makes findings from a `FleetState`, which is
plain values. Every finding says what is wrong, since when, and what to do about it.
"""

import asyncio
from datetime import UTC, datetime

from psycopg.errors import InsufficientPrivilege

from evalqueue.doctor.findings import Finding, Level, duration_text, note, ok, wrong
from evalqueue.doctor.judging import (
    JOBS_OVER_MAX,
    MISPLACED_MAX,
    OLD_SNAPSHOT,
    PATIENCE,
    FleetState,
    clock_finding,
    judged,
    of_rights,
    warnings,
)
from evalqueue.errors import NotificationsLost, RightMissing
from evalqueue.postgres import fleet, health, schedules, schema
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.listener import Listener

__all__ = [
    "PATIENCE", "Finding", "FleetState", "Level", "clock_finding", "duration_text", "judged",
    "warnings",
]  # fmt: skip


async def examine(database: Database, *, keeps_jobs_for_ever: bool) -> list[Finding]:
    """All findings of a database that answers, also where the schema is outdated."""
    clock = await clock_agrees(database)
    migrated = await schema_is_current(database)
    async with database.connection() as connection:
        rights = of_rights(await schema.of_session(connection))
    if migrated.level is Level.WRONG:
        return [clock, migrated, *rights]
    try:
        async with database.connection() as connection:
            state = await read(connection, keeps_jobs_for_ever=keeps_jobs_for_ever)
    except InsufficientPrivilege as error:
        return [clock, migrated, *rights, not_permitted(error)]
    return [clock, migrated, *rights, *judged(state)]


async def read(connection: Connection, *, keeps_jobs_for_ever: bool) -> FleetState:
    """The state of the fleet, from its rows."""
    statistics = await health.statistics(connection, at_most=JOBS_OVER_MAX + 1)
    return FleetState(
        moment=statistics.moment,
        workers=await fleet.workers(connection),
        leader=await fleet.leader(connection),
        queues=await fleet.queues(connection),
        misplaced_jobs=await health.misplaced_jobs(connection, limit=MISPLACED_MAX),
        schedules=await schedules.list_all(connection),
        unused_slots=await health.unused_slots(connection),
        old_snapshots=await health.old_snapshots(connection, older_than=OLD_SNAPSHOT),
        jobs_over=statistics.jobs_over,
        keeps_jobs_for_ever=keeps_jobs_for_ever,
    )


async def answers(database: Database) -> Finding:
    """Whether statements get through; `no_database` says what it means if this raises."""
    async with database.connection() as connection:
        await connection.execute("SELECT 1")
    return ok(name="database", what="The database answers.")


def no_database(error: Exception, *, message: str | None = None) -> Finding:
    """An error as a finding: by its kind, or with a message that may name hosts and users."""
    if message is not None:
        what = message
    elif isinstance(error, TimeoutError):
        what = "The database did not answer in time."
    else:
        what = f"The database does not answer: {type(error).__name__}."
    return wrong(
        name="database",
        what=what,
        fix=None if message else "Is Postgres running, and is DATABASE_URL right?",
    )


def not_looked_at(name: str) -> Finding:
    """A check that could not be made, because the database did not answer."""
    return wrong(
        name=name,
        what="Not looked at: the database did not answer in time.",
        fix="See what is wrong with the database first.",
    )


def not_permitted(error: InsufficientPrivilege) -> Finding:
    """What could not be examined, because the role lacks a right."""
    reason = str(error).splitlines()[0]
    return note(
        name="rights",
        what=f"Workers, queues and jobs were not looked at: {reason}.",
        fix="Run doctor with the address of a worker's or an API's role.",
    )


async def schema_is_current(database: Database) -> Finding:
    """Whether every migration of ours and of procrastinate's was applied."""
    try:
        missing = await schema.pending(database)
    except RightMissing as error:
        return wrong(name="schema", what=str(error))
    except InsufficientPrivilege as error:
        return wrong(
            name="schema",
            what=f"It can't be read: {str(error).splitlines()[0]}.",
            fix="Use the address of a worker's, an API's or the reading role: evalqueue roles",
        )
    if missing:
        return wrong(
            name="schema",
            what=f"The schema lacks {len(missing)} change(s), the first is {missing[0]}.",
            fix="evalqueue migrate",
        )
    newest = max(schema.own_migrations())
    return ok(
        name="schema",
        what=f"The schema is current: tables to {newest}, functions, procrastinate's migrations.",
    )


async def notifications_arrive(listener: Listener, *, within_seconds: float) -> Finding:
    """Whether notifications arrive here; the listener proves it every few seconds."""
    try:
        async with asyncio.timeout(within_seconds):
            await listener.wait_for_proof()
    except NotificationsLost:
        return wrong(
            name="notifications",
            what="What is sent by NOTIFY does not arrive: is there a pooler in between?",
            fix="Set EVALQUEUE_LISTEN_URL to an address of Postgres itself.",
        )
    except TimeoutError:
        return wrong(
            name="notifications",
            what=f"A notification sent by NOTIFY did not arrive within {within_seconds:.0f} s.",
            fix="The log of this process says why LISTEN was lost.",
        )
    return ok(name="notifications", what="What is sent by NOTIFY arrives.")


async def clock_agrees(database: Database) -> Finding:
    """Whether this machine and the database have the same time."""
    before = datetime.now(UTC)
    async with database.connection() as connection:
        theirs = await schedules.now(connection)
    return clock_finding(theirs, before, datetime.now(UTC))
