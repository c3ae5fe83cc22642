"""The rows of a run: its threads and trials without their details, one thread, one LLM call.

With an `owner`, the runs of other owners are not found; with None, all runs are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.judging.registry import installed
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreValue, declared
from evalqueue.evaluators.runs import reading
from evalqueue.evaluators.runs.reading import ALL_THREADS, ThreadFilter
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load

QUERIES = load("evaluation/figures")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHead:
    """A run, as far as figures need it."""

    run_id: UUID
    command: str
    status: str
    total_items: int | None
    dataset_id: str | None
    evaluators: Any
    """JSON, as the run has frozen it."""
    estimate: Any
    """Likewise."""

    @property
    def declarations(self) -> list[EvaluatorDeclaration]:
        """What the run's evaluators declare; before it begins, those that are installed."""
        if not isinstance(self.evaluators, list):
            kinds = installed().values()
            return [e.declaration for e in kinds if not e.is_optional and not e.on_request]
        return declared(cast("object", self.evaluators))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """What a thread came to, without its result."""

    id: int
    thread_id: str
    success_status: bool | None
    error: str | None
    """Why nothing at all could be measured."""
    missing_verdicts: int
    messages: int | None
    duration_ms: float
    created_at: datetime
    scores: Mapping[str, ScoreValue | None]
    """Of the whole thread: `evaluator.name`: value."""
    excerpt: str | None = None
    """The text around what is searched for."""

    @property
    def failed(self) -> bool:
        return self.error is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """What a trial of a case came to, without its transcript."""

    id: int
    case_id: str
    trial: int
    label: str
    category: str
    difficulty: str
    persona: str
    tactic: str | None
    verdict: str | None
    goal_achieved: bool | None
    total_turns: int
    stop_reason: str
    error: str | None
    """Why there is no verdict."""
    credential: str | None
    first_failing_turn: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Rows of a run, and how many it has in all."""

    outcomes: list[OutcomeRow]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialsPage:
    """Trials of a run, and how many it has in all."""

    trials: list[TrialRow]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredScore:
    """A score of a thread, or of one of its turns."""

    evaluator: str
    version: str
    name: str
    kind: str
    turn: int | None
    value: ScoreValue | None
    expected: str | None
    evidence: Any
    reasoning: str | None
    failure: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbouringThreads:
    """The threads of a run that stand beside one of them; None: it is the outermost."""

    previous_id: int | None
    next_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadView:
    """One thread of a run: what was found in it, its messages, and where it stands."""

    evaluation: reading.ThreadRow
    scores: Sequence[StoredScore]
    evaluators: Sequence[EvaluatorDeclaration]
    turns: Sequence[Turn] | None
    """None: its messages are not stored, or no longer."""
    dataset_id: str | None
    neighbours: NeighbouringThreads


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTexts(reading.LogRow):
    """One attempt at one LLM call, with its texts, as they were cleaned and cut to be stored."""

    prompt: str
    system_prompt: str | None
    response: str | None
    """None: there was none."""
    request_id: str | None
    """The vendor's."""
    parameters: Mapping[str, Any] | None
    """What was really sent besides the texts, in the vendor's spelling."""


class UnknownScore(ValueError):
    """A run has no such evaluator, or the evaluator no such score."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        """Of the filter: `evaluator` or `name`."""


def check_filter(where: ThreadFilter, declarations: Sequence[EvaluatorDeclaration]) -> None:
    """Refuse a filter by what a run does not measure.

    Raises:
        UnknownScore: with what it measures.
    """
    there = {each.name: each for each in declarations}
    if where.evaluator is not None and where.evaluator not in there:
        raise UnknownScore(
            "evaluator",
            f"the run has no evaluator {where.evaluator}. It has: {', '.join(there)}",
        )
    asked = [*there.values()] if where.evaluator is None else [there[where.evaluator]]
    if where.name is not None and all(each.score(where.name) is None for each in asked):
        names = dict.fromkeys(score.name for each in asked for score in each.scores)
        raise UnknownScore(
            "name",
            f"{where.evaluator or 'the run'} has no score {where.name}. It has: {', '.join(names)}",
        )


async def refuse_unmeasured(
    connection: Connection, run_id: UUID, where: ThreadFilter, *, owner: str | None
) -> None:
    """Refuse a filter by what a run does not measure, once it is known what it measures.

    Raises:
        UnknownScore: with what it measures.
    """
    head = await head_of(connection, run_id, owner)
    if head is not None and isinstance(head.evaluators, list):
        check_filter(where, head.declarations)


async def outcomes(
    connection: Connection,
    run_id: UUID,
    *,
    after: int,
    limit: int,
    owner: str | None,
    where: ThreadFilter = ALL_THREADS,
) -> Page:
    """Threads in the order they were begun to be kept; `after`: the last id seen, or 0."""
    if await head_of(connection, run_id, owner) is None:
        return Page(outcomes=[], total=0)
    return Page(
        outcomes=await QUERIES.rows(
            connection,
            OutcomeRow,
            "outcomes",
            run_id=run_id,
            after=after,
            limit=limit,
            **where.arguments(),
        ),
        total=await _count(connection, "count_outcomes", run_id=run_id, **where.arguments()),
    )


async def trials(
    connection: Connection, run_id: UUID, *, after: int, limit: int, owner: str | None
) -> TrialsPage:
    """Trials, likewise."""
    if await head_of(connection, run_id, owner) is None:
        return TrialsPage(trials=[], total=0)
    return TrialsPage(
        trials=await QUERIES.rows(
            connection, TrialRow, "trials", run_id=run_id, after=after, limit=limit
        ),
        total=await _count(connection, "count_trials", run_id=run_id),
    )


async def thread(
    connection: Connection, run_id: UUID, evaluation_id: int, *, owner: str | None
) -> ThreadView | None:
    """One thread of a run; None: it has none of this id."""
    head = await head_of(connection, run_id, owner)
    if head is None:
        return None
    place: dict[str, Any] = {"run_id": run_id, "evaluation_id": evaluation_id}
    found = await QUERIES.rows(connection, reading.ThreadRow, "thread", **place)
    if not found:
        return None
    (neighbours,) = await QUERIES.rows(connection, NeighbouringThreads, "beside", **place)
    stored: Thread | None = None
    if head.dataset_id is not None:
        stored = await datasets.thread(connection, head.dataset_id, found[0].thread_id)
    return ThreadView(
        evaluation=found[0],
        scores=await QUERIES.rows(connection, StoredScore, "scores", **place),
        evaluators=head.declarations,
        turns=None if stored is None else stored.turns,
        dataset_id=head.dataset_id,
        neighbours=neighbours,
    )


async def log(
    connection: Connection, run_id: UUID, log_id: int, *, owner: str | None
) -> LogTexts | None:
    """One LLM call of a run; None: it has none of this id."""
    if await head_of(connection, run_id, owner) is None:
        return None
    found = await QUERIES.rows(connection, LogTexts, "log", run_id=run_id, log_id=log_id)
    return next(iter(found), None)


async def head_of(connection: Connection, run_id: UUID, owner: str | None) -> RunHead | None:
    return next(
        iter(await QUERIES.rows(connection, RunHead, "run", run_id=run_id, owner=owner)), None
    )


async def _count(connection: Connection, query: str, **arguments: Any) -> int:
    cursor = await connection.execute(QUERIES[query], arguments)
    row = await cursor.fetchone()
    return 0 if row is None else row[0]
