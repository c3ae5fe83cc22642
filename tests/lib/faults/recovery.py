"""Recovery times of interrupted jobs, computed from the tables when all jobs are over.

A recovery time starts at the end of a fault; for a killed worker, at the kill. The time until the
job is queued again depends on its lease, and the time until it runs again also on the queue and the
job's priority. If its attempt survived, a job has recovered when it stores its next item. Faults
overlap, so a later fault can delay the recovery from an earlier one.

Helper jobs are left out, because they run only on workers that are otherwise idle.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from faults.fault_log import Fault, Kind

GROUPS: Mapping[str, frozenset[Kind]] = {
    "worker killed": frozenset({Kind.KILL, Kind.POISON}),
    "worker stopped": frozenset({Kind.TERMINATE, Kind.TERMINATE_TWICE}),
    "worker frozen or cut off": frozenset({Kind.FREEZE, Kind.CUT, Kind.SILENCE}),
    "Postgres unavailable": frozenset(
        {Kind.STOP_FAST, Kind.STOP_IMMEDIATE, Kind.SESSIONS, Kind.READ_ONLY, Kind.CROWD}
    ),
}

_ATTEMPTS: LiteralString = """
    SELECT job_id, a.attempt, split_part(a.worker, '@', 1) AS worker, a.started_at, ended_at,
        outcome, completed_at
    FROM job_attempts AS a JOIN jobs ON jobs.id = job_id AND parent_id IS NULL
    ORDER BY job_id, a.attempt"""
_STORED: LiteralString = """
    SELECT job_id, at FROM faults.effects
    UNION ALL SELECT job_id, created_at FROM thread_evaluations ORDER BY at"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at a job."""

    job_id: UUID
    attempt: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Durations in ascending order."""

    seconds: Sequence[float]

    def percentile(self, part: float) -> float | None:
        """The duration that a fraction `part` of them doesn't exceed; None: there are none."""
        if not self.seconds:
            return None
        return self.seconds[min(len(self.seconds) - 1, int(part * len(self.seconds)))]

    def as_json(self) -> dict[str, Any]:
        parts = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
        values = {name: self.percentile(part) for name, part in parts.items()}
        rounded = {name: None if s is None else round(s, 2) for name, s in values.items()}
        return {"count": len(self.seconds), **rounded}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Durations after the faults of one group, until all interrupted jobs were queued, or ran."""

    queued: Durations
    running: Durations


async def recoveries(address: str, faults: Sequence[Fault]) -> dict[str, Recovery]:
    """Recovery times by group of faults."""
    async with await psycopg.AsyncConnection.connect(address) as connection:
        async with connection.cursor(row_factory=class_row(Attempt)) as cursor:
            attempts = await (await cursor.execute(_ATTEMPTS)).fetchall()
        stored: dict[UUID, list[datetime]] = defaultdict(list)
        for job_id, at in await (await connection.execute(_STORED)).fetchall():
            stored[job_id].append(at)
    return recovered(faults, attempts, stored)


def recovered(
    faults: Sequence[Fault], attempts: Sequence[Attempt], stored: Mapping[UUID, Sequence[datetime]]
) -> dict[str, Recovery]:
    """Recovery times from rows.

    Args:
        attempts: ordered by job and attempt.
        stored: when the items of each job were stored.
    """
    return {
        group: _recovery([fault for fault in faults if fault.kind in kinds], attempts, stored)
        for group, kinds in GROUPS.items()
    }


def _recovery(
    faults: Sequence[Fault], attempts: Sequence[Attempt], stored: Mapping[UUID, Sequence[datetime]]
) -> Recovery:
    queued: list[float] = []
    running: list[float] = []
    for fault in faults:
        waits = [
            _waits(fault, each, later, stored.get(each.job_id, ()))
            for each, later in _interrupted(fault, attempts)
        ]
        if known := [wait for wait in waits if wait is not None]:
            queued.append(max(until_queued for until_queued, _ in known))
            running.append(max(until_running for _, until_running in known))
    return Recovery(
        queued=Durations(seconds=sorted(queued)), running=Durations(seconds=sorted(running))
    )


def _interrupted(
    fault: Fault, attempts: Sequence[Attempt]
) -> Iterable[tuple[Attempt, Attempt | None]]:
    """The attempts that a fault interrupted, each with the next one of the same job."""
    for number, each in enumerate(attempts):
        if fault.worker is not None and each.worker != fault.worker:
            continue
        if each.started_at > fault.began or (each.ended_at and each.ended_at < fault.began):
            continue
        stopped = fault.kind in GROUPS["worker stopped"]
        if stopped and each.outcome != "released":  # it ended in time
            continue
        later = attempts[number + 1] if number + 1 < len(attempts) else None
        yield each, later if later is not None and later.job_id == each.job_id else None


def _waits(
    fault: Fault, interrupted: Attempt, later: Attempt | None, stored: Sequence[datetime]
) -> tuple[float, float] | None:
    """Seconds after a fault until a job was queued again, and until it ran; None: it never ran."""
    available_at = _available_at(fault, interrupted)
    moments = [at for at in stored if at > available_at][:1]
    if later is not None:
        moments.append(later.started_at)
    if interrupted.completed_at is not None:
        moments.append(interrupted.completed_at)
    if interrupted.ended_at is not None and interrupted.outcome == "yielded":
        moments.append(interrupted.ended_at)  # the attempt survived, and yielded its slot
    if not moments:
        return None
    ran_at = min(moments)
    queued_at = ran_at if interrupted.ended_at is None else min(ran_at, interrupted.ended_at)
    return max(0.0, (queued_at - available_at).total_seconds()), max(
        0.0, (ran_at - available_at).total_seconds()
    )


def _available_at(fault: Fault, interrupted: Attempt) -> datetime:
    """When the job could go on at the earliest."""
    if fault.kind in GROUPS["worker stopped"] and interrupted.ended_at is not None:
        return interrupted.ended_at
    killed = fault.kind in GROUPS["worker killed"]
    return fault.began if killed or fault.ended is None else fault.ended
