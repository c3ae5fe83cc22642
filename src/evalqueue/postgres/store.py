"""Job rows in and out: every statement about jobs, each one round trip.

Where `owner` is given, others' jobs are as if they were not there.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.errors import InvalidParameterValue, ObjectNotInPrerequisiteState, UniqueViolation

from evalqueue import codec
from evalqueue.errors import InvalidParams, KeyReused, NotRetryable, Problem
from evalqueue.jobs import AttemptRecord, Ended, Job, JobStatus, Progress
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import JOBS
from evalqueue.postgres.rows import jsonb
from evalqueue.telemetry import actors

ERROR_LIMIT = 4000  # characters, the table's CHECK
NAME_LIMIT = 200  # characters of a job's name that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is stored when a job is submitted."""

    job_type: str
    params: Mapping[str, Any]
    owner: str = "default"
    priority: int = 0
    scheduled_at: datetime | None = None
    queue: str = "evalqueue"
    max_attempts: int = 3
    idempotency_key: str | None = None
    after: UUID | None = None
    requested: Mapping[str, Any] | None = None
    """The params as they came with the key, before defaults were filled in; None: as above."""
    traceparent: str | None = None
    """The trace it belongs to. The database ignores what is malformed."""

    def as_json(self) -> dict[str, object]:
        """As an element of `evalqueue_submit_job_rows`."""
        return {
            "job_type": self.job_type,
            "params": self.params,
            "owner": codec.clean_text(self.owner),
            "priority": self.priority,
            "scheduled_at": None if self.scheduled_at is None else self.scheduled_at.isoformat(),
            "queue": self.queue,
            "max_attempts": self.max_attempts,
            "idempotency_key": self.idempotency_key,
            "after": None if self.after is None else str(self.after),
            "requested": self.requested,
            "traceparent": codec.clean_text(self.traceparent or "") or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePosition:
    """The position of a due job in its queue."""

    job_id: UUID
    owner: str
    ahead: int


Statuses = Mapping[UUID, JobStatus | None]
"""The status of jobs after an attempt ended; None: that attempt was over already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMatch:
    """A job that a person may mean."""

    id: UUID
    job_type: str
    status: JobStatus
    name: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAttempt:
    """A running attempt, and the progress to write, if any."""

    job_id: UUID
    attempt: int
    progress: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedAttempt:
    """An attempt whose handler returned a result."""

    job_id: UUID
    attempt: int
    result: str
    """JSON, as `codec.dump_json` writes it."""


async def submit(connection: Connection, submission: Submission) -> Job:
    arguments = {
        "job_type": submission.job_type,
        "params": jsonb(submission.params),
        "owner": codec.clean_text(submission.owner),
        "priority": submission.priority,
        "scheduled_at": submission.scheduled_at,
        "queue": submission.queue,
        "max_attempts": submission.max_attempts,
        "idempotency_key": submission.idempotency_key,
        "after": submission.after,
        "requested": None if submission.requested is None else jsonb(submission.requested),
        "traceparent": codec.clean_text(submission.traceparent or "") or None,
    }
    try:
        job = await _job(connection, "submit", **arguments)
    except InvalidParameterValue as error:
        raise InvalidParams.of_all(_message(error)) from error
    except UniqueViolation as error:
        raise KeyReused(_message(error)) from error
    assert job is not None, "a function that returns a row"  # noqa: S101  says so to the checker
    return job


async def submit_many(connection: Connection, submissions: Sequence[Submission]) -> list[Job]:
    """Submit all of them or none; the jobs come in the same order.

    Raises:
        InvalidParams: every submission that can't be stored, by its index.
        KeyReused: another request came with one of the idempotency keys before.
    """
    arguments = {"submissions": jsonb([submission.as_json() for submission in submissions])}
    try:
        rows = await JOBS.mappings(connection, "submit_many", **arguments)
    except InvalidParameterValue as error:
        raise InvalidParams(_problems(error)) from error
    except UniqueViolation as error:
        raise KeyReused(_message(error)) from error
    return [job_of(row) for row in rows]


async def retry(connection: Connection, job_id: UUID, *, owner: str | None = None) -> Job | None:
    """The job that continues this one. None: there is no such job.

    Raises:
        NotRetryable: why not, and what to do instead.
    """
    try:
        return await _job(connection, "retry", job_id=job_id, owner=owner, actor=actors.setting())
    except ObjectNotInPrerequisiteState as error:
        raise NotRetryable(_message(error)) from error


async def of_key(connection: Connection, *, owner: str, idempotency_key: str) -> Job | None:
    """The job that was submitted with this key."""
    return await _job(connection, "of_key", owner=owner, idempotency_key=idempotency_key)


async def known_keys(
    connection: Connection, *, owner: str, idempotency_keys: Collection[str]
) -> frozenset[str]:
    """Those of some keys with which a job was submitted."""
    arguments = {"owner": owner, "idempotency_keys": list(idempotency_keys)}
    cursor = await connection.execute(JOBS["known_keys"], arguments)
    return frozenset(key for (key,) in await cursor.fetchall())


async def get(connection: Connection, job_id: UUID, *, owner: str | None = None) -> Job | None:
    return await _job(connection, "get", job_id=job_id, owner=owner)


async def list_jobs(
    connection: Connection,
    *,
    status: JobStatus | None,
    job_type: str | None,
    owner: str | None,
    limit: int,
    offset: int,
) -> list[Job]:
    arguments = {
        "status": status, "job_type": job_type, "owner": owner, "limit": limit, "offset": offset,
    }  # fmt: skip
    return [job_of(row) for row in await JOBS.mappings(connection, "list", **arguments)]


async def matching(
    connection: Connection, *, first: UUID | None, last: UUID | None, name: str, limit: int
) -> list[JobMatch]:
    """Jobs whose id is in a range (None: no id is), or that have a name, newest first."""
    return await JOBS.rows(
        connection, JobMatch, "matching", first=first, last=last, name=name, limit=limit
    )


async def changed(
    connection: Connection, ids: Collection[UUID], *, watched: Collection[UUID]
) -> list[Job]:
    """Some jobs as they are now, no helper jobs; params and results only of those `watched`."""
    arguments = {"ids": list(ids), "watched": list(watched)}
    return [job_of(row) for row in await JOBS.mappings(connection, "changed", **arguments)]


async def queue_positions(
    connection: Connection, queues: Collection[str], *, at_most: int
) -> dict[str, tuple[QueuePosition, ...]]:
    """The first due jobs of each of some queues."""
    found: dict[str, list[QueuePosition]] = {queue: [] for queue in queues}
    cursor = await connection.execute(
        JOBS["positions"], {"queues": list(queues), "at_most": at_most}
    )
    for queue, job_id, owner, ahead in await cursor.fetchall():
        if job_id is not None:
            found[queue].append(QueuePosition(job_id=job_id, owner=owner, ahead=ahead))
    return {queue: tuple(places) for queue, places in found.items()}


async def cancel(connection: Connection, job_id: UUID, *, owner: str | None = None) -> bool | None:
    """True: cancelled by this call. False: was over already. None: no such job."""
    return await JOBS.value(
        connection, "cancel", job_id=job_id, owner=owner, actor=actors.setting()
    )


async def attempts(
    connection: Connection, job_id: UUID, *, owner: str | None = None
) -> list[AttemptRecord]:
    return await JOBS.rows(connection, AttemptRecord, "attempts", job_id=job_id, owner=owner)


async def flush(
    connection: Connection,
    *,
    job_id: UUID,
    attempt: int,
    progress: Mapping[str, Any] | None,
    lease_seconds: float,
) -> bool:
    """Fence, lease and progress in one statement. False: the attempt is over."""
    arguments = {
        "job_id": job_id,
        "attempt": attempt,
        "progress": None if progress is None else jsonb(progress),
        "lease_seconds": lease_seconds,
    }
    return bool(await JOBS.value(connection, "flush", **arguments))


async def flush_many(
    connection: Connection, held: Sequence[HeldAttempt], *, lease_seconds: float
) -> Mapping[UUID, bool | None]:
    """The same for many attempts, in one statement. None: the job's row is locked, and nothing was
    written."""
    rows = [
        {"job_id": str(each.job_id), "attempt": each.attempt, "progress": each.progress}
        for each in held
    ]
    cursor = await connection.execute(
        JOBS["flush_many"], {"held": jsonb(rows), "lease_seconds": lease_seconds}
    )
    return dict(await cursor.fetchall())


async def hold(connection: Connection, *, job_id: UUID, attempt: int) -> bool:
    """The fence, held until the transaction ends. False: the attempt is over."""
    return bool(await JOBS.value(connection, "hold", job_id=job_id, attempt=attempt))


async def finish(
    connection: Connection, *, job_id: UUID, attempt: int, ended: Ended, delete_task: bool
) -> JobStatus | None:
    """The attempt ends. None: it was over already, and nothing was changed."""
    error = None if ended.error is None else codec.clean_text(ended.error, limit=ERROR_LIMIT)
    arguments = {
        "job_id": job_id,
        "attempt": attempt,
        "outcome": ended.kind.value,
        "result": None if ended.result is None else jsonb(ended.result),
        "error": error,
        "delay_seconds": ended.delay_seconds,
        "delete_task": delete_task,
    }
    status: str | None = await JOBS.value(connection, "finish", **arguments)
    return None if status is None else JobStatus(status)


async def complete_many(connection: Connection, completed: Sequence[CompletedAttempt]) -> Statuses:
    """Attempts complete, in one statement. Those whose rows are locked are not in the answer, and
    nothing of theirs was changed."""
    rows = ",".join(
        f'{{"job_id":"{each.job_id}","attempt":{each.attempt},"result":{each.result}}}'
        for each in completed
    )
    cursor = await connection.execute(JOBS["complete_many"], {"ended": f"[{rows}]"})
    return {
        job_id: None if status is None else JobStatus(status)
        for job_id, status in await cursor.fetchall()
    }


async def start_helpers(connection: Connection, *, job_id: UUID, attempt: int, wanted: int) -> bool:
    """Start helper jobs until so many help with this job. False: the attempt is over."""
    arguments = {"job_id": job_id, "attempt": attempt, "wanted": wanted}
    return bool(await JOBS.value(connection, "start_helpers", **arguments))


async def claim_items(
    connection: Connection, *, job_id: UUID, attempt: int, items: Sequence[str], wanted: int
) -> frozenset[str] | None:
    """Claim some of these items for this attempt. None: the attempt is over."""
    arguments = {"job_id": job_id, "attempt": attempt, "items": list(items), "wanted": wanted}
    claimed = await JOBS.value(connection, "claim_items", **arguments)
    return None if claimed is None else frozenset(claimed)


async def note_items_done(
    connection: Connection, *, root_id: UUID, items: Mapping[str, bool]
) -> None:
    """Items are done; by each, whether it succeeded."""
    arguments = {
        "root_id": root_id,
        "succeeded": [item for item, succeeded in items.items() if succeeded],
        "failed": [item for item, succeeded in items.items() if not succeeded],
    }
    await connection.execute(JOBS["note_items_done"], arguments)


async def items_done(
    connection: Connection, *, root_id: UUID, items: Sequence[str]
) -> Mapping[str, bool]:
    """Which of these items are done, by any attempt, and whether they succeeded."""
    arguments = {"root_id": root_id, "items": list(items)}
    cursor = await connection.execute(JOBS["items_done"], arguments)
    return dict(await cursor.fetchall())


def job_of(row: Mapping[str, Any]) -> Job:
    """A row of `jobs` as a value."""
    return Job(
        id=row["id"],
        job_type=row["job_type"],
        status=JobStatus(row["status"]),
        params=row["params"],
        result=row["result"],
        progress=Progress.from_json(row["progress"]),
        error_message=row["error_message"],
        owner=row["owner"],
        queue=row["queue"],
        priority=row["priority"],
        due_at=row["due_at"],
        attempt=row["attempt"],
        failed_attempts=row["failed_attempts"],
        max_attempts=row["max_attempts"],
        worker=row["worker"],
        parent_id=row["parent_id"],
        retry_of=row["retry_of"],
        after_id=row["after_id"],
        waiting=row["waiting"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        revision=row["revision"],
        traceparent=row.get("traceparent"),
        name=row["name"] if "name" in row else _name(row["params"]),
        ahead=row.get("ahead"),
        continued_by=row.get("continued_by"),
        retryable=bool(row.get("retryable")),
    )


def _name(params: Mapping[str, Any]) -> str | None:
    name = params.get("name")
    return name[:NAME_LIMIT] if isinstance(name, str) else None


async def _job(connection: Connection, name: str, **arguments: Any) -> Job | None:
    rows = await JOBS.mappings(connection, name, **arguments)
    return job_of(rows[0]) if rows else None


def _problems(error: psycopg.Error) -> list[Problem]:
    """What is wrong with the submissions of a batch: what is found only as one is stored does not
    say which it was."""
    if error.diag.message_detail is None:
        return [Problem(loc=("jobs",), msg=_message(error))]
    return [
        Problem(loc=("jobs", found["index"], *filter(None, [found["field"]])), msg=found["problem"])
        for found in json.loads(error.diag.message_detail)
    ]


def _message(error: psycopg.Error) -> str:
    return ". ".join(filter(None, (error.diag.message_primary, error.diag.message_hint)))
