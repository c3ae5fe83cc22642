"""Jobs as tables, as lines of text and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from evalqueue.cli.output.console import print_data, print_table, printable
from evalqueue.cli.output.times import format_duration, format_time
from evalqueue.jobs import AHEAD_LIMIT, AttemptRecord, Job, JobStatus

_SHOWN_NAME = 40  # characters of a job's name in a table


def job_json(job: Job, attempts: Sequence[AttemptRecord] | None = None) -> dict[str, object]:
    """A job with all its columns, and its attempts if they are given."""
    columns = {each.name: getattr(job, each.name) for each in fields(job)}
    columns |= {"progress": job.progress.as_json()}
    if attempts is not None:
        columns |= {"attempts": [asdict(attempt) for attempt in attempts]}
    return columns


def print_jobs(jobs: Sequence[Job]) -> None:
    """Print a table of jobs."""
    print_table(
        ("id", "type", "name", "status", "progress", "failed", "created", "took"),
        [
            (
                job.id, job.job_type, _shortened(job.name or ""), job.status,
                progress_text(job) or queue_position(job),
                f"{job.failed_attempts} of {job.max_attempts}", format_time(job.created_at),
                _job_duration(job),
            )
            for job in jobs
        ],
    )  # fmt: skip


def print_job(job: Job, attempts: Sequence[AttemptRecord]) -> None:
    """Print everything about one job."""
    facts: dict[str, object] = {
        "id": job.id,
        "type": job.job_type,
        "status": job.status,
        "progress": f"{progress_text(job)} {job.progress.message}".strip(),
        "queue": f"{job.queue}, priority {job.priority}" if job.priority else job.queue,
        "due": _due(job),
        "owner": job.owner,
        "retry of": job.retry_of,
        "continued by": job.continued_by,
        "helps": job.parent_id,
        "created": format_time(job.created_at),
        "started": format_time(job.started_at),
        "ended": format_time(job.completed_at),
        "took": _job_duration(job),
        "worker": job.worker,
        "error": job.error_message,
        "params": _indented(job.params),
        "details": _indented(job.progress.details),
        "result": _indented(job.result),
    }
    width = max(len(name) for name, fact in facts.items() if fact)
    for name, fact in facts.items():
        if fact:
            text = str(fact).replace("\n", "\n" + " " * (width + 2))
            print_data(f"{name:<{width}}  {text}")
    if attempts:
        print_table(
            ("attempt", "worker", "started", "took", "outcome", "error"),
            [
                (
                    each.attempt, each.worker, format_time(each.started_at),
                    _elapsed(each.started_at, each.ended_at), each.outcome or "running",
                    each.error or "",
                )
                for each in attempts
            ],
        )  # fmt: skip


def progress_text(job: Job) -> str:
    """How many items of how many are done; "" while the total is unknown."""
    current, total = job.progress.current, job.progress.total
    return f"{current}/{total} {current / total:.0%}" if total else ""


def _shortened(name: str) -> str:
    return name if len(name) <= _SHOWN_NAME else f"{name[: _SHOWN_NAME - 1]}…"


def queue_position(job: Job) -> str:
    """How many jobs are ahead of one that waits in its queue; "" if it does not wait."""
    if job.ahead is None:
        return ""
    if job.ahead == 0:
        return "next"
    return f"{job.ahead}{'+' if job.ahead >= AHEAD_LIMIT else ''} ahead"


def join_fields(*fields: str) -> str:
    """The fields that are not empty, on one line."""
    return "  ".join(printable(each).replace("\n", " ") for each in fields if each)


def _due(job: Job) -> str:
    if job.status is not JobStatus.QUEUED:
        return ""
    if job.waiting:
        return f"after job {job.after_id}"
    if job.due_at > datetime.now(UTC):
        return format_time(job.due_at)
    return join_fields("now", queue_position(job))


def _job_duration(job: Job) -> str:
    return "" if job.status is JobStatus.QUEUED else _elapsed(job.started_at, job.completed_at)


def _elapsed(started: datetime | None, ended: datetime | None) -> str:
    if started is None:
        return ""
    return format_duration(max(0.0, ((ended or datetime.now(UTC)) - started).total_seconds()))


def _indented(value: Mapping[str, Any] | None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str) if value else ""
