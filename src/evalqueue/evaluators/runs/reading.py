"""Runs as they are listed and read: their rows, their threads and LLM calls.

Where `owner` is given, others' runs are as if they were not there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load

QUERIES = load("evaluation/runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one evaluation job found, or will find."""

    id: UUID
    job_id: UUID | None
    command: str
    status: str
    app_id: str | None
    name: str | None
    description: str | None
    llm_provider: str | None
    llm_model: str | None
    eval_temperature: float | None
    data_path: str | None
    data_file_hash: str | None
    dataset_id: str | None
    app_digest: str | None
    """Of the app's content. None: the run has not begun, or it was deleted."""
    config: Mapping[str, Any]
    total_items: int | None
    duration_seconds: float | None
    summary: Mapping[str, Any] | None
    error_message: str | None
    owner: str
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadFilter:
    """Threads with such a score, in any turn, or of these ids. None is not compared."""

    evaluator: str | None = None
    name: str | None = None
    value: str | None = None
    expected: str | None = None
    """The label on record."""
    thread_ids: Sequence[str] | None = None

    def arguments(self) -> Mapping[str, str | Sequence[str] | None]:
        return asdict(self)


ALL_THREADS = ThreadFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadRow:
    """What was found in one thread of a run."""

    id: int
    run_id: UUID
    thread_id: str
    intent_accuracy: float | None
    worst_correctness: str | None
    efficiency_verdict: str | None
    success_status: bool | None
    error: str | None
    result: Mapping[str, Any]
    created_at: datetime

    @property
    def failed(self) -> bool:
        """Whether nothing at all could be measured."""
        return self.error is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """One attempt at one LLM call, without its texts."""

    id: int
    run_id: UUID
    thread_id: str | None
    evaluator: str
    turn: int | None
    provider: str
    model: str
    method: str
    outcome: str
    try_number: int
    duration_ms: float
    tokens_in: int | None
    tokens_out: int | None
    tokens_cached: int | None
    tokens_reasoning: int | None
    error: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Totals over all runs."""

    total_runs: int
    total_threads_evaluated: int
    total_adversarial_tests: int


async def list_runs(
    connection: Connection,
    *,
    command: str | None,
    app_id: str | None,
    limit: int,
    offset: int,
    owner: str | None = None,
) -> list[Run]:
    """Runs of a job type and an app (None: of any), newest first."""
    return await QUERIES.rows(
        connection, Run, "list",
        command=command, app_id=app_id, owner=owner, limit=limit, offset=offset,
    )  # fmt: skip


async def get_run(connection: Connection, run_id: UUID, *, owner: str | None = None) -> Run | None:
    return next(iter(await QUERIES.rows(connection, Run, "get", run_id=run_id, owner=owner)), None)


async def threads_of(
    connection: Connection,
    run_id: UUID,
    *,
    after: int,
    limit: int,
    owner: str | None = None,
    where: ThreadFilter = ALL_THREADS,
) -> list[ThreadRow]:
    """A run's threads in the order they were finished; `after`: the last id seen, or 0."""
    return await QUERIES.rows(
        connection, ThreadRow, "threads",
        run_id=run_id, owner=owner, after=after, limit=limit, **where.arguments(),
    )  # fmt: skip


async def count_threads(
    connection: Connection,
    run_id: UUID,
    *,
    owner: str | None = None,
    where: ThreadFilter = ALL_THREADS,
) -> int:
    arguments = {"run_id": run_id, "owner": owner, **where.arguments()}
    cursor = await connection.execute(QUERIES["count_threads"], arguments)
    row = await cursor.fetchone()
    return 0 if row is None else row[0]


async def logs_of(
    connection: Connection,
    run_id: UUID,
    *,
    limit: int,
    offset: int,
    thread_id: str | None = None,
    owner: str | None = None,
) -> list[LogRow]:
    """A run's LLM calls, or those of one of its threads, newest first; `owner`: only if theirs."""
    page: dict[str, Any] = {"run_id": run_id, "owner": owner, "limit": limit, "offset": offset}
    if thread_id is None:
        return await QUERIES.rows(connection, LogRow, "logs", **page)
    return await QUERIES.rows(connection, LogRow, "logs_of_thread", thread_id=thread_id, **page)


async def stats(connection: Connection, *, owner: str | None = None) -> Stats:
    (row,) = await QUERIES.rows(connection, Stats, "stats", owner=owner)
    return row
