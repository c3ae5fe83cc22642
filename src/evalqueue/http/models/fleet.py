"""The JSON of health checks, queues, workers and the audit log."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from evalqueue import codec, doctor
from evalqueue.audit import AuditFilter
from evalqueue.http.models.errors import Error
from evalqueue.http.models.fields import (
    MAX_INTEGER,
    Model,
    Moment,
    Name,
    matching_fields,
    seconds,
)
from evalqueue.postgres import fleet
from evalqueue.problems import OneLine
from evalqueue.telemetry.actors import MAX_NAME, Door

MAX_SUBJECT = 300  # characters, the table's CHECK


class QueueName(Model):
    queue: Annotated[str, Field(max_length=fleet.MAX_QUEUE_NAME), OneLine]


class AuditQuery(Model):
    actor: Annotated[str, Field(max_length=MAX_NAME), AfterValidator(codec.clean_text)] | None = (
        None
    )
    action: Name | None = None
    """`queue.pause`, for example; `queue` for all that can be done to one."""
    subject_kind: Name | None = None
    subject_id: (
        Annotated[str, Field(max_length=MAX_SUBJECT), AfterValidator(codec.clean_text)] | None
    ) = None
    after: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None = None
    """The last `id` of the page before."""
    limit: int = Field(100, ge=1, le=1000)

    @property
    def wanted(self) -> AuditFilter:
        return AuditFilter(
            actor=self.actor,
            action=self.action,
            subject_kind=self.subject_kind,
            subject_id=self.subject_id,
        )


class AuditEntryJson(Model):
    """A change: who made it, and of what."""

    id: int
    at: Moment
    actor: str
    """The name of a token, a person's login or a worker; without one, the database role."""
    role: str
    """The database role."""
    application: str | None
    """What the database session calls itself."""
    door: Door
    action: str
    subject_kind: str
    subject_id: str
    details: dict[str, Any]


class Health(Model):
    """The process responds."""

    status: Literal["ok"] = "ok"


class Check(Model):
    """The result of one check."""

    name: str
    ok: bool
    detail: str
    fix: str | None
    """What to do, if it failed."""

    @classmethod
    def of(cls, finding: doctor.Finding) -> "Check":
        return cls(
            name=finding.name,
            ok=finding.level is doctor.Level.OK,
            detail=finding.what,
            fix=finding.fix,
        )


class Ready(Model):
    """The database answers, its schema is the one this code needs, and notifications arrive."""

    status: Literal["ready"] = "ready"
    version: str
    checks: list[Check]
    warnings: list[Check]
    """Problems of the fleet, which don't affect this process."""


class Unready(Error):
    """Why this process can't work, and what to do."""

    status: Literal["unready"] = "unready"
    version: str
    checks: list[Check]


class Queue(Model):
    """A queue: its limits, and its jobs."""

    name: str
    paused_at: Moment | None
    """While this is set, no job is started."""
    max_running: int | None
    """On all workers together; null: no limit."""
    max_running_per_owner: int | None
    running: int
    helpers: int
    """Running helper jobs, which limits include, and no other number."""
    due: int
    later: int
    """Scheduled, delayed before a retry, or waiting for another job."""
    counts_complete: bool
    """False: more jobs wait than `due` and `later` count, which are 20,000 at most."""
    oldest_waits_seconds: float | None
    """How long the oldest due job has been due; null: none is due."""

    @classmethod
    def of(cls, state: fleet.QueueState) -> "Queue":
        return cls(
            **matching_fields(cls, state),
            oldest_waits_seconds=seconds(state.oldest_waits),
        )


class PausedQueue(Model):
    """Whether a queue's jobs are started."""

    name: str
    paused: bool
    is_known: bool
    """Whether there were jobs, workers or rules of it before. Another name may be misspelt; it is
    paused anyway."""


class WorkerJson(Model):
    """A worker, as of its last report."""

    name: str
    host: str
    pid: int
    version: str
    queues: list[str] | None
    """Null: all queues."""
    job_types: list[str]
    slots: int
    running: int
    stuck: int
    """Handlers that ignore their cancellation."""
    draining: bool
    listening: bool
    started_at: Moment
    seen_at: Moment
    silent_for_seconds: float
    is_leader: bool
    """Whether it is the one that recovers lost jobs and starts scheduled ones."""

    @classmethod
    def of(cls, record: fleet.WorkerRecord, leader: fleet.Leader | None) -> "WorkerJson":
        return cls(
            **matching_fields(cls, record),
            silent_for_seconds=record.silent_for.total_seconds(),
            is_leader=leader is not None and leader.is_current and leader.worker == record.name,
        )
