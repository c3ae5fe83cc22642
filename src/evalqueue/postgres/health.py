"""The fleet's health: what a look at workers, jobs and transactions finds."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import FLEET


@dataclass(frozen=True, slots=True, kw_only=True)
class MisplacedJob:
    """A job that should not be in the state it is in."""

    id: UUID
    job_type: str
    queue: str
    owner: str
    problem: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetHealth:
    """How the fleet is, in three figures."""

    workers_alive: int
    oldest_waits: timedelta | None
    """How long the oldest job that is due has waited; None: none is."""
    leases_run_out: int
    """Running jobs not recovered half a minute after their lease ran out."""
    troubled_workers: int = 0
    """To which the database refuses statements."""
    refused_jobs: int = 0
    """That can't be claimed."""
    refused_schedules: int = 0
    """Paused, because their jobs can't be submitted."""
    oldest_snapshot: timedelta | None = None
    """The age of the oldest transaction that keeps dead rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OldSnapshot:
    """A transaction that keeps VACUUM from removing dead rows."""

    holder: str
    """`session` or `prepared`."""
    who: str
    """The session's application_name, or the identifier of a prepared transaction."""
    pid: int | None
    age: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedSlot:
    """A replication slot without a consumer, which keeps what that one would need."""

    name: str
    keeps_rows: bool
    """Whether VACUUM leaves dead rows for it."""
    wal_bytes: int
    unused_for: timedelta | None
    """None: not known; Postgres says it from version 17 on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatistics:
    """The database's time, and how many jobs are over."""

    moment: datetime
    jobs_over: int
    """Counted up to a limit."""


async def misplaced_jobs(connection: Connection, *, limit: int = 100) -> list[MisplacedJob]:
    """Jobs that should not be in the state they are in, oldest first."""
    return await FLEET.rows(connection, MisplacedJob, "misplaced", limit=limit)


async def old_snapshots(connection: Connection, *, older_than: timedelta) -> list[OldSnapshot]:
    """Transactions that keep dead rows, oldest first."""
    return await FLEET.rows(connection, OldSnapshot, "old_snapshots", older_than=older_than)


async def unused_slots(connection: Connection) -> list[UnusedSlot]:
    """Replication slots of this server that nothing uses, by name."""
    return await FLEET.rows(connection, UnusedSlot, "unused_slots")


async def health(connection: Connection) -> FleetHealth:
    return await FLEET.only_row(connection, FleetHealth, "health")


async def statistics(connection: Connection, *, at_most: int) -> QueueStatistics:
    return await FLEET.only_row(connection, QueueStatistics, "statistics", at_most=at_most)
