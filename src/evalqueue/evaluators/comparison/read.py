"""Compares runs that are in the database."""

from dataclasses import replace
from uuid import UUID

from evalqueue.evaluators.comparison import store
from evalqueue.evaluators.comparison.changes import changes
from evalqueue.evaluators.comparison.compare import Comparison, compare
from evalqueue.postgres.database import Connection

MAX_FLIPS = 100
"""Of each direction."""


def obstacle(found: Comparison) -> str | None:
    """Why there is nothing to compare; None: there is."""
    commands = {found.baseline.command, found.candidate.command}
    if len(commands) > 1:
        return f"The runs are of different kinds: {' and '.join(sorted(commands))}"
    return None if found.conversations.both else "No evaluated conversation is in both runs"


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
        labels = await store.labels(connection, runs)
        numbers = await store.numbers(connection, runs)
        found = compare(runs, await store.conversations(connection, runs), labels, numbers)
        changed = changes(found.compared, labels, numbers)
        flips = await store.flips(
            connection, runs, changed.labels, changed.numbers, limit=MAX_FLIPS
        )
    return replace(found, flip_totals=changed.totals, flips=flips)
