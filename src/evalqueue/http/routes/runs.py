"""What evaluation jobs found: runs, and under each its threads and LLM calls.

Under a run that does not exist, or that the caller does not see, there is nothing: an empty page,
not an error.
"""

from dataclasses import replace

from starlette.exceptions import HTTPException

from evalqueue.evaluators.runs import reading
from evalqueue.http.callers import RequestContext
from evalqueue.http.models import jobs as models
from evalqueue.http.models.fields import RunId
from evalqueue.http.operations import EmptyRequest, Operation


async def list_eval_runs(
    context: RequestContext, request: models.RunsQuery
) -> list[models.EvalRun]:
    async with context.connection() as connection:
        found = await reading.list_runs(
            connection,
            command=request.command,
            app_id=request.app_id,
            owner=context.caller.visible_owner,
            limit=request.limit,
            offset=request.offset,
        )
    return [models.EvalRun.model_validate(run) for run in found]


async def get_summary_stats(context: RequestContext, request: EmptyRequest) -> models.SummaryStats:
    async with context.connection() as connection:
        found = await reading.stats(connection, owner=context.caller.visible_owner)
    return models.SummaryStats.model_validate(found)


async def get_eval_run(context: RequestContext, request: RunId) -> models.EvalRun:
    async with context.connection() as connection:
        run = await reading.get_run(connection, request.run_id, owner=context.caller.visible_owner)
    if run is None:
        raise HTTPException(404, "Run not found")
    return models.EvalRun.model_validate(run)


async def get_run_threads(
    context: RequestContext, request: models.ResultsQuery
) -> models.ThreadEvaluations:
    owner = context.caller.visible_owner
    measured = await context.measured(request.run_id, request.of_scores)
    excerpts = await context.threads_in_which(request.run_id, request.text)
    where = replace(measured, thread_ids=None if excerpts is None else list(excerpts))
    async with context.connection() as connection:
        page = await reading.threads_of(
            connection,
            request.run_id,
            owner=owner,
            after=request.after,
            limit=request.limit,
            where=where,
        )
        total = await reading.count_threads(connection, request.run_id, owner=owner, where=where)
    evaluations = [models.ThreadEvaluation.model_validate(row) for row in page]
    return models.ThreadEvaluations(run_id=request.run_id, evaluations=evaluations, total=total)


async def get_run_logs(context: RequestContext, request: models.LogsQuery) -> models.ApiLogs:
    async with context.connection() as connection:
        page = await reading.logs_of(
            connection,
            request.run_id,
            limit=request.limit,
            offset=request.offset,
            thread_id=request.thread_id,
            owner=context.caller.visible_owner,
        )
    return models.ApiLogs(
        run_id=request.run_id, logs=[models.ApiLog.model_validate(row) for row in page]
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/api/eval-runs",
        tag="eval-runs",
        summary="List runs, newest first",
        handler=list_eval_runs,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/stats/summary",
        tag="eval-runs",
        summary="Totals over all runs that you see",
        handler=get_summary_stats,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}",
        tag="eval-runs",
        summary="One run",
        handler=get_eval_run,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/threads",
        tag="eval-runs",
        summary="A run's conversations, in the order they were finished",
        handler=get_run_threads,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/logs",
        tag="eval-runs",
        summary="A run's LLM calls, newest first, without prompts and answers",
        handler=get_run_logs,
        errors=(503,),
    ),
)
