"""The runs that a person may mean by a part of an id, or by a name."""

from uuid import UUID

from evalqueue.evaluators.runs.reading import QUERIES, Run
from evalqueue.postgres.database import Connection


async def matching(
    connection: Connection, *, first: UUID | None, last: UUID | None, name: str, limit: int
) -> list[Run]:
    """Runs whose id, or the id of a job of theirs, is in a range (None: no id is), or that have a
    name; newest first."""
    return await QUERIES.rows(
        connection, Run, "matching", first=first, last=last, name=name, limit=limit
    )
