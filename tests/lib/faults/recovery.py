"""How long it took until interrupted work went on: read from the tables when all is over.

The clock starts when a fault is over, which for a killed worker is the moment of its death. Then a
job is found lost, and is in line again: that is the lease. Then it runs again: that is how many
others are in line, and how important it is. Where its attempt survived, a job has recovered with
the next item that it keeps. Faults overlap: what comes next may hold up what came before.

Hands are left out: they wait until somebody has nothing better to do.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from faults.diary import Fault, Kind

GROUPS: Mapping[str, frozenset[Kind]] = {
    "worker killed": frozenset({Kind.KILL, Kind.POISON}),
    "worker told to stop": frozenset({Kind.TERMINATE, Kind.TERMINATE_TWICE}),
    "worker frozen or cut off": frozenset({Kind.FREEZE, Kind.CUT, Kind.SILENCE}),
    "Postgres away": frozenset(
        {Kind.STOP_FAST, Kind.STOP_IMMEDIATE, Kind.SESSIONS, Kind.READ_ONLY, Kind.CROWD}
    ),
}

_ATTEMPTS: LiteralString = """
    SELECT job_id, try.attempt, split_part(try.worker, '@', 1) AS worker, try.started_at, ended_at,
        outcome, completed_at
    FROM job_attempts AS try JOIN jobs ON jobs.id = job_id AND parent_id IS NULL
    ORDER BY job_id, try.attempt"""
_KEPT: LiteralString = """
    SELECT job_id, at FROM faults.effects
    UNION ALL SELECT job_id, created_at FROM thread_evaluations ORDER BY at"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One attempt at a job."""

    job_id: UUID
    attempt: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Some durations, in order."""

    seconds: Sequence[float]

    def share(self, part: float) -> float | None:
        """The duration that this part of them doesn't exceed."""
        if not self.seconds:
            return None
        return self.seconds[min(len(self.seconds) - 1, int(part * len(self.seconds)))]

    def as_json(self) -> dict[str, Any]:
        parts = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
        found = {name: self.share(part) for name, part in parts.items()}
        rounded = {name: None if s is None else round(s, 2) for name, s in found.items()}
        return {"count": len(self.seconds), **rounded}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """After the faults of one group: until all that each interrupted was in line again, or ran."""

    in_line: Times
    running: Times


async def recoveries(address: str, faults: Sequence[Fault]) -> dict[str, Recovery]:
    """Recovery times by group of faults."""
    async with await psycopg.AsyncConnection.connect(address) as connection:
        async with connection.cursor(row_factory=class_row(Try)) as cursor:
            tries = await (await cursor.execute(_ATTEMPTS)).fetchall()
        kept: dict[UUID, list[datetime]] = defaultdict(list)
        for job_id, at in await (await connection.execute(_KEPT)).fetchall():
            kept[job_id].append(at)
    return recovered(faults, tries, kept)


def recovered(
    faults: Sequence[Fault], tries: Sequence[Try], kept: Mapping[UUID, Sequence[datetime]]
) -> dict[str, Recovery]:
    """The same, from rows: attempts in their order, and when items of each job were kept."""
    return {
        group: _recovery([fault for fault in faults if fault.kind in kinds], tries, kept)
        for group, kinds in GROUPS.items()
    }


def _recovery(
    faults: Sequence[Fault], tries: Sequence[Try], kept: Mapping[UUID, Sequence[datetime]]
) -> Recovery:
    in_line: list[float] = []
    running: list[float] = []
    for fault in faults:
        waits = [
            _waits(fault, each, later, kept.get(each.job_id, ()))
            for each, later in _interrupted(fault, tries)
        ]
        if known := [wait for wait in waits if wait is not None]:
            in_line.append(max(until_in_line for until_in_line, _ in known))
            running.append(max(until_it_ran for _, until_it_ran in known))
    return Recovery(in_line=Times(seconds=sorted(in_line)), running=Times(seconds=sorted(running)))


def _interrupted(fault: Fault, tries: Sequence[Try]) -> Iterable[tuple[Try, Try | None]]:
    """The attempts that a fault met, each with the next one."""
    for number, each in enumerate(tries):
        if fault.worker is not None and each.worker != fault.worker:
            continue
        if each.started_at > fault.began or (each.ended_at and each.ended_at < fault.began):
            continue
        stopped = fault.kind in GROUPS["worker told to stop"]
        if stopped and each.outcome != "released":  # it finished in its time
            continue
        later = tries[number + 1] if number + 1 < len(tries) else None
        yield each, later if later is not None and later.job_id == each.job_id else None


def _waits(
    fault: Fault, interrupted: Try, later: Try | None, kept: Sequence[datetime]
) -> tuple[float, float] | None:
    """Seconds after a fault until a job was in line again, and ran; None: it never did."""
    over = _over(fault, interrupted)
    signs = [at for at in kept if at > over][:1]
    if later is not None:
        signs.append(later.started_at)
    if interrupted.completed_at is not None:
        signs.append(interrupted.completed_at)
    if interrupted.ended_at is not None and interrupted.outcome == "yielded":
        signs.append(interrupted.ended_at)  # it lived, and made room
    if not signs:
        return None
    ran = min(signs)
    back = ran if interrupted.ended_at is None else min(ran, interrupted.ended_at)
    return max(0.0, (back - over).total_seconds()), max(0.0, (ran - over).total_seconds())


def _over(fault: Fault, interrupted: Try) -> datetime:
    """From when on a job could have gone on."""
    if fault.kind in GROUPS["worker told to stop"] and interrupted.ended_at is not None:
        return interrupted.ended_at
    gone = fault.kind in GROUPS["worker killed"]
    return fault.began if gone or fault.ended is None else fault.ended
