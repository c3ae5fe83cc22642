"""The JSON about the house itself: its health, its queues, its workers."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from evalqueue import codec, doctor
from evalqueue.http.models.jobs import Error, Model, Moment, seconds, shared
from evalqueue.postgres import fleet

MAX_QUEUE_NAME = 40  # characters; it is part of the name of a NOTIFY channel


class QueueName(Model):
    queue: Annotated[str, Field(max_length=MAX_QUEUE_NAME), AfterValidator(codec.clean_text)]


class Alive(Model):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Check(Model):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    fix: str | None
    """What to do about it."""

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
    """What is wrong with the fleet; this process can do its work all the same."""


class Unready(Error):
    """What is in the way of this process, and what to do."""

    status: Literal["unready"] = "unready"
    version: str
    checks: list[Check]


class Queue(Model):
    """A queue: its rules, and what is in it."""

    name: str
    paused_at: Moment | None
    """Nothing is started while this is set."""
    max_running: int | None
    """Over all workers; null: no limit."""
    max_running_per_owner: int | None
    running: int
    due: int
    later: int
    """Scheduled, retried after a delay, or waiting for another job."""
    oldest_waits_seconds: float | None
    """Since the oldest of those that are due was due; null: none is."""

    @classmethod
    def of(cls, state: fleet.QueueState) -> "Queue":
        return cls(
            **shared(cls, state),
            oldest_waits_seconds=seconds(state.oldest_waits),
        )


class PausedQueue(Model):
    """Whether a queue's jobs are started."""

    name: str
    paused: bool


class Worker(Model):
    """A worker, as it last said."""

    name: str
    host: str
    pid: int
    version: str
    queues: list[str] | None
    """Null: every queue."""
    job_types: list[str]
    slots: int
    running: int
    stuck: int
    """Handlers that ignore being cancelled."""
    draining: bool
    listening: bool
    started_at: Moment
    seen_at: Moment
    silent_for_seconds: float
    in_office: bool
    """Whether it looks after the fleet."""

    @classmethod
    def of(cls, record: fleet.WorkerRecord, leader: fleet.Leader | None) -> "Worker":
        return cls(
            **shared(cls, record),
            silent_for_seconds=record.silent_for.total_seconds(),
            in_office=leader is not None and leader.in_office and leader.worker == record.name,
        )
