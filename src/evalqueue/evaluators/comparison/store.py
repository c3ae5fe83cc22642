"""Reads what is compared: two runs, and the scores of the conversations that both have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreValue, declared
from evalqueue.evaluators.providers.registry import shown_model
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load

QUERIES = load("evaluation/comparison")

Direction = Literal["worse", "better", "other"]
"""Of a change: `other` leaves a value good, or not good, or is not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunRow:
    run_id: UUID
    command: str
    status: str
    name: str | None
    app_id: str | None
    llm_provider: str | None
    llm_model: str | None
    dataset_id: str | None
    created_at: datetime
    evaluators: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """One of the two runs."""

    run_id: UUID
    command: str
    status: str
    name: str | None
    app_id: str | None
    judge: str
    """Provider and model."""
    dataset_id: str | None
    created_at: datetime
    declarations: Sequence[EvaluatorDeclaration]
    """Of its evaluators, as they were when it began."""
    versions: Mapping[str, Sequence[str]]
    """Of each evaluator, those that have scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPair:
    """The runs that are compared."""

    candidate: ComparedRun
    baseline: ComparedRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversations:
    """How many conversations are compared."""

    candidate: int
    baseline: int
    both: int
    changed: int
    """Of those that both have, how many are stored with other messages, or by one run only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChange:
    """How many conversations had one value in the baseline, and have another or the same now."""

    evaluator: str
    name: str
    before: str
    after: str
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberChange:
    """What the mean difference of a number is made of."""

    evaluator: str
    name: str
    pairs: int
    before: float
    """The mean in the baseline."""
    after: float
    total: float
    """Of the differences, candidate minus baseline."""
    squares: float
    higher: int
    lower: int
    largest: float
    """Of the differences, either way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedLabel:
    """A change from one label to another, and how it is listed."""

    evaluator: str
    name: str
    before: str
    after: str
    direction: Direction
    severity: float
    """From 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedNumber:
    """How differences of a number are listed."""

    evaluator: str
    name: str
    higher: Direction
    lower: Direction
    scale: float
    """The difference that has the severity 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A conversation whose score is another one now."""

    thread_id: str
    evaluator: str
    name: str
    direction: Direction
    candidate_id: int
    """Of its row in the candidate's results."""
    baseline_id: int
    before: ScoreValue
    after: ScoreValue


@dataclass(frozen=True, slots=True, kw_only=True)
class _Versions:
    run_id: UUID
    evaluator: str
    versions: Sequence[str]


async def run_pair(
    connection: Connection, *, candidate: UUID, baseline: UUID, owner: str | None
) -> RunPair | None:
    """Both runs; None: one of them does not exist for this owner (None: any)."""
    ids = {"candidate": candidate, "baseline": baseline}
    rows = await QUERIES.rows(connection, _RunRow, "runs", owner=owner, **ids)
    versions = await QUERIES.rows(connection, _Versions, "versions", **ids)
    runs = {row.run_id: _run(row, versions) for row in rows}
    if candidate not in runs or baseline not in runs:
        return None
    return RunPair(candidate=runs[candidate], baseline=runs[baseline])


async def conversations(connection: Connection, runs: RunPair) -> Conversations:
    (found,) = await QUERIES.rows(
        connection,
        Conversations,
        "conversations",
        candidate_dataset=runs.candidate.dataset_id,
        baseline_dataset=runs.baseline.dataset_id,
        **_ids(runs),
    )
    return found


async def labels(connection: Connection, runs: RunPair) -> list[LabelChange]:
    return await QUERIES.rows(connection, LabelChange, "labels", **_ids(runs))


async def numbers(connection: Connection, runs: RunPair) -> list[NumberChange]:
    return await QUERIES.rows(connection, NumberChange, "numbers", **_ids(runs))


async def flips(
    connection: Connection,
    runs: RunPair,
    labels: Sequence[ChangedLabel],
    numbers: Sequence[ChangedNumber],
    *,
    limit: int,
) -> list[Flip]:
    """Conversations with one of these changes: so many of each direction, the severest first."""
    return await QUERIES.rows(
        connection,
        Flip,
        "flips",
        label_evaluators=[each.evaluator for each in labels],
        label_names=[each.name for each in labels],
        befores=[each.before for each in labels],
        afters=[each.after for each in labels],
        directions=[each.direction for each in labels],
        severities=[each.severity for each in labels],
        number_evaluators=[each.evaluator for each in numbers],
        number_names=[each.name for each in numbers],
        highers=[each.higher for each in numbers],
        lowers=[each.lower for each in numbers],
        scales=[each.scale for each in numbers],
        limit=limit,
        **_ids(runs),
    )


def _ids(runs: RunPair) -> dict[str, UUID]:
    return {"candidate": runs.candidate.run_id, "baseline": runs.baseline.run_id}


def _run(row: _RunRow, versions: Sequence[_Versions]) -> ComparedRun:
    return ComparedRun(
        run_id=row.run_id,
        command=row.command,
        status=row.status,
        name=row.name,
        app_id=row.app_id,
        judge=shown_model(row.llm_provider, row.llm_model),
        dataset_id=row.dataset_id,
        created_at=row.created_at,
        declarations=declared(row.evaluators),
        versions={e.evaluator: e.versions for e in versions if e.run_id == row.run_id},
    )
