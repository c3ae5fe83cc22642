"""The statistics of a run.

They are computed from the rows for each request, so that they exist while a run goes on, and after
it was cancelled or failed. With an `owner`, the runs of other owners are not found; with None, all
runs are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from evalqueue.evaluators.adversarial import rates
from evalqueue.evaluators.adversarial import store as adversarial_store
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.batch import distributions
from evalqueue.evaluators.batch.distributions import BatchStatistics, ScoreCounts
from evalqueue.evaluators.batch.estimates import relative_error
from evalqueue.evaluators.batch.job_type import EvaluateBatch
from evalqueue.evaluators.judging.evaluator import Coverage
from evalqueue.evaluators.results.rows import QUERIES, RunHead, head_of
from evalqueue.evaluators.statistics import latencies
from evalqueue.evaluators.statistics.latencies import LlmStatistics
from evalqueue.postgres.database import Connection


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


async def statistics(
    connection: Connection, run_id: UUID, *, owner: str | None
) -> RunFigures | None:
    """The figures of a run, all of the same moment; None: there is no such run.

    Not to be called inside of a transaction: it needs one of its own.
    """
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        head = await head_of(connection, run_id, owner)
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
