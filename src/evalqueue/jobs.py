"""What a job is: plain values and the transitions between its states. No database here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class JobStatus(StrEnum):
    """Where a job stands. The table's CHECK knows the same five."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: Mapping[JobStatus, Mapping[JobStatus, str]] = {
    JobStatus.QUEUED: {
        JobStatus.RUNNING: "a worker claims it",
        JobStatus.CANCELLED: "cancelled before it began",
    },
    JobStatus.RUNNING: {
        JobStatus.QUEUED: "retried, released, yielded, postponed, or its worker was lost",
        JobStatus.COMPLETED: "its handler returned",
        JobStatus.FAILED: "failed for good, or attempts used up",
        JobStatus.CANCELLED: "cancelled while it ran",
    },
    JobStatus.COMPLETED: {},
    JobStatus.FAILED: {},
    JobStatus.CANCELLED: {},
}
"""Every transition, with its cause. The database's triggers allow the same ones."""


AHEAD_LIMIT = 1000  # jobs; how many more is not counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is: finished items, never started ones."""

    current: int = 0
    total: int = 0
    message: str = ""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further details, such as `run_id`. Merged, never replaced."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Progress":
        """Progress as it is stored. What is not of its type counts as not there."""
        rest = {k: v for k, v in value.items() if k not in ("current", "total", "message")}
        current, total, message = (value.get(k) for k in ("current", "total", "message"))
        return cls(
            current=current if isinstance(current, int) else 0,
            total=total if isinstance(total, int) else 0,
            message=message if isinstance(message, str) else "",
            details=rest,
        )

    def as_json(self) -> dict[str, object]:
        return {
            "current": self.current,
            "total": self.total,
            "message": self.message,
            **self.details,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request for work: a row of `jobs`."""

    id: UUID
    job_type: str
    status: JobStatus
    params: Mapping[str, Any]
    result: Mapping[str, Any] | None
    progress: Progress
    error_message: str | None
    owner: str
    queue: str
    priority: int
    """Higher goes first."""
    due_at: datetime
    """Its place in the queue; it does not start before."""
    attempt: int
    """The fencing number of the current or last attempt; 0: none yet."""
    failed_attempts: int
    max_attempts: int
    worker: str | None
    parent_id: UUID | None
    """Of a helper job: the job it helps with."""
    retry_of: UUID | None
    """The job that this one continues."""
    after_id: UUID | None
    """The job it was to start after."""
    waiting: bool
    """Until that one is completed."""
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    revision: int
    """Goes up with every change of what is shown of the job."""
    traceparent: str | None = field(default=None, compare=False)
    """The trace it belongs to, in the form of W3C Trace Context. Known of jobs that were looked up
    or claimed."""
    name: str | None = None
    """What its params call it."""
    ahead: int | None = field(default=None, compare=False)
    """How many stand before it in its queue while it is queued and due, counted to `AHEAD_LIMIT`.
    At most so many go first, since shares are fair. Known of jobs that were looked up."""
    continued_by: UUID | None = field(default=None, compare=False)
    """The job that continues this one. Known of jobs that were looked up."""
    retryable: bool = field(default=False, compare=False)
    """Whether a new job could go on where this one stopped. Known of jobs that were looked up."""

    @property
    def run_id(self) -> UUID | None:
        """The run that holds its results; None: its type has none."""
        try:
            return UUID(self.progress.details.get("run_id"))
        except (TypeError, ValueError, AttributeError):
            return None

    @property
    def root_id(self) -> UUID:
        """The job whose work this is: its own id, or its parent's."""
        return self.parent_id or self.id


class AttemptOutcome(StrEnum):
    """How a worker ended an attempt. `evalqueue_finish_attempt` in SQL knows the same."""

    COMPLETED = "completed"
    FAILED = "failed"
    """For good."""
    RETRY = "retry"
    """Again after a delay, as long as there are attempts left."""
    RELEASED = "released"
    """The worker stops: back to the queue, not counted."""
    YIELDED = "yielded"
    """The slot goes to another job: to the end of the queue, not counted."""
    POSTPONED = "postponed"
    """The job waits for something outside: again after a delay, not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The end of an attempt, as it is recorded."""

    kind: AttemptOutcome
    result: Mapping[str, Any] | None = None
    error: str | None = None
    delay_seconds: float = 0.0
    """Until the job is due again."""

    @classmethod
    def completed(cls, result: Mapping[str, Any]) -> "Ended":
        return cls(kind=AttemptOutcome.COMPLETED, result=result)

    @classmethod
    def failed(cls, error: str, result: Mapping[str, Any] | None = None) -> "Ended":
        return cls(kind=AttemptOutcome.FAILED, error=error, result=result)

    @classmethod
    def retry(cls, error: str, *, delay_seconds: float) -> "Ended":
        return cls(kind=AttemptOutcome.RETRY, error=error, delay_seconds=delay_seconds)

    @classmethod
    def released(cls) -> "Ended":
        error = "Its worker was stopped; another worker continues it"
        return cls(kind=AttemptOutcome.RELEASED, error=error)

    @classmethod
    def yielded(cls) -> "Ended":
        error = "It yielded its slot, and continues when it is its turn again"
        return cls(kind=AttemptOutcome.YIELDED, error=error)

    @classmethod
    def postponed(cls, reason: str, *, delay_seconds: float) -> "Ended":
        return cls(kind=AttemptOutcome.POSTPONED, error=reason, delay_seconds=delay_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One attempt at a job: a row of `job_attempts`."""

    job_id: UUID
    attempt: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error: str | None
