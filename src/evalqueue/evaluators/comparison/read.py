"""Compares runs that are in the database."""

from dataclasses import replace
from uuid import UUID

from evalqueue.evaluators.comparison import store
from evalqueue.evaluators.comparison.compare import Comparison, ScoreChange, compare
from evalqueue.postgres.database import Connection

MAX_FLIPS = 200


async def comparison_of(
    connection: Connection, *, candidate: UUID, baseline: UUID, owner: str | None
) -> Comparison | None:
    """The comparison of two runs; None: one of them does not exist for this owner (None: any).

    Not to be called inside of a transaction: it needs one of its own.
    """
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # Whole runs are joined: with old statistics of the tables, nested loops would be quadratic.
        await connection.execute("SET LOCAL enable_nestloop = off")
        runs = await store.run_pair(connection, candidate=candidate, baseline=baseline, owner=owner)
        if runs is None:
            return None
        found = compare(
            runs,
            await store.conversations(connection, runs),
            await store.labels(connection, runs),
            await store.numbers(connection, runs),
        )
        compared = [
            (e.evaluator, e.name) for e in found.scores if e.change is not ScoreChange.NOT_COMPARED
        ]
        flips = await store.flips(connection, runs, compared, limit=MAX_FLIPS)
    return replace(found, flips=flips)
