"""The statistics of a run, and its rows without their details.

They are computed from the rows for each request, so that they exist while a run goes on, and after
it was cancelled or failed. With an `owner`, the runs of other owners are not found; with None, all
runs are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar, cast
from uuid import UUID

from evalqueue.evaluators.adversarial import rates
from evalqueue.evaluators.adversarial import store as adversarial_store
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.batch import distributions
from evalqueue.evaluators.batch.distributions import BatchStatistics, ScoreCounts
from evalqueue.evaluators.batch.estimates import relative_error
from evalqueue.evaluators.batch.job_type import EvaluateBatch
from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.judging.evaluator import Coverage
from evalqueue.evaluators.judging.registry import installed
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreValue, declared
from evalqueue.evaluators.runs import store
from evalqueue.evaluators.runs.store import ALL_THREADS, ThreadFilter
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
class EstimateErrors:
    """By how much an estimate was too high (above 0) or too low, as a part of what was used.

    None: it was not estimated, or is not known.
    """

    tokens: float | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures:
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
    estimate: Mapping[str, Any] | None
    """What its calls might use, before the first was made."""
    estimate_errors: EstimateErrors | None
    """None: the run is not completed, nothing was estimated, or answers were reused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadCounts:
    """How many threads a run has worked on, and in how many nothing at all could be measured."""

    threads: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The threads of a run that stand beside one of them; None: it is the outermost."""

    previous_id: int | None
    next_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadView:
    """One thread of a run: what was found in it, what was said in it, and where it stands."""

    evaluation: store.ThreadRow
    scores: Sequence[StoredScore]
    evaluators: Sequence[EvaluatorDeclaration]
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
    parameters: Mapping[str, Any] | None
    """What was really sent besides the texts, in the vendor's spelling."""


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
    if await _head(connection, run_id, owner) is None:
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
    if await _head(connection, run_id, owner) is None:
        return TrialsPage(trials=[], total=0)
    return TrialsPage(
        trials=await QUERIES.rows(
            connection, TrialRow, "trials", run_id=run_id, after=after, limit=limit
        ),
        total=await _count(connection, "count_trials", run_id=run_id),
    )


async def statistics(
    connection: Connection, run_id: UUID, *, owner: str | None
) -> RunFigures | None:
    """The figures of a run, all of the same moment; None: there is no such run.

    Not to be called inside of a transaction: it needs one of its own.
    """
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        head = await _head(connection, run_id, owner)
        if head is None:
            return None
        is_batch = head.command == EvaluateBatch.job_type
        is_adversarial = head.command == EvaluateAdversarial.job_type
        llm = await _llm(connection, run_id)
        return RunFigures(
            run_id=head.run_id,
            command=head.command,
            status=head.status,
            total_items=head.total_items,
            batch=await _batch(connection, head) if is_batch else None,
            adversarial=await _adversarial(connection, head) if is_adversarial else None,
            llm=llm,
            estimate=head.estimate,
            estimate_errors=_estimate_errors(head, llm),
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
        scores=await QUERIES.rows(connection, StoredScore, "scores", **place),
        evaluators=head.declarations,
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


async def _batch(connection: Connection, head: RunHead) -> BatchStatistics:
    run_id, declarations = head.run_id, head.declarations
    cursor = await connection.execute(QUERIES["coverage"], {"run_id": run_id})
    covered = {
        evaluator: Coverage(judged=judged, attempted=attempted)
        for evaluator, judged, attempted in await cursor.fetchall()
    }
    # Labels from the data are too many to be counted but in pairs.
    compared = [
        (each.name, score.name)
        for each in declarations
        for score in each.scores
        if score.has_expected
    ]
    these: dict[str, Any] = {
        "run_id": run_id,
        "open_evaluators": [evaluator for evaluator, _ in compared],
        "open_names": [name for _, name in compared],
    }
    counts = ScoreCounts(
        labels=await QUERIES.rows(connection, distributions.LabelCount, "labels", run_id=run_id),
        turn_labels=await QUERIES.rows(
            connection, distributions.TurnLabels, "turn_labels", **these
        ),
        numbers=await QUERIES.rows(connection, distributions.NumberSums, "numbers", run_id=run_id),
        pairs=await QUERIES.rows(connection, distributions.LabelPair, "pairs", **these),
        compared=await QUERIES.rows(connection, distributions.ComparedLabels, "compared", **these),
    )
    (threads,) = await QUERIES.rows(connection, ThreadCounts, "threads_counted", run_id=run_id)
    return BatchStatistics(
        threads=threads.threads,
        failed=threads.failed,
        evaluators=[
            distributions.of_evaluator(each, counts, covered.get(each.name, Coverage()))
            for each in declarations
        ],
        coverage=covered,
        failures=await QUERIES.rows(
            connection, distributions.MissingScores, "failures", run_id=run_id
        ),
    )


async def _adversarial(connection: Connection, head: RunHead) -> Mapping[str, Any]:
    found = await adversarial_store.outcomes(connection, head.run_id)
    return rates.summarise(found, head.total_items)


async def _llm(connection: Connection, run_id: UUID) -> LlmStatistics:
    evaluators = await QUERIES.rows(connection, latencies.EvaluatorCalls, "calls", run_id=run_id)
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


def _estimate_errors(head: RunHead, llm: LlmStatistics) -> EstimateErrors | None:
    is_over = head.status in {"completed", "completed_with_errors"}
    estimate = cast("Mapping[str, Any] | None", head.estimate)
    if estimate is None or not is_over or llm.reused_calls:
        return None
    expected = estimate["tokens_in"]["expected"] + estimate["tokens_out"]["expected"]
    used = (llm.tokens_in or 0) + (llm.tokens_out or 0)
    cost: Mapping[str, str] | None = estimate["cost_usd"]
    cost_error = None
    if cost is not None and llm.cost_usd is not None and not llm.unpriced_calls:
        cost_error = relative_error(Decimal(cost["expected"]), llm.cost_usd)
    return EstimateErrors(
        tokens=relative_error(Decimal(expected), Decimal(used)), cost_usd=cost_error
    )


async def _head(connection: Connection, run_id: UUID, owner: str | None) -> RunHead | None:
    return next(
        iter(await QUERIES.rows(connection, RunHead, "run", run_id=run_id, owner=owner)), None
    )


async def _count(connection: Connection, query: str, **arguments: Any) -> int:
    cursor = await connection.execute(QUERIES[query], arguments)
    row = await cursor.fetchone()
    return 0 if row is None else row[0]
