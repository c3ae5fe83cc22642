"""What a run comes to, for whoever looks: rows without their weight, and the figures made of them.

All of it is computed from the rows at each look, so that it is there while a run goes on, and after
it was cancelled or has failed. Others' runs than `owner`'s are as if they were not there; None:
everybody's are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from evalqueue.evaluators.adversarial import rates
from evalqueue.evaluators.adversarial import store as adversarial_store
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.batch import distributions
from evalqueue.evaluators.batch.distributions import BatchStatistics
from evalqueue.evaluators.batch.job_type import EvaluateBatch
from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.judging.evaluator import Coverage
from evalqueue.evaluators.runs import store
from evalqueue.evaluators.statistics import latencies
from evalqueue.evaluators.statistics.latencies import LlmStatistics
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load

QUERIES = load("evaluation/figures")

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHead:
    """A run, as far as figures need it."""

    run_id: UUID
    command: str
    status: str
    total_items: int | None
    dataset_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """What a thread came to, without its result."""

    id: int
    thread_id: str
    intent_accuracy: float | None
    worst_correctness: str | None
    efficiency_verdict: str | None
    success_status: bool | None
    error: str | None
    """Why nothing at all could be measured."""
    missing_verdicts: int
    messages: int | None
    duration_ms: float
    created_at: datetime

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
class Statistics:
    """The figures of a run so far."""

    run_id: UUID
    command: str
    status: str
    total_items: int | None
    batch: BatchStatistics | None
    """None: the run is of another kind."""
    adversarial: Mapping[str, Any] | None
    """As `attack.summarise` makes it; None: the run is of another kind."""
    llm: LlmStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The threads of a run that stand beside one of them; None: it is the outermost."""

    previous_id: int | None
    next_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadView:
    """One thread of a run: what was found in it, what was said in it, and where it stands."""

    evaluation: store.ThreadRow
    turns: Sequence[Turn] | None
    """None: what was said isn't kept, or is kept no longer."""
    dataset_id: str | None
    beside: Beside


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTexts(store.LogRow):
    """One attempt at one LLM call, with its texts, as they were cleaned and cut to be stored."""

    prompt: str
    system_prompt: str | None
    response: str | None
    """None: there was none."""
    request_id: str | None
    """The vendor's."""


async def outcomes(
    connection: Connection, run_id: UUID, *, after: int, limit: int, owner: str | None
) -> Page:
    """Threads in the order they were begun to be kept; `after`: the last id seen, or 0."""
    if await _head(connection, run_id, owner) is None:
        return Page(outcomes=[], total=0)
    return Page(
        outcomes=await QUERIES.rows(
            connection, OutcomeRow, "outcomes", run_id=run_id, after=after, limit=limit
        ),
        total=await _count(connection, "count_outcomes", run_id),
    )


async def trials(
    connection: Connection, run_id: UUID, *, after: int, limit: int, owner: str | None
) -> TrialsPage:
    """Trials, likewise."""
    if await _head(connection, run_id, owner) is None:
        return TrialsPage(trials=[], total=0)
    return TrialsPage(
        trials=await QUERIES.rows(
            connection, TrialRow, "trials", run_id=run_id, after=after, limit=limit
        ),
        total=await _count(connection, "count_trials", run_id),
    )


async def statistics(
    connection: Connection, run_id: UUID, *, owner: str | None
) -> Statistics | None:
    """The figures of a run, all of the same moment; None: there is no such run.

    Not to be called inside of a transaction: it needs one of its own.
    """
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        head = await _head(connection, run_id, owner)
        if head is None:
            return None
        is_batch = head.command == EvaluateBatch.job_type
        is_stress = head.command == EvaluateAdversarial.job_type
        return Statistics(
            run_id=head.run_id,
            command=head.command,
            status=head.status,
            total_items=head.total_items,
            batch=await _batch(connection, run_id) if is_batch else None,
            adversarial=await _adversarial(connection, head) if is_stress else None,
            llm=await _llm(connection, run_id),
        )


async def thread(
    connection: Connection, run_id: UUID, evaluation_id: int, *, owner: str | None
) -> ThreadView | None:
    """One thread of a run; None: it has none of this id."""
    head = await _head(connection, run_id, owner)
    if head is None:
        return None
    place: dict[str, Any] = {"run_id": run_id, "evaluation_id": evaluation_id}
    found = await QUERIES.rows(connection, store.ThreadRow, "thread", **place)
    if not found:
        return None
    (beside,) = await QUERIES.rows(connection, Beside, "beside", **place)
    said: Thread | None = None
    if head.dataset_id is not None:
        said = await datasets.thread(connection, head.dataset_id, found[0].thread_id)
    return ThreadView(
        evaluation=found[0],
        turns=None if said is None else said.turns,
        dataset_id=head.dataset_id,
        beside=beside,
    )


async def log(
    connection: Connection, run_id: UUID, log_id: int, *, owner: str | None
) -> LogTexts | None:
    """One LLM call of a run; None: it has none of this id."""
    if await _head(connection, run_id, owner) is None:
        return None
    found = await QUERIES.rows(connection, LogTexts, "log", run_id=run_id, log_id=log_id)
    return next(iter(found), None)


async def _batch(connection: Connection, run_id: UUID) -> BatchStatistics:
    cursor = await connection.execute(QUERIES["coverage"], {"run_id": run_id})
    covered = {
        evaluator: Coverage(judged=judged, attempted=attempted)
        for evaluator, judged, attempted in await cursor.fetchall()
    }
    return distributions.of_batch(
        await QUERIES.rows(connection, distributions.Tally, "counts", run_id=run_id),
        await QUERIES.rows(connection, distributions.Pair, "pairs", run_id=run_id),
        covered,
        await QUERIES.rows(connection, distributions.MissingVerdicts, "failures", run_id=run_id),
    )


async def _adversarial(connection: Connection, head: RunHead) -> Mapping[str, Any]:
    found = await adversarial_store.outcomes(connection, head.run_id)
    return rates.summarise(found, head.total_items)


async def _llm(connection: Connection, run_id: UUID) -> LlmStatistics:
    evaluators = await QUERIES.rows(connection, latencies.Calls, "calls", run_id=run_id)
    edges, starts = latencies.edges(evaluators), latencies.starts(evaluators)
    bins: list[latencies.Bin] = []
    busy: list[latencies.Busy] = []
    if edges:
        bins = await QUERIES.rows(
            connection, latencies.Bin, "latencies", run_id=run_id, edges=list(edges)
        )
    if starts:
        busy = await QUERIES.rows(
            connection, latencies.Busy, "timeline", run_id=run_id, starts=list(starts)
        )
    return latencies.of_calls(evaluators, edges, bins, starts, busy)


async def _head(connection: Connection, run_id: UUID, owner: str | None) -> RunHead | None:
    return next(
        iter(await QUERIES.rows(connection, RunHead, "run", run_id=run_id, owner=owner)), None
    )


async def _count(connection: Connection, query: str, run_id: UUID) -> int:
    cursor = await connection.execute(QUERIES[query], {"run_id": run_id})
    row = await cursor.fetchone()
    return 0 if row is None else row[0]
