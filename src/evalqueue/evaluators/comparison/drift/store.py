"""Reads what a drift check needs: the run that is judged again, and what both runs came to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from evalqueue.evaluators.comparison import store
from evalqueue.evaluators.comparison.compare import compare
from evalqueue.evaluators.comparison.drift.decision import Judgements
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load

QUERIES = load("evaluation/drift")


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The run that is judged again, as it was frozen."""

    id: UUID
    status: str
    name: str | None
    app_id: str | None
    app_digest: str | None
    dataset_id: str | None
    llm_provider: str | None
    llm_model: str | None
    config: Mapping[str, Any]

    @property
    def evaluators(self) -> list[str]:
        """The names of its evaluators."""
        return list(self.config.get("evaluator_versions", {}))


async def anchor(connection: Connection, run_id: UUID, *, owner: str) -> Anchor | None:
    """The batch of an owner that an id of a run, or of its job, names. None: there is none."""
    return await QUERIES.row(connection, Anchor, "anchor", run_id=run_id, owner=owner)


async def judged(connection: Connection, run_id: UUID) -> list[str]:
    """The conversations of a run of which something was measured, in their order."""
    cursor = await connection.execute(QUERIES["judged"], {"run_id": run_id})
    return [thread_id for (thread_id,) in await cursor.fetchall()]


async def judgements(
    connection: Connection, *, anchor: UUID, again: UUID, owner: str
) -> Judgements | None:
    """What both runs came to. None: one of them was deleted.

    Not to be called inside of a transaction: it needs one of its own.
    """
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        await connection.execute("SET LOCAL enable_nestloop = off")  # as where runs are compared
        runs = await store.run_pair(connection, candidate=again, baseline=anchor, owner=owner)
        if runs is None:
            return None
        labels = await store.labels(connection, runs)
        numbers = await store.numbers(connection, runs)
        conversations = await store.conversations(connection, runs)
        return Judgements(
            comparison=compare(runs, conversations, labels, numbers),
            labels=labels,
            numbers=numbers,
            served_before=await _served(connection, anchor),
            served_now=await _served(connection, again),
        )


async def _served(connection: Connection, run_id: UUID) -> Sequence[str]:
    cursor = await connection.execute(QUERIES["served"], {"run_id": run_id})
    return [model for (model,) in await cursor.fetchall()]
