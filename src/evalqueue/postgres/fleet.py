"""The fleet: rows of workers, claims and queues, in and out."""

import os
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from psycopg.rows import class_row, dict_row

from evalqueue.jobs import Job
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import FLEET, load
from evalqueue.postgres.store import job_of

RETENTION = load("evaluation/retention")

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredWorker:
    """A worker's place in the fleet."""

    id: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a worker is willing to do."""

    queues: Sequence[str] | None
    """None: every queue."""
    job_types: Sequence[str]

    def as_arguments(self) -> dict[str, Any]:
        queues = None if self.queues is None else list(self.queues)
        return {"queues": queues, "job_types": list(self.job_types)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a look after the fleet found."""

    is_leader: bool
    recovered: int
    """Jobs that had lost their worker."""
    due_in: float
    """Seconds until it should look again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """A worker, as it last said."""

    id: int
    name: str
    host: str
    pid: int
    version: str
    queues: Sequence[str] | None
    job_types: Sequence[str]
    slots: int
    running: int
    stuck: int
    """Handlers that ignore being cancelled; their slots are free again."""
    draining: bool
    listening: bool
    started_at: datetime
    seen_at: datetime
    silent_for: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """Which worker looks after the fleet."""

    worker: str
    term: int
    since: datetime
    ends_at: datetime
    in_office: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """A queue: its rules, and what is in it."""

    name: str
    paused_at: datetime | None
    max_running: int | None
    max_running_per_owner: int | None
    running: int
    due: int
    later: int
    """Scheduled, retried after a delay, or waiting for another job."""
    oldest_waits: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """A job that should not be where it is."""

    id: UUID
    job_type: str
    queue: str
    owner: str
    oddity: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """How the fleet is, in three figures."""

    workers_alive: int
    oldest_waits: timedelta | None
    """How long the oldest job that is due has waited; None: none is."""
    leases_run_out: int
    """Running jobs that nobody has taken back half a minute after their lease ran out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What the database says of itself."""

    moment: datetime
    jobs_over: int
    """Counted up to a limit."""


async def enter(
    connection: Connection, *, name: str, version: str, capabilities: Capabilities, slots: int
) -> RegisteredWorker:
    """A worker begins; its full name is unique in the fleet."""
    arguments = capabilities.as_arguments() | {
        "name": name,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "version": version,
        "slots": slots,
    }
    (entered,) = await _rows(connection, RegisteredWorker, "register", arguments)
    return entered


async def beat(
    connection: Connection,
    worker_id: int,
    *,
    stuck: int,
    draining: bool,
    listening: bool,
) -> bool:
    """Say that a worker lives. False: it was taken for gone, and has to enter again."""
    arguments = {
        "worker_id": worker_id,
        "stuck": stuck,
        "draining": draining,
        "listening": listening,
    }
    return bool(await _value(connection, "heartbeat", arguments))


async def leave(connection: Connection, worker_id: int) -> None:
    await connection.execute(FLEET["unregister"], {"worker_id": worker_id})


async def claim(
    connection: Connection,
    worker: RegisteredWorker,
    capabilities: Capabilities,
    *,
    slots: int,
    lease_seconds: float,
) -> list[Job]:
    """Jobs that are this worker's from now on, each with an attempt that runs."""
    arguments = capabilities.as_arguments() | {
        "worker_id": worker.id,
        "worker": worker.name,
        "slots": slots,
        "lease_seconds": lease_seconds,
    }
    return await _jobs(connection, "claim", arguments)


async def unacknowledged(
    connection: Connection, worker_id: int, held: Collection[UUID]
) -> list[Job]:
    """What this worker has claimed without ever getting the answer."""
    return await _jobs(connection, "unacknowledged", {"worker_id": worker_id, "held": list(held)})


async def yield_slot(
    connection: Connection,
    worker: RegisteredWorker,
    capabilities: Capabilities,
    *,
    held: Collection[UUID],
    slice_seconds: float,
) -> list[UUID]:
    """Which of the jobs it holds a full worker should put back, so that others get their share."""
    arguments = capabilities.as_arguments() | {
        "worker": worker.name,
        "held": list(held),
        "slice_seconds": slice_seconds,
    }
    cursor = await connection.execute(FLEET["to_yield"], arguments)
    return [job_id for (job_id,) in await cursor.fetchall()]


async def next_due(connection: Connection, capabilities: Capabilities) -> float | None:
    """Seconds until a job is due that no NOTIFY tells; None: none is."""
    return await _value(connection, "next_due", {"queues": capabilities.as_arguments()["queues"]})


async def sweep(connection: Connection, worker: RegisteredWorker, *, term_seconds: float) -> Swept:
    """Look after the fleet, if it is this worker's turn."""
    arguments = {"worker": worker.name, "term_seconds": term_seconds}
    (swept,) = await _rows(connection, Swept, "lead", arguments)
    return swept


async def prune(
    connection: Connection,
    *,
    keep_jobs: timedelta | None,
    keep_runs: timedelta | None,
    keep_logs: timedelta | None,
) -> int:
    """Delete one chunk of what is old. Returns how many rows went; 0: nothing is left to delete."""
    arguments = {"keep_jobs": keep_jobs, "keep_runs": keep_runs, "keep_logs": keep_logs}
    cursor = await connection.execute(RETENTION["prune"], arguments)
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def workers(connection: Connection) -> list[WorkerRecord]:
    return await _rows(connection, WorkerRecord, "workers", {})


async def leader(connection: Connection) -> Leader | None:
    return next(iter(await _rows(connection, Leader, "leader", {})), None)


async def queues(connection: Connection) -> list[QueueState]:
    return await _rows(connection, QueueState, "queues", {})


async def pause(connection: Connection, queue: str) -> None:
    """Nothing of this queue is started until it is resumed; what runs goes on."""
    await connection.execute(FLEET["pause"], {"queue": queue})


async def resume(connection: Connection, queue: str) -> None:
    await connection.execute(FLEET["resume"], {"queue": queue})


async def limit(
    connection: Connection,
    queue: str,
    *,
    max_running: int | None,
    max_running_per_owner: int | None,
) -> None:
    """How many jobs of a queue may run at once, over all workers; None: any number."""
    arguments = {
        "queue": queue,
        "max_running": max_running,
        "max_running_per_owner": max_running_per_owner,
    }
    await connection.execute(FLEET["limit"], arguments)


async def oddities(connection: Connection, *, limit: int = 100) -> list[Oddity]:
    """Jobs that should not be where they are, oldest first."""
    return await _rows(connection, Oddity, "misplaced", {"limit": limit})


async def pulse(connection: Connection) -> Pulse:
    (found,) = await _rows(connection, Pulse, "health", {})
    return found


async def census(connection: Connection, *, at_most: int) -> Census:
    (found,) = await _rows(connection, Census, "statistics", {"at_most": at_most})
    return found


async def _jobs(connection: Connection, query: str, arguments: Mapping[str, Any]) -> list[Job]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(FLEET[query], arguments)
        return [job_of(row) for row in await cursor.fetchall()]


async def _rows(
    connection: Connection, kind: type[Row], query: str, arguments: Mapping[str, Any]
) -> list[Row]:
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(FLEET[query], arguments)
        return await cursor.fetchall()


async def _value(connection: Connection, query: str, arguments: Mapping[str, Any]) -> Any:
    cursor = await connection.execute(FLEET[query], arguments)
    row = await cursor.fetchone()
    return None if row is None else row[0]
