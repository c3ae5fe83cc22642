"""The results of adversarial tests: rows, and the figures that are computed from them.

The figures are computed from the rows at each request, so they exist while a run is in progress and
after it was cancelled. Where `owner` is given, the runs of other owners are not visible.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from evalqueue.evaluators.adversarial import rates
from evalqueue.evaluators.adversarial import store as adversarial_store
from evalqueue.evaluators.adversarial.cases.case import Case
from evalqueue.evaluators.adversarial.store import QUERIES
from evalqueue.postgres.database import Connection

LISTED = 50  # trials, at most, unless all are asked for
ALL_LISTED = 10_000
LIVE_LISTED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversarialRow:
    """The result of one trial of one case."""

    id: int
    run_id: UUID
    category: str
    difficulty: str
    verdict: str | None
    goal_achieved: bool | None
    total_turns: int
    result: Mapping[str, Any]
    case_id: str
    trial: int
    label: str
    persona: str
    tactic: str | None
    stop_reason: str
    error: str | None
    """Why there is no verdict."""
    credential: str | None
    """The name of the credential that was used."""
    started_at: datetime | None
    """The start of the conversation. None: there was none."""
    ended_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRow:
    """A conversation without a verdict, with its turns so far."""

    case_id: str
    trial: int
    credential: str | None
    started_at: datetime
    ended_at: datetime | None
    """None: it is in progress, or was interrupted."""
    ending: Mapping[str, Any] | None
    is_live: bool
    """Whether a running attempt holds it."""
    exchanges: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSummary:
    """A finished trial, without its transcript."""

    case_id: str
    trial: int
    label: str
    category: str
    difficulty: str
    persona: str
    tactic: str | None
    verdict: str | None
    first_failing_turn: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why trials have no verdict."""

    who: str
    """`chatbot`, `adversarial_simulator` or `adversarial` (the judge)."""
    reason: str
    trials: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The results of an adversarial test so far."""

    summary: Mapping[str, Any]
    """The result of `rates.summarise`."""
    not_judged: Sequence[Reason]
    tests: Sequence[TrialSummary]
    """The worst first."""


async def of_run(connection: Connection, run_id: UUID, *, with_passed: bool = False) -> Findings:
    """The results of a run so far. `with_passed` includes the trials that passed in the list."""
    outcomes = await adversarial_store.outcomes(connection, run_id)
    return Findings(
        summary=rates.summarise(outcomes),
        not_judged=await QUERIES.rows(connection, Reason, "reasons", run_id=run_id),
        tests=await QUERIES.rows(
            connection,
            TrialSummary,
            "listed",
            run_id=run_id,
            with_passed=with_passed,
            limit=ALL_LISTED if with_passed else LISTED,
        ),
    )


async def evaluations(
    connection: Connection, run_id: UUID, *, after: int, limit: int, owner: str | None = None
) -> list[AdversarialRow]:
    """A run's trials in the order they were finished; `after`: the last id seen, or 0."""
    return await QUERIES.rows(
        connection,
        AdversarialRow,
        "evaluations",
        run_id=run_id,
        owner=owner,
        after=after,
        limit=limit,
    )


async def count(connection: Connection, run_id: UUID, *, owner: str | None = None) -> int:
    """How many trials of a run are finished."""
    arguments = {"run_id": run_id, "owner": owner}
    cursor = await connection.execute(QUERIES["count_evaluations"], arguments)
    row = await cursor.fetchone()
    return 0 if row is None else row[0]


async def case(
    connection: Connection, run_id: UUID, case_id: str, *, owner: str | None = None
) -> Case | None:
    """A case of the run. None: the run has no case with this id."""
    found = await adversarial_store.cases_of(connection, run_id, [case_id], owner=owner)
    return next(iter(found), None)


async def trials(
    connection: Connection, run_id: UUID, case_id: str, *, owner: str | None = None
) -> list[AdversarialRow]:
    """The finished trials of a case."""
    return await QUERIES.rows(
        connection, AdversarialRow, "trials", run_id=run_id, case_id=case_id, owner=owner
    )


def without_quotes(transcript: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A transcript without what a chatbot sent instead of an answer, as callers see it who are no
    administrators."""
    return [
        each | {"fault": each["fault"] | {"quote": ""}} if each.get("fault") else dict(each)
        for each in map(dict, transcript)
    ]


async def live(
    connection: Connection, run_id: UUID, *, case_id: str | None = None, owner: str | None = None
) -> list[LiveRow]:
    """Conversations without a verdict, oldest first, at most `LIVE_LISTED`."""
    return await QUERIES.rows(
        connection, LiveRow, "live", run_id=run_id, case_id=case_id, owner=owner, limit=LIVE_LISTED
    )
