"""What was found where evaluators were tried, in Postgres."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from evalqueue.context import Checkpoint
from evalqueue.evaluators.prices.costs import shown
from evalqueue.evaluators.providers.earlier.replay import RecordedAnswer
from evalqueue.evaluators.runs.store import recorded_answer
from evalqueue.evaluators.trying.findings import UsedByEvaluator
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load
from evalqueue.postgres.rows import jsonb

QUERIES = load("evaluation/trying")


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedConversation:
    """What the evaluators of a job found in one conversation."""

    thread_id: str
    findings: Sequence[Mapping[str, Any]]
    """One for each evaluator."""


async def keep(connection: Connection, job_id: UUID, tried: TriedConversation) -> None:
    """Store what was found; what is there already stays."""
    arguments = {
        "job_id": job_id,
        "thread_id": tried.thread_id,
        "findings": jsonb(list(tried.findings)),
    }
    await connection.execute(QUERIES["keep"], arguments)


async def found(connection: Connection, job_id: UUID) -> list[TriedConversation]:
    """What is stored of a job, in the order in which it was found."""
    return await QUERIES.rows(connection, TriedConversation, "found", job_id=job_id)


async def checkpoint(connection: Connection, job_id: UUID) -> Checkpoint:
    """The conversations that earlier attempts of a job are done with."""
    cursor = await connection.execute(QUERIES["found"], {"job_id": job_id})
    return Checkpoint(succeeded={thread_id async for thread_id, _ in cursor})


async def recorded(connection: Connection, job_id: UUID, thread_id: str) -> list[RecordedAnswer]:
    """The answers that earlier attempts bought for a conversation, newest first."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES["recorded"], {"job_id": job_id, "thread_id": thread_id})
        return [recorded_answer(row) async for row in cursor]


async def usage(
    connection: Connection, job_id: UUID, thread_id: str | None = None
) -> dict[str, UsedByEvaluator]:
    """What the calls of each evaluator used, about one conversation or all."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES["usage"], {"job_id": job_id, "thread_id": thread_id})
        return {
            row["evaluator"]: {
                "calls": row["calls"],
                "tokens_in": row["tokens_in"],
                "tokens_out": row["tokens_out"],
                "cost_usd": shown(row["cost_usd"]),
            }
            async for row in cursor
        }
