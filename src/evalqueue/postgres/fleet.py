"""The fleet: rows of workers, claims and queues, in and out."""

import os
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from evalqueue.jobs import Job
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import FLEET, load
from evalqueue.postgres.rows import jsonb
from evalqueue.postgres.store import job_of
from evalqueue.telemetry import actors

RETENTION = load("evaluation/retention")
WAITING_MAX = 20_000  # jobs that are counted, over all queues
MAX_QUEUE_NAME = 40  # characters; it is part of the name of a NOTIFY channel


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredWorker:
    """A worker's record in the fleet."""

    id: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a worker is willing to do."""

    queues: Sequence[str] | None
    """None: every queue."""
    job_types: Sequence[str]

    def as_arguments(self) -> dict[str, object]:
        queues = None if self.queues is None else list(self.queues)
        return {"queues": queues, "job_types": list(self.job_types)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderTurn:
    """What came of one try to lead the fleet."""

    is_leader: bool
    recovered: int
    """Jobs that had lost their worker."""
    due_in: float
    """Seconds until the next try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLook:
    """Which workers have no session any more, as of one look."""

    absent: Sequence[int]
    is_leader: bool
    """Whether the worker that looks is the leader."""
    looks: int
    """Workers that look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """A worker, as of its last heartbeat."""

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
    troubles: Sequence[Mapping[str, str]]
    """What the database refuses to it: `what`, `error`, `since`, and for a job that can't be
    claimed `job_id`."""
    started_at: datetime
    seen_at: datetime
    silent_for: timedelta
    has_ended: bool
    """Whether it is silent, and its session is gone: its process has ended, or its network is
    cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """The worker elected to look after the fleet."""

    worker: str
    term: int
    since: datetime
    ends_at: datetime
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """A queue: its rules, and what is in it."""

    name: str
    paused_at: datetime | None
    max_running: int | None
    max_running_per_owner: int | None
    running: int
    helpers: int
    """Running helper jobs, which limits include, and no other number."""
    due: int
    later: int
    """Scheduled, retried after a delay, or waiting for another job."""
    counts_complete: bool
    """False: more jobs wait than `due` and `later` count."""
    oldest_waits: timedelta | None
    """How long the oldest job that is due has waited, counted or not. None: none is due."""

    def shown(self, count: int) -> str:
        """A count of jobs that wait, for people."""
        return str(count) if self.counts_complete else f"{count}+"


async def register(
    connection: Connection,
    *,
    name: str,
    version: str,
    capabilities: Capabilities,
    slots: int,
    session_key: int | None = None,
) -> RegisteredWorker:
    """Add a worker; its full name is unique in the fleet.

    Args:
        session_key: what its LISTEN connection locks for as long as the process lives.
    """
    arguments = capabilities.as_arguments() | {
        "name": name,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "version": version,
        "slots": slots,
        "session_key": session_key,
    }
    return await FLEET.only_row(connection, RegisteredWorker, "register", **arguments)


async def heartbeat(
    connection: Connection,
    worker_id: int,
    *,
    stuck: int,
    draining: bool,
    listening: bool,
    troubles: Sequence[Mapping[str, str]] = (),
) -> bool:
    """Record that a worker is alive. False: it was taken for lost, and has to register again."""
    known = await FLEET.value(
        connection,
        "heartbeat",
        worker_id=worker_id,
        stuck=stuck,
        draining=draining,
        listening=listening,
        troubles=jsonb(list(troubles)),
    )
    return bool(known)


async def unregister(connection: Connection, worker_id: int) -> None:
    await connection.execute(FLEET["unregister"], {"worker_id": worker_id})


async def claim(
    connection: Connection,
    worker: RegisteredWorker,
    capabilities: Capabilities,
    *,
    slots: int,
    lease_seconds: float,
    skipped: Collection[UUID] = (),
) -> list[Job]:
    """Jobs that are this worker's from now on, each with an attempt that runs.

    Args:
        skipped: jobs that are left out.
    """
    arguments = capabilities.as_arguments() | {
        "worker_id": worker.id,
        "worker": worker.name,
        "slots": slots,
        "lease_seconds": lease_seconds,
        "skipped": list(skipped),
    }
    return await _jobs(connection, "claim", **arguments)


async def try_claims(
    connection: Connection,
    worker: RegisteredWorker,
    capabilities: Capabilities,
    *,
    slots: int,
    lease_seconds: float,
    skipped: Collection[UUID],
) -> Mapping[UUID, str | None]:
    """Why the next jobs can't be claimed, each tried by itself; None: this one can."""
    arguments = capabilities.as_arguments() | {
        "worker_id": worker.id,
        "worker": worker.name,
        "slots": slots,
        "lease_seconds": lease_seconds,
        "skipped": list(skipped),
    }
    cursor = await connection.execute(FLEET["try_claims"], arguments)
    return dict(await cursor.fetchall())


async def unacknowledged(
    connection: Connection, worker_id: int, held: Collection[UUID]
) -> list[Job]:
    """Jobs that this worker has claimed by a statement whose answer was lost."""
    return await _jobs(connection, "unacknowledged", worker_id=worker_id, held=list(held))


async def jobs_to_yield(
    connection: Connection,
    worker: RegisteredWorker,
    capabilities: Capabilities,
    *,
    held: Collection[UUID],
    slice_seconds: float,
) -> list[UUID]:
    """Which of its jobs a worker without free slots should put back for the jobs that wait."""
    arguments = capabilities.as_arguments() | {
        "worker": worker.name,
        "held": list(held),
        "slice_seconds": slice_seconds,
    }
    cursor = await connection.execute(FLEET["to_yield"], arguments)
    return [job_id for (job_id,) in await cursor.fetchall()]


async def next_due(
    connection: Connection, worker: RegisteredWorker, capabilities: Capabilities
) -> float | None:
    """Seconds until a job is due that no NOTIFY announces; None: none is. Below zero: one is due,
    and waits for what this worker does."""
    queues = capabilities.as_arguments()["queues"]
    return await FLEET.value(connection, "next_due", queues=queues, worker=worker.name)


async def lead(
    connection: Connection, worker: RegisteredWorker, *, term_seconds: float
) -> LeaderTurn:
    """Become or stay the leader if possible, and as the leader recover lost jobs."""
    return await FLEET.only_row(
        connection, LeaderTurn, "lead", worker=worker.name, term_seconds=term_seconds
    )


async def without_session(connection: Connection, worker: RegisteredWorker) -> SessionLook:
    """Whose session is gone: for the leader, of all that run jobs; for others, the leader's."""
    return await FLEET.only_row(connection, SessionLook, "without_session", worker=worker.name)


async def lose(connection: Connection, worker_id: int, *, silent_seconds: float) -> int | None:
    """Recover the jobs of a worker whose process has ended. Returns how many; None: it is alive."""
    return await FLEET.value(connection, "lose", worker_id=worker_id, silent_seconds=silent_seconds)


async def prune(
    connection: Connection,
    *,
    keep_jobs: timedelta | None,
    keep_runs: timedelta | None,
    keep_logs: timedelta | None,
    keep_audit: timedelta | None,
    is_recorded: bool,
) -> int:
    """Delete one chunk of what is old. Returns how many rows went; 0: nothing is left to delete.

    Args:
        is_recorded: whether an earlier chunk of the same pruning is in the audit log.
    """
    arguments = {
        "keep_jobs": keep_jobs,
        "keep_runs": keep_runs,
        "keep_logs": keep_logs,
        "keep_audit": keep_audit,
        "is_recorded": is_recorded,
        "actor": actors.setting(),
    }
    return int(await RETENTION.value(connection, "prune", **arguments) or 0)


async def workers(connection: Connection) -> list[WorkerRecord]:
    return await FLEET.rows(connection, WorkerRecord, "workers")


async def leader(connection: Connection) -> Leader | None:
    return await FLEET.row(connection, Leader, "leader")


async def queues(connection: Connection) -> list[QueueState]:
    """Every queue. However many jobs wait, at most `WAITING_MAX` are counted."""
    return await FLEET.rows(connection, QueueState, "queues", at_most=WAITING_MAX)


async def is_known(connection: Connection, queue: str) -> bool:
    """Whether there are jobs, workers or rules of a queue: another name may be misspelt."""
    return any(each.name == queue for each in await queues(connection))


async def pause(connection: Connection, queue: str) -> None:
    """Nothing of this queue is started until it is resumed; what runs goes on."""
    await connection.execute(FLEET["pause"], {"queue": queue, "actor": actors.setting()})


async def resume(connection: Connection, queue: str) -> None:
    await connection.execute(FLEET["resume"], {"queue": queue, "actor": actors.setting()})


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
        "actor": actors.setting(),
    }
    await connection.execute(FLEET["limit"], arguments)


async def _jobs(connection: Connection, name: str, **arguments: Any) -> list[Job]:
    return [job_of(row) for row in await FLEET.mappings(connection, name, **arguments)]
