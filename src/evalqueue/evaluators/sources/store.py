"""How far each source was read: rows of `source_positions`."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from evalqueue.evaluators.sources.reader import Position
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load

QUERIES = load("evaluation/sources")


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What a position belongs to. Several purposes read the same source independently."""

    owner: str
    source: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPosition:
    """A position, and what moved it last."""

    owner: str
    source: str
    name: str
    last_at: datetime
    thread_id: str
    job_id: UUID | None
    updated_at: datetime


async def position(connection: Connection, purpose: Purpose) -> Position | None:
    """None: nothing was read for this purpose."""
    return await QUERIES.row(
        connection,
        Position,
        "position",
        owner=purpose.owner,
        source=purpose.source,
        name=purpose.name,
    )


async def positions(connection: Connection) -> list[StoredPosition]:
    return await QUERIES.rows(connection, StoredPosition, "positions")


async def advance(
    connection: Connection,
    purpose: Purpose,
    *,
    start: Position | None,
    end: Position,
    job_id: UUID,
) -> bool:
    """Move a position. False: another job has moved it since `start` was read."""
    return bool(
        await QUERIES.value(
            connection,
            "advance",
            owner=purpose.owner,
            source=purpose.source,
            name=purpose.name,
            last_at=end.last_at,
            thread_id=end.thread_id,
            job_id=job_id,
            from_last_at=None if start is None else start.last_at,
            from_thread_id=None if start is None else start.thread_id,
        )
    )
