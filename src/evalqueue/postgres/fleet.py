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

RETENTION = load("evaluation/retention")
WAITING_MAX = 20_000  # jobs that are counted, over all queues


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
) -> int:
    """Delete one chunk of what is old. Returns how many rows went; 0: nothing is left to delete."""
    arguments = {"keep_jobs": keep_jobs, "keep_runs": keep_runs, "keep_logs": keep_logs}
    return int(await RETENTION.value(connection, "prune", **arguments) or 0)


async def workers(connection: Connection) -> list[WorkerRecord]:
    return await FLEET.rows(connection, WorkerRecord, "workers")


async def leader(connection: Connection) -> Leader | None:
    return await FLEET.row(connection, Leader, "leader")


async def queues(connection: Connection) -> list[QueueState]:
    """Every queue. However many jobs wait, at most `WAITING_MAX` are counted."""
    return await FLEET.rows(connection, QueueState, "queues", at_most=WAITING_MAX)


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


async def _jobs(connection: Connection, name: str, **arguments: Any) -> list[Job]:
    return [job_of(row) for row in await FLEET.mappings(connection, name, **arguments)]
