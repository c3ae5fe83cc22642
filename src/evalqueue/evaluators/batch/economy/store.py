"""Questions and batches: rows in and out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg.rows import class_row, dict_row

from evalqueue import codec
from evalqueue.evaluators.batch.economy.questions import (
    BatchQuestion,
    KnownQuestion,
    QuestionFailure,
    failure_of,
)
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load

QUERIES = load("evaluation/batches")
OUTCOME_LIMIT = 1000  # characters, the table's CHECK
_LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBatch:
    """A batch that is not known to be over."""

    id: UUID
    run_id: UUID
    job_id: UUID
    owner: str
    provider: str
    model: str
    vendor_id: str | None
    """None: it is not known whether it was submitted."""
    questions: int
    done: int
    reserved_usd: Decimal
    reserved_tokens: int
    reserved_month: str | None
    outcome: str | None
    created_at: datetime
    ended_at: datetime | None
    age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQuestion:
    """A question, and its row."""

    id: int
    question: BatchQuestion


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledQuestion:
    """What became of a question."""

    id: int
    outcome: CallOutcome
    failure: QuestionFailure | None
    used_usd: Decimal | None
    used_tokens: int | None

    def as_json(self) -> dict[str, object]:
        used = self.used_usd
        return {
            "id": self.id,
            "outcome": self.outcome.value,
            "failure": self.failure,
            "used_usd": None if used is None else format(used, "f"),
            "used_tokens": self.used_tokens,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchesProgress:
    """How far the batches of a job are, in questions."""

    total: int
    done: int


async def known(
    connection: Connection, *, job_id: UUID, thread_id: str
) -> dict[bytes, KnownQuestion]:
    """What is known of the questions about a thread."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES["known"], {"job_id": job_id, "thread_id": thread_id})
        return {row["request_hash"]: _known(row) async for row in cursor}


def _known(row: Mapping[str, Any]) -> KnownQuestion:
    outcome = row["outcome"]
    if outcome == _LIVE:
        return KnownQuestion(outcome=None, is_live=True)
    return KnownQuestion(
        outcome=None if outcome is None else CallOutcome(outcome), failure=row["failure"]
    )


async def visited(connection: Connection, job_id: UUID) -> frozenset[str]:
    """The threads with questions that are in no batch yet."""
    cursor = await connection.execute(QUERIES["visited"], {"job_id": job_id})
    return frozenset(thread_id for (thread_id,) in await cursor.fetchall())


async def add_questions(
    connection: Connection, questions: Sequence[BatchQuestion], *, run_id: UUID, job_id: UUID
) -> None:
    """Add questions. Those that are there stay as they are."""
    arguments = {
        "run_id": run_id,
        "job_id": job_id,
        "thread_ids": [each.site.thread_id for each in questions],
        "hashes": [each.request_hash for each in questions],
        "questions": [each.dumped() for each in questions],
    }
    await connection.execute(QUERIES["add"], arguments)


async def waiting(
    connection: Connection, job_id: UUID, *, after: int, limit: int
) -> list[StoredQuestion]:
    """Questions that are in no batch yet."""
    return await _questions(connection, "waiting", job_id=job_id, after=after, limit=limit)


async def in_batch(
    connection: Connection, batch_id: UUID, *, after: int, limit: int
) -> list[StoredQuestion]:
    """The questions of a batch, in order."""
    return await _questions(connection, "in_batch", batch_id=batch_id, after=after, limit=limit)


async def in_batch_by_hash(
    connection: Connection, batch_id: UUID, hashes: Sequence[bytes]
) -> list[StoredQuestion]:
    """Those questions of a batch whose results are not recorded."""
    return await _questions(connection, "in_batch_by_hash", batch_id=batch_id, hashes=list(hashes))


async def _questions(
    connection: Connection, name: str, **arguments: object
) -> list[StoredQuestion]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES[name], arguments)
        return [
            StoredQuestion(
                id=row["id"], question=BatchQuestion.of(row["request_hash"], row["question"])
            )
            async for row in cursor
        ]


async def ask_live(connection: Connection, question_id: int) -> None:
    """Take a question out of those that batches ask."""
    await connection.execute(QUERIES["ask_live"], {"id": question_id})


async def fail_live(
    connection: Connection, job_id: UUID, failed: Mapping[bytes, ProviderError]
) -> None:
    """Store that questions were asked live in vain."""
    for key, error in failed.items():
        await connection.execute(
            QUERIES["fail_live"],
            {
                "job_id": job_id,
                "request_hash": key,
                "outcome": error.outcome.value,
                "failure": codec.dump_json(failure_of(error, is_final=True)),
            },
        )


async def open_batch(connection: Connection, batch: OpenBatch, question_ids: Sequence[int]) -> None:
    """Store a batch that will be submitted, with its questions."""
    arguments = {name: getattr(batch, name) for name in OpenBatch.__slots__}
    await connection.execute(QUERIES["open"], arguments)
    await connection.execute(QUERIES["assign"], {"batch_id": batch.id, "ids": list(question_ids)})


async def withdraw(connection: Connection, batch_id: UUID, *, outcome: str) -> None:
    """The vendor refused a batch: its questions are in none."""
    await connection.execute(QUERIES["release"], {"batch_id": batch_id})
    await end(connection, batch_id, outcome=outcome)


async def mark_submitted(connection: Connection, batch_id: UUID, *, vendor_id: str) -> bool:
    """Store a batch's id at its vendor. False: it is over, or has another one."""
    cursor = await connection.execute(
        QUERIES["submitted"], {"batch_id": batch_id, "vendor_id": vendor_id}
    )
    return await cursor.fetchone() is not None


async def open_of_run(connection: Connection, run_id: UUID) -> list[OpenBatch]:
    """The batches of a run that are not known to be over: of earlier jobs, too."""
    return await _batches(connection, "open_of_run", run_id=run_id)


async def open_of_job(connection: Connection, job_id: UUID) -> list[OpenBatch]:
    return await _batches(connection, "open_of_job", job_id=job_id)


async def left_open(connection: Connection, job_id: UUID, *, owner: str) -> list[OpenBatch]:
    """The batches of a job of the owner that is over."""
    return await _batches(connection, "left_open", job_id=job_id, owner=owner)


async def _batches(connection: Connection, name: str, **arguments: object) -> list[OpenBatch]:
    async with connection.cursor(row_factory=class_row(OpenBatch)) as cursor:
        await cursor.execute(QUERIES[name], arguments)
        return await cursor.fetchall()


async def note_done(connection: Connection, batch_id: UUID, done: int) -> None:
    await connection.execute(QUERIES["note_done"], {"batch_id": batch_id, "done": done})


async def settle(connection: Connection, settled: Sequence[SettledQuestion]) -> None:
    """Store what became of questions. What was stored before stays."""
    given = codec.dump_json([each.as_json() for each in settled])
    await connection.execute(QUERIES["settle"], {"settled": given})


async def end(connection: Connection, batch_id: UUID, *, outcome: str) -> None:
    """A batch is over, and its results are recorded."""
    text = codec.clean_text(outcome, limit=OUTCOME_LIMIT)
    await connection.execute(QUERIES["end"], {"batch_id": batch_id, "outcome": text})


async def progress(connection: Connection, job_id: UUID) -> BatchesProgress:
    (row,) = await QUERIES.rows(connection, BatchesProgress, "progress", job_id=job_id)
    return row
