"""What was found where evaluators were tried, in Postgres."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from evalqueue.context import Checkpoint
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
