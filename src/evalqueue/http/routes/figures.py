"""Figures of a run: its rows without their weight, what they come to, and single LLM calls; and
what runs have cost.

They are computed at each look, so that a run can be watched. Of a run that does not exist, or that
the caller may not see, pages are empty; what is one thing is not found.
"""

from dataclasses import replace
from datetime import UTC, datetime

from starlette.exceptions import HTTPException

from evalqueue.errors import Problem
from evalqueue.evaluators import figures
from evalqueue.evaluators.comparison.read import comparison_of, obstacle
from evalqueue.evaluators.prices import costs
from evalqueue.evaluators.results import rows
from evalqueue.http.callers import RequestContext
from evalqueue.http.models.comparison import ComparedRuns, RunComparison
from evalqueue.http.models.fields import RunId, matching_fields
from evalqueue.http.models.figures.costs import CostJson, Costs, CostsRequest
from evalqueue.http.models.figures.evaluators import EvaluatorDeclarationJson
from evalqueue.http.models.figures.rows import (
    ApiLogTexts,
    LogOfRun,
    OutcomeJson,
    Outcomes,
    OutcomesQuery,
    ScoreJson,
    ThreadDetail,
    ThreadOfRun,
    Trial,
    Trials,
    TrialsQuery,
    TurnJson,
)
from evalqueue.http.models.figures.statistics import RunStatistics
from evalqueue.http.models.jobs import ThreadEvaluation
from evalqueue.http.operations import Operation
from evalqueue.http.uploads import InvalidRequest


async def get_run_outcomes(context: RequestContext, request: OutcomesQuery) -> Outcomes:
    where = await context.measured(request.run_id, request.of_scores)
    excerpts = await context.threads_in_which(request.run_id, request.text)
    async with context.connection() as connection:
        page = await rows.outcomes(
            connection,
            request.run_id,
            after=request.after,
            limit=request.limit,
            owner=context.caller.visible_owner,
            where=replace(where, thread_ids=None if excerpts is None else list(excerpts)),
        )
    outcomes = [
        OutcomeJson.model_validate(
            replace(row, excerpt=excerpts.get(row.thread_id)) if excerpts else row
        )
        for row in page.outcomes
    ]
    return Outcomes(run_id=request.run_id, outcomes=outcomes, total=page.total)


async def get_run_trials(context: RequestContext, request: TrialsQuery) -> Trials:
    async with context.connection() as connection:
        page = await rows.trials(
            connection,
            request.run_id,
            after=request.after,
            limit=request.limit,
            owner=context.caller.visible_owner,
        )
    trials = [Trial.model_validate(row) for row in page.trials]
    return Trials(run_id=request.run_id, trials=trials, total=page.total)


async def get_run_statistics(context: RequestContext, request: RunId) -> RunStatistics:
    async with context.connection() as connection:
        found = await figures.statistics(
            connection, request.run_id, owner=context.caller.visible_owner
        )
    if found is None:
        raise HTTPException(404, "Run not found")
    return RunStatistics.model_validate(found)


async def get_run_thread(context: RequestContext, request: ThreadOfRun) -> ThreadDetail:
    async with context.connection() as connection:
        found = await rows.thread(
            connection, request.run_id, request.evaluation_id, owner=context.caller.visible_owner
        )
    if found is None:
        raise HTTPException(404, "Conversation not found")
    turns = None
    if found.turns is not None:
        turns = [TurnJson.model_validate(turn) for turn in found.turns]
    return ThreadDetail(
        evaluation=ThreadEvaluation.model_validate(found.evaluation),
        evaluators=[EvaluatorDeclarationJson.model_validate(each) for each in found.evaluators],
        scores=[ScoreJson.model_validate(each) for each in found.scores],
        turns=turns,
        dataset_id=found.dataset_id,
        previous_id=found.neighbours.previous_id,
        next_id=found.neighbours.next_id,
    )


async def get_run_log(context: RequestContext, request: LogOfRun) -> ApiLogTexts:
    async with context.connection() as connection:
        found = await rows.log(
            connection, request.run_id, request.log_id, owner=context.caller.visible_owner
        )
    if found is None:
        raise HTTPException(404, "LLM call not found")
    return ApiLogTexts.model_validate(found)


async def get_run_comparison(context: RequestContext, request: ComparedRuns) -> RunComparison:
    async with context.connection() as connection:
        found = await comparison_of(
            connection,
            candidate=request.run_id,
            baseline=request.baseline_id,
            owner=context.caller.visible_owner,
        )
    if found is None:
        raise HTTPException(404, "Run not found: one of the two")
    if reason := obstacle(found):
        loc = ("path", "baseline_id")
        raise InvalidRequest([Problem(loc=loc, msg=reason, type="not_comparable")])
    return RunComparison.model_validate(found)


async def list_costs(context: RequestContext, request: CostsRequest) -> Costs:
    now = datetime.now(UTC)
    since = request.since or datetime(now.year, now.month, 1, tzinfo=UTC)
    async with context.connection() as connection:
        found = await costs.costs(
            connection, request.by, since=since, owner=context.caller.visible_owner
        )
    priced = [CostJson(**matching_fields(CostJson, each)) for each in found]
    return Costs(by=request.by, since=since, costs=priced)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/outcomes",
        tag="figures",
        summary="What a run's conversations came to, without their results",
        handler=get_run_outcomes,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/trials",
        tag="figures",
        summary="What an adversarial test's trials came to, without their transcripts",
        handler=get_run_trials,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/statistics",
        tag="figures",
        summary="The figures of a run so far, with intervals",
        handler=get_run_statistics,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/comparison/{baseline_id}",
        tag="figures",
        summary="A run compared with a baseline, conversation by conversation",
        handler=get_run_comparison,
        errors=(404, 422, 503),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/threads/{evaluation_id}",
        tag="figures",
        summary="One conversation of a run: what was found in it, and its messages",
        handler=get_run_thread,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/logs/{log_id}",
        tag="figures",
        summary="One LLM call of a run, with prompt and answer",
        handler=get_run_log,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/costs",
        tag="runs",
        summary="What LLM calls have cost, by model, evaluator, run, owner or month",
        handler=list_costs,
        errors=(503,),
    ),
)
