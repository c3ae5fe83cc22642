"""What the command line says: exit codes, errors in words, JSON, tables and the line of progress.

Data goes to stdout, and is JSON when asked for; everything said to a person meanwhile goes to
stderr, so that pipes carry data alone. Whatever a job says about itself is printed as plain text:
it may come from a transcript, and must neither colour nor steer a terminal.
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import psycopg
from pydantic import ValidationError

from evalqueue.cli.output.durations import Pace, duration
from evalqueue.errors import (
    CannotListen,
    DatabaseUnavailable,
    EvalqueueError,
    JobNotFound,
    NotCancellable,
    NotRetryable,
    Refused,
    SchemaOutdated,
    describe,
)
from evalqueue.jobs import AHEAD_LIMIT, AttemptRecord, Job, JobStatus

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID
    from rich.table import Table

LINE_INTERVAL = 1.0  # seconds between two lines of progress where there is no terminal
_WIDE = 240  # characters: where nobody looks at a screen, nothing is folded


DEBUG = "EVALQUEUE_DEBUG"
"""The environment variable that has unexpected errors shown with their traceback."""


class ExitCode(IntEnum):
    """What the shell is told."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CANCELLED = 3
    NOT_FOUND = 4
    NO_DATABASE = 5
    OUTDATED = 6
    STUCK = 70
    INTERRUPTED = 130


EXIT_CODES: Mapping[ExitCode, str] = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "the job failed, the doctor found something wrong, or the unexpected happened",
    ExitCode.USAGE: "wrong usage, or what was asked was refused: each problem on a line of its own",
    ExitCode.CANCELLED: "the job was cancelled",
    ExitCode.NOT_FOUND: "there is none of this name, or it can't be cancelled, retried or removed",
    ExitCode.NO_DATABASE: "the database does not answer",
    ExitCode.OUTDATED: "the schema is outdated: evalqueue migrate",
    ExitCode.STUCK: "a worker ended with handlers that could not be stopped",
    ExitCode.INTERRUPTED: "interrupted",
}
"""Each exit code and its meaning; `evalqueue --help` prints this table."""

ENDINGS: Mapping[JobStatus, ExitCode] = {
    JobStatus.COMPLETED: ExitCode.DONE,
    JobStatus.FAILED: ExitCode.FAILED,
    JobStatus.CANCELLED: ExitCode.CANCELLED,
}
"""The exit code of a command that has followed a job to its end."""


def leaves(error: BaseException) -> Iterator[BaseException]:
    """What task groups have wrapped."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)  # isinstance can't say of what
        for each in group.exceptions:
            yield from leaves(each)
    else:
        yield error


def lines_of(error: BaseException) -> list[str]:
    """What is said of an error that ends a command."""
    match error:
        case ValidationError():  # of the settings: job params have become InvalidParams
            return [
                f"{_variable(found['loc'])}: {found['msg'].removeprefix('Value error, ')}"
                for found in error.errors(include_url=False, include_context=False)
            ]
        case EvalqueueError() | OSError():
            return str(error).splitlines()
        case psycopg.OperationalError():
            return [f"The database does not answer: {str(error).strip()}"]
        case _:
            return [f"Unexpected: {describe(error)}", f"{DEBUG}=1 shows where."]


def exit_code(error: BaseException) -> ExitCode:
    """What the shell is told of it."""
    match error:
        case JobNotFound() | NotCancellable() | NotRetryable():
            return ExitCode.NOT_FOUND
        case Refused() | ValidationError() | CannotListen():
            return ExitCode.USAGE
        case DatabaseUnavailable() | psycopg.OperationalError():
            return ExitCode.NO_DATABASE
        case SchemaOutdated():
            return ExitCode.OUTDATED
        case _:
            return ExitCode.FAILED


def say(text: str) -> None:
    """Tell the person at the terminal something that is not data."""
    sys.stderr.write(f"{plain(text)}\n")
    sys.stderr.flush()


def put(text: str) -> None:
    """Print data."""
    sys.stdout.write(f"{plain(text)}\n")
    sys.stdout.flush()


def put_json(value: Any) -> None:
    """Print one JSON document on one line."""
    put(json.dumps(value, ensure_ascii=False, default=_json_of))


def _json_of(value: object) -> str | float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def json_of(value: Any) -> dict[str, Any]:
    """A value with all its fields; a length of time says that it is in seconds."""
    return {
        f"{name}_seconds" if isinstance(field, timedelta) else name: field
        for name, field in asdict(value).items()
    }


def plain(text: str) -> str:
    """Text without what steers a terminal: control characters become a visible stand-in."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def job_json(job: Job, attempts: Sequence[AttemptRecord] | None = None) -> dict[str, Any]:
    """A job with all its columns, and its attempts if they are given."""
    columns = {each.name: getattr(job, each.name) for each in fields(job)}
    columns |= {"progress": job.progress.as_json()}
    if attempts is not None:
        columns |= {"attempts": [asdict(attempt) for attempt in attempts]}
    return columns


def put_jobs(jobs: Sequence[Job]) -> None:
    """Print a table of jobs."""
    put_table(
        ("id", "type", "status", "progress", "failed", "created", "took"),
        [
            (
                job.id, job.job_type, job.status, _share(job) or _ahead(job),
                f"{job.failed_attempts} of {job.max_attempts}", moment(job.created_at),
                _lasted(job),
            )
            for job in jobs
        ],
    )  # fmt: skip


def put_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table of anything."""
    table = _table(*headings)
    for row in rows:
        table.add_row(*_cells(*row))
    data_console().print(table)


def put_job(job: Job, attempts: Sequence[AttemptRecord]) -> None:
    """Print all there is to know about one job."""
    facts: dict[str, object] = {
        "id": job.id,
        "type": job.job_type,
        "status": job.status,
        "progress": f"{_share(job)} {job.progress.message}".strip(),
        "queue": f"{job.queue}, priority {job.priority}" if job.priority else job.queue,
        "due": _due(job),
        "owner": job.owner,
        "retry of": job.retry_of,
        "continued by": job.continued_by,
        "helps": job.parent_id,
        "created": moment(job.created_at),
        "started": moment(job.started_at),
        "ended": moment(job.completed_at),
        "took": _lasted(job),
        "worker": job.worker,
        "error": job.error_message,
        "params": _indented(job.params),
        "details": _indented(job.progress.details),
        "result": _indented(job.result),
    }
    width = max(len(name) for name, fact in facts.items() if fact)
    for name, fact in facts.items():
        if fact:
            put(f"{name:<{width}}  {str(fact).replace(chr(10), chr(10) + ' ' * (width + 2))}")
    if attempts:
        put_table(
            ("attempt", "worker", "started", "took", "outcome", "error"),
            [
                (
                    each.attempt, each.worker, moment(each.started_at),
                    _took(each.started_at, each.ended_at), each.outcome or "running",
                    each.error or "",
                )
                for each in attempts
            ],
        )  # fmt: skip


def _due(job: Job) -> str:
    if job.status is not JobStatus.QUEUED:
        return ""
    if job.waiting:
        return f"after job {job.after_id}"
    return moment(job.due_at) if job.due_at > datetime.now(UTC) else _joined("now", _ahead(job))


def _ahead(job: Job) -> str:
    """How many jobs go before one that waits for its turn."""
    if job.ahead is None:
        return ""
    if job.ahead == 0:
        return "next"
    return f"{job.ahead}{'+' if job.ahead >= AHEAD_LIMIT else ''} ahead"


def data_console() -> "Console":
    """rich's console on stdout, for text that is nobody's markup."""
    return _console(stderr=False)


class ProgressLine:
    """A job's progress while it is watched: a bar on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._said: tuple[JobStatus, float] | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = _bar(_console(stderr=True))
            self._task = self._bar.add_task("", total=None, count="", pace="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, job: Job) -> None:
        """Show how far it is now."""
        now = time.monotonic()
        pace = self._pace.at(now, job.progress.current, job.progress.total)
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                description=str(job.status),
                completed=job.progress.current,
                total=job.progress.total or None,
                count=_share(job),
                pace=_joined(pace, _ahead(job), job.progress.message),
            )
        elif self._is_due(job, now):
            self._said = (job.status, now)
            say(_joined(str(job.status), _share(job), pace, _ahead(job), job.progress.message))

    def _is_due(self, job: Job, now: float) -> bool:
        if self._said is None:
            return True
        status, when = self._said
        return job.status is not status or now - when >= LINE_INTERVAL


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        markup=False,
        emoji=False,
        highlight=False,
        width=None if stream.isatty() else _WIDE,
    )


def _bar(console: "Console") -> "Bar":
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[pace]}", markup=False),
        console=console,
    )


def _table(*headings: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading == "id")
    return table


def _cells(*values: object) -> Iterable[str]:
    return (plain(str(value)) for value in values)


def _joined(*parts: str) -> str:
    return "  ".join(plain(part).replace("\n", " ") for part in parts if part)


def _share(job: Job) -> str:
    current, total = job.progress.current, job.progress.total
    return f"{current}/{total} {current / total:.0%}" if total else ""


def moment(value: datetime | None) -> str:
    """A moment in this machine's time."""
    return "" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _lasted(job: Job) -> str:
    return "" if job.status is JobStatus.QUEUED else _took(job.started_at, job.completed_at)


def _took(started: datetime | None, ended: datetime | None) -> str:
    if started is None:
        return ""
    return duration(max(0.0, ((ended or datetime.now(UTC)) - started).total_seconds()))


def _indented(value: Mapping[str, Any] | None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str) if value else ""


def _variable(loc: tuple[int | str, ...]) -> str:
    name = str(loc[0]) if loc else "settings"
    return name if name.isupper() else f"EVALQUEUE_{name.upper()}"
