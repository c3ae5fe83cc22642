"""What evaluation jobs found: runs, and under each its threads and LLM calls.

Under a run that does not exist, or that the caller does not see, there is nothing: an empty page,
not an error.
"""

from pydantic import TypeAdapter
from starlette.exceptions import HTTPException

from evalqueue.evaluators.runs import store
from evalqueue.http.callers import Call
from evalqueue.http.models import jobs as json
from evalqueue.http.operations import AnyOperation, Nothing, Operation


async def list_eval_runs(call: Call, asked: json.RunsQuery) -> list[json.EvalRun]:
    async with (await call.client.database()).connection() as connection:
        found = await store.list_runs(
            connection,
            command=asked.command,
            owner=call.caller.sees,
            limit=asked.limit,
            offset=asked.offset,
        )
    return [json.EvalRun.model_validate(run) for run in found]


async def get_summary_stats(call: Call, _asked: Nothing) -> json.SummaryStats:
    async with (await call.client.database()).connection() as connection:
        found = await store.stats(connection, owner=call.caller.sees)
    return json.SummaryStats.model_validate(found)


async def get_eval_run(call: Call, asked: json.RunId) -> json.EvalRun:
    async with (await call.client.database()).connection() as connection:
        run = await store.get_run(connection, asked.run_id, owner=call.caller.sees)
    if run is None:
        raise HTTPException(404, "Run not found")
    return json.EvalRun.model_validate(run)


async def get_run_threads(call: Call, asked: json.ResultsQuery) -> json.ThreadEvaluations:
    async with (await call.client.database()).connection() as connection:
        page = await store.threads_of(
            connection,
            asked.run_id,
            owner=call.caller.sees,
            after=asked.after,
            limit=asked.limit,
        )
        total = await store.count_threads(connection, asked.run_id, owner=call.caller.sees)
    evaluations = [json.ThreadEvaluation.model_validate(row) for row in page]
    return json.ThreadEvaluations(run_id=asked.run_id, evaluations=evaluations, total=total)


async def get_run_logs(call: Call, asked: json.LogsQuery) -> json.ApiLogs:
    async with (await call.client.database()).connection() as connection:
        page = await store.logs_of(
            connection,
            asked.run_id,
            limit=asked.limit,
            offset=asked.offset,
            thread_id=asked.thread_id,
            owner=call.caller.sees,
        )
    return json.ApiLogs(run_id=asked.run_id, logs=[json.ApiLog.model_validate(row) for row in page])


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/api/eval-runs",
        tag="eval-runs",
        summary="List runs, newest first",
        asks=json.RunsQuery,
        tells=TypeAdapter(list[json.EvalRun]),
        answer=list_eval_runs,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/stats/summary",
        tag="eval-runs",
        summary="Totals over all runs that you see",
        asks=Nothing,
        tells=TypeAdapter(json.SummaryStats),
        answer=get_summary_stats,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}",
        tag="eval-runs",
        summary="One run",
        asks=json.RunId,
        tells=TypeAdapter(json.EvalRun),
        answer=get_eval_run,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/threads",
        tag="eval-runs",
        summary="A run's conversations, in the order they were finished",
        asks=json.ResultsQuery,
        tells=TypeAdapter(json.ThreadEvaluations),
        answer=get_run_threads,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/logs",
        tag="eval-runs",
        summary="A run's LLM calls, newest first, without prompts and answers",
        asks=json.LogsQuery,
        tells=TypeAdapter(json.ApiLogs),
        answer=get_run_logs,
        errors=(503,),
    ),
)
