"""What earlier runs of an owner have: answers to reuse, conversations to leave out, and calls to
learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from evalqueue.evaluators.providers.earlier.replayed_run import AnsweredQuestion, AskedQuestion
from evalqueue.evaluators.providers.earlier.reuse import EarlierAnswer
from evalqueue.evaluators.providers.provider import Completion, Usage
from evalqueue.evaluators.providers.registry import ModelChoice
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load
from evalqueue.postgres.rows import jsonb

QUERIES = load("evaluation/earlier_runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentCall:
    """A recorded call, by what an estimate learns from it."""

    tokens_in: int
    tokens_out: int
    characters: int
    """Of its prompt and system text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayableRun:
    """A run whose answers are recorded, and the model that it asked."""

    id: UUID
    llm_provider: str | None
    llm_model: str | None
    has_panel: bool
    """Whether several models were asked the same questions."""


async def answers(
    connection: Connection,
    *,
    question_hash: bytes,
    owner: str,
    run_id: UUID,
    max_age_seconds: float,
) -> list[EarlierAnswer]:
    """The answers to a question in other runs of an owner, newest first."""
    arguments = {
        "question_hash": question_hash,
        "owner": owner,
        "run_id": run_id,
        "max_age_seconds": max_age_seconds,
    }
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES["answers"], arguments)
        return [_answer(row) async for row in cursor]


async def replayable(connection: Connection, run_id: UUID, *, owner: str) -> ReplayableRun | None:
    """The batch of an owner that an id of a run, or of its job, names. None: there is none."""
    found = await QUERIES.rows(connection, ReplayableRun, "replayable", run_id=run_id, owner=owner)
    return next(iter(found), None)


async def answered(
    connection: Connection, *, run_id: UUID, owner: str, thread_id: str
) -> list[AnsweredQuestion]:
    """What a run of an owner was answered about a thread, in the order of the record."""
    arguments = {"run_id": run_id, "owner": owner, "thread_id": thread_id}
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES["answered"], arguments)
        return [
            AnsweredQuestion(
                question=AskedQuestion(
                    evaluator=row["evaluator"],
                    turn=row["turn"],
                    method=row["method"],
                    prompt=row["prompt"],
                    system=row["system_prompt"],
                ),
                answer=_answer(row),
            )
            async for row in cursor
        ]


async def evaluated(
    connection: Connection,
    *,
    owner: str,
    run_id: UUID | None,
    dataset_id: str,
    thread_ids: Sequence[str],
    app_id: str,
    choice: ModelChoice | None,
    versions: Mapping[str, str],
) -> frozenset[str]:
    """The threads that earlier runs of an owner have evaluated already: each attempt at a run finds
    the same ones. Without a `choice`, whatever model they asked."""
    cursor = await connection.execute(
        QUERIES["evaluated"],
        {
            "owner": owner,
            "run_id": run_id,
            "dataset_id": dataset_id,
            "thread_ids": list(thread_ids),
            "app_id": app_id,
            "llm_provider": None if choice is None else choice.provider,
            "llm_model": None if choice is None else choice.model,
            "versions": jsonb(versions),
        },
    )
    return frozenset([thread_id for (thread_id,) in await cursor.fetchall()])


async def recent_calls(
    connection: Connection, *, owner: str, evaluator: str, version: str, choice: ModelChoice
) -> list[RecentCall]:
    """Calls of one version of an evaluator with one model, of the newest runs of an owner."""
    return await QUERIES.rows(
        connection,
        RecentCall,
        "recent_calls",
        owner=owner,
        evaluator=evaluator,
        version=version,
        llm_provider=choice.provider,
        llm_model=choice.model,
    )


def _answer(row: Mapping[str, Any]) -> EarlierAnswer:
    return EarlierAnswer(
        call_id=row["call_id"],
        completion=Completion(
            text=row["text"],
            model=row["model"],
            usage=Usage(
                input_tokens=row["tokens_in"],
                output_tokens=row["tokens_out"],
                cached_tokens=row["tokens_cached"],
                reasoning_tokens=row["tokens_reasoning"],
            ),
            latency_ms=row["latency_ms"],
            request_id=row["request_id"],
        ),
    )
