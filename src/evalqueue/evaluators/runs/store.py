"""Rows of runs as an attempt writes and reads them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Json

from evalqueue import codec
from evalqueue.context import Checkpoint
from evalqueue.evaluators.judging.registry import mission_columns
from evalqueue.evaluators.judging.scores import MAX_LABEL, ScoreKind, ScoreRow, ScoreValue
from evalqueue.evaluators.judging.threads import ThreadResult
from evalqueue.evaluators.prices.costs import shown
from evalqueue.evaluators.providers.earlier.replay import RecordedAnswer
from evalqueue.evaluators.providers.provider import Completion, Usage
from evalqueue.evaluators.runs.summary import ThreadOutcome
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load
from evalqueue.postgres.rows import jsonb

QUERIES = load("evaluation/runs")
ERROR_LIMIT = 4000  # characters, the table's CHECK
REASONING_LIMIT = 4000  # characters, likewise
VERSION_LIMIT = 200  # characters, likewise

_VALUE_COLUMNS: Mapping[ScoreKind, str] = {
    ScoreKind.CATEGORY: "value_text",
    ScoreKind.NUMBER: "value_number",
    ScoreKind.BOOLEAN: "value_boolean",
}

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a run freezes when it first starts."""

    run_id: UUID
    app_id: str
    app_digest: str
    llm_provider: str | None
    llm_model: str | None
    """None: no LLM is asked."""
    eval_temperature: float | None
    data_path: str | None
    """None: what is evaluated comes from no file."""
    data_file_hash: str | None
    dataset_id: str | None
    total_items: int
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A run as an attempt finds it."""

    data_file_hash: str | None
    """Of the data that it began with."""
    is_first: bool
    """Whether this attempt is the one that froze it: nothing was on record then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotals:
    """What a run's LLM calls came to; None: no call reported any. Without a call, all is 0."""

    calls: int
    failed_calls: int
    reused_calls: int
    """Calls that were not made, since an earlier run's answer was taken; not in `calls`."""
    batched_calls: int
    """Calls that were parts of batches, at half price."""
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: Decimal | None
    """Of the calls whose cost is known. None: of none."""
    unpriced_calls: int
    """Calls with tokens, of a model whose price is unknown."""
    parameters: list[Mapping[str, Any]]
    """What was really sent besides the texts: each different set, 20 at most."""

    def as_json(self) -> Mapping[str, Any]:
        return {
            "llm_calls": self.calls,
            "failed_llm_calls": self.failed_calls,
            "reused_llm_calls": self.reused_calls,
            "batched_llm_calls": self.batched_calls,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "cost_usd": shown(self.cost_usd),
            "unpriced_calls": self.unpriced_calls,
            "llm_parameters": self.parameters,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedThread:
    """A thread's result on its way into its row."""

    run_id: UUID
    job_id: UUID
    attempt: int
    data_file_hash: str
    duration_ms: float
    found: ThreadResult

    @property
    def scores(self) -> Sequence[ScoreRow]:
        """The scores that are stored. What needed no call (NOT APPLICABLE) measures nothing where
        every call failed."""
        found = self.found
        return [row for row in found.scores if row.failure is not None or not found.failed]

    def arguments(self) -> Mapping[str, Any]:
        found = self.found
        error = None if found.error is None else codec.clean_text(found.error, limit=ERROR_LIMIT)
        columns: Mapping[str, ScoreValue | None] = {} if found.failed else found.columns
        return {
            "run_id": self.run_id,
            "job_id": self.job_id,
            "attempt": self.attempt,
            "data_file_hash": self.data_file_hash,
            "duration_ms": self.duration_ms,
            "thread_id": found.thread_id,
            **{name: columns.get(name) for name in mission_columns()},
            "success_status": found.success_status,
            "error": error,
            "result": jsonb(found.result),
            "scores": Json([_score(row) for row in self.scores], dumps=codec.encode_json),
        }


async def declare(connection: Connection, job_type: str) -> None:
    """Jobs of this type have a run from now on, and so have those that wait already."""
    await connection.execute(QUERIES["declare"], {"job_type": job_type})


def _score(row: ScoreRow) -> Mapping[str, Any]:
    """A score by the names of its columns; `keep` adds whose it is."""
    return {
        "turn": row.turn,
        "evaluator": row.evaluator,
        "version": codec.clean_text(row.version, limit=VERSION_LIMIT),
        "name": row.name,
        "kind": row.kind.value,
        _VALUE_COLUMNS[row.kind]: _cut(row.value) if isinstance(row.value, str) else row.value,
        "expected": _cut(row.expected),
        "evidence": list(row.evidence) or None,
        "reasoning": None
        if row.reasoning is None
        else codec.clean_text(row.reasoning, limit=REASONING_LIMIT),
        "failure": row.failure,
    }


def _cut(label: str | None) -> str | None:
    return None if label is None else codec.clean_text(label[:MAX_LABEL])


async def open_run(connection: Connection, opening: Opening) -> Opened | None:
    """Freeze the run's config, unless an earlier attempt has; None: the run was deleted."""
    arguments = {name: getattr(opening, name) for name in Opening.__slots__}
    arguments["config"] = jsonb(opening.config)
    async with connection.cursor(row_factory=class_row(Opened)) as cursor:
        await cursor.execute(QUERIES["open"], arguments)
        return await cursor.fetchone()


async def checkpoint(connection: Connection, run_id: UUID, job_id: UUID) -> Checkpoint:
    """The threads that this job has nothing more to do for."""
    arguments = {"run_id": run_id, "job_id": job_id}
    cursor = await connection.execute(QUERIES["checkpoint"], arguments)
    rows = await cursor.fetchall()
    return Checkpoint(
        succeeded=frozenset(thread_id for thread_id, succeeded in rows if succeeded),
        failed=frozenset(thread_id for thread_id, succeeded in rows if not succeeded),
    )


async def keep(connection: Connection, kept: EvaluatedThread) -> None:
    """Store a thread's result, unless what is there already is the same job's, or better."""
    await connection.execute(QUERIES["keep"], kept.arguments())


async def recorded(
    connection: Connection, *, run_id: UUID, job_id: UUID, thread_ids: Sequence[str]
) -> Mapping[str, Sequence[RecordedAnswer]]:
    """The answers that need not be bought for some threads, newest first, by thread.

    What led to a failure of a thread's stored result is not among them: replayed, it would fail
    for ever. What this job itself bought since then is.
    """
    arguments = {"run_id": run_id, "job_id": job_id, "thread_ids": thread_ids}
    found = defaultdict[str, list[RecordedAnswer]](list)
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES["recorded"], arguments)
        async for row in cursor:
            found[row["thread_id"]].append(recorded_answer(row))
    return found


def recorded_answer(row: Mapping[str, Any]) -> RecordedAnswer:
    """An answer on record, from a row that has what `recorded` selects."""
    usage = Usage(
        input_tokens=row["tokens_in"],
        output_tokens=row["tokens_out"],
        cached_tokens=row["tokens_cached"],
        reasoning_tokens=row["tokens_reasoning"],
    )
    completion = Completion(
        text=row["text"],
        model=row["model"],
        usage=usage,
        latency_ms=row["latency_ms"],
        request_id=row["request_id"],
        is_of_other_job=row.get("is_of_other_job", False),
    )
    return RecordedAnswer(request_hash=row["request_hash"], completion=completion)


async def outcomes(connection: Connection, run_id: UUID) -> list[ThreadOutcome]:
    """What counts of each thread, for the summary."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES["outcomes"], {"run_id": run_id})
        return [ThreadOutcome.of_row(row) async for row in cursor]


async def usage(connection: Connection, run_id: UUID) -> UsageTotals:
    """What the run's LLM calls came to so far."""
    (row,) = await QUERIES.rows(connection, UsageTotals, "usage", run_id=run_id)
    if row.calls:
        return row
    return replace(row, tokens_in=0, tokens_out=0, cost_usd=Decimal(0))
