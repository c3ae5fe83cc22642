"""How far each source was read, and what came of it: `source_positions`, `source_readings`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from evalqueue.evaluators.sources.candidates import Position
from evalqueue.evaluators.sources.sampling import Skip
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
class SourceRule:
    """A position, what moved it last, and what became of the conversations that were read.

    matched = sampled + not_in_sample + over_per_intent + over_per_user + unreadable, and sampled =
    judged + failed + not_judged + waiting. What was pruned is in none of them.
    """

    owner: str
    source: str
    name: str
    last_at: datetime
    thread_id: str
    job_id: UUID | None
    updated_at: datetime
    matched: int
    sampled: int
    """Conversations whose evaluation was submitted."""
    not_in_sample: int
    over_per_intent: int
    over_per_user: int
    unreadable: int
    judged: int
    failed: int
    """Conversations with a verdict that could not be reached."""
    not_judged: int
    """Their run is over."""
    waiting: int
    """Their run goes on."""
    skipped_rows: Mapping[str, int]
    """Of `posted`: rows of watched tables that are no messages, by their problem."""

    @property
    def skipped(self) -> int:
        return self.matched - self.sampled


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSoFar:
    """How many conversations a job has read, and what of them was taken."""

    matched: int = 0
    sampled: int = 0
    unreadable: int = 0


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


async def rules(connection: Connection, *, owner: str | None = None) -> list[SourceRule]:
    """Every position; None: of all owners."""
    return await QUERIES.rows(connection, SourceRule, "rules", owner=owner)


async def conversations(connection: Connection, dataset_id: str) -> set[str]:
    """The ids of a dataset's conversations."""
    rows = await QUERIES.mappings(connection, "conversations", dataset_id=dataset_id)
    return {str(row["thread_id"]) for row in rows}


async def begun(
    connection: Connection, purpose: Purpose, *, start: datetime, job_id: UUID
) -> datetime:
    """Where the reading for a purpose began; the first time, it begins at `start`."""
    names = {"owner": purpose.owner, "source": purpose.source, "name": purpose.name}
    await connection.execute(QUERIES["begin"], {**names, "start_at": start, "job_id": job_id})
    return await QUERIES.value(connection, "start", **names)


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


async def note_reading(
    connection: Connection,
    purpose: Purpose,
    *,
    job_id: UUID,
    run_id: UUID | None,
    sampled: int,
    skipped: Mapping[Skip, int],
) -> None:
    """Record what a move of a position came to.

    Args:
        run_id: which evaluates what was taken; None: nothing was.
    """
    counts = {reason.value: skipped.get(reason, 0) for reason in Skip}
    await connection.execute(
        QUERIES["note_reading"],
        {
            "owner": purpose.owner,
            "source": purpose.source,
            "name": purpose.name,
            "job_id": job_id,
            "run_id": run_id,
            "matched": sampled + sum(counts.values()),
            "sampled": sampled,
            **counts,
        },
    )


async def read_by(connection: Connection, job_id: UUID) -> ReadSoFar:
    """What a job has read in its attempts so far."""
    return await QUERIES.only_row(connection, ReadSoFar, "read_by", job_id=job_id)
