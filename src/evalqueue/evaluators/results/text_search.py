"""Finds the conversations of a run that contain a text."""

from uuid import UUID

from psycopg.errors import QueryCanceled

from evalqueue.errors import Refused
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load

QUERIES = load("evaluation/results")


class SearchTooSlow(Refused):
    """A search took longer than it may."""


async def threads_in_which(
    connection: Connection,
    run_id: UUID,
    text: str,
    *,
    owner: str | None,
    max_seconds: float | None = None,
) -> dict[str, str]:
    """The threads of a run in which a message contains this text, in any case; each with the
    words around the first place.

    Args:
        owner: of the run; None: any. Another owner's run has no threads.
        max_seconds: None: as long as it takes.

    Raises:
        SearchTooSlow: it took longer.
    """
    arguments = {"run_id": run_id, "text": text, "owner": owner}
    try:
        async with connection.transaction():
            if max_seconds is not None:
                await connection.execute(
                    "SELECT set_config('statement_timeout', %s, true)",
                    [f"{max_seconds * 1000:.0f}ms"],
                )
            cursor = await connection.execute(QUERIES["search"], arguments)
            return dict(await cursor.fetchall())
    except QueryCanceled as error:
        raise SearchTooSlow(
            f"The conversations of this run are too many to be searched in {max_seconds:g} seconds."
            " `evalqueue runs threads RUN --text TEXT` has no limit."
        ) from error
