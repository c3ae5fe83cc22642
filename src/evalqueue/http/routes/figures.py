"""Figures of a run: its rows without their weight, what they come to, and single LLM calls.

They are computed at each look, so that a run can be watched. Of a run that does not exist, or that
the caller may not see, pages are empty; what is one thing is not found.
"""

from pydantic import TypeAdapter
from starlette.exceptions import HTTPException

from evalqueue.evaluators import figures
from evalqueue.http.callers import Call
from evalqueue.http.models import figures as json
from evalqueue.http.models.jobs import RunId, ThreadEvaluation
from evalqueue.http.operations import AnyOperation, Operation


async def get_run_outcomes(call: Call, asked: json.OutcomesQuery) -> json.Outcomes:
    async with (await call.client.database()).connection() as connection:
        page = await figures.outcomes(
            connection,
            asked.run_id,
            after=asked.after,
            limit=asked.limit,
            owner=call.caller.sees,
        )
    outcomes = [json.Outcome.model_validate(row) for row in page.outcomes]
    return json.Outcomes(run_id=asked.run_id, outcomes=outcomes, total=page.total)


async def get_run_trials(call: Call, asked: json.TrialsQuery) -> json.Trials:
    async with (await call.client.database()).connection() as connection:
        page = await figures.trials(
            connection,
            asked.run_id,
            after=asked.after,
            limit=asked.limit,
            owner=call.caller.sees,
        )
    trials = [json.Trial.model_validate(row) for row in page.trials]
    return json.Trials(run_id=asked.run_id, trials=trials, total=page.total)


async def get_run_statistics(call: Call, asked: RunId) -> json.RunStatistics:
    async with (await call.client.database()).connection() as connection:
        found = await figures.statistics(connection, asked.run_id, owner=call.caller.sees)
    if found is None:
        raise HTTPException(404, "Run not found")
    return json.RunStatistics.model_validate(found)


async def get_run_thread(call: Call, asked: json.ThreadOfRun) -> json.ThreadDetail:
    async with (await call.client.database()).connection() as connection:
        found = await figures.thread(
            connection, asked.run_id, asked.evaluation_id, owner=call.caller.sees
        )
    if found is None:
        raise HTTPException(404, "Conversation not found")
    said = None
    if found.turns is not None:
        said = [json.Turn.model_validate(turn) for turn in found.turns]
    return json.ThreadDetail(
        evaluation=ThreadEvaluation.model_validate(found.evaluation),
        turns=said,
        dataset_id=found.dataset_id,
        previous_id=found.beside.previous_id,
        next_id=found.beside.next_id,
    )


async def get_run_log(call: Call, asked: json.LogOfRun) -> json.ApiLogTexts:
    async with (await call.client.database()).connection() as connection:
        found = await figures.log(connection, asked.run_id, asked.log_id, owner=call.caller.sees)
    if found is None:
        raise HTTPException(404, "LLM call not found")
    return json.ApiLogTexts.model_validate(found)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/outcomes",
        tag="figures",
        summary="What a run's conversations came to, without their results",
        asks=json.OutcomesQuery,
        tells=TypeAdapter(json.Outcomes),
        answer=get_run_outcomes,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/trials",
        tag="figures",
        summary="What a stress test's trials came to, without their transcripts",
        asks=json.TrialsQuery,
        tells=TypeAdapter(json.Trials),
        answer=get_run_trials,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/statistics",
        tag="figures",
        summary="The figures of a run so far, with intervals",
        asks=RunId,
        tells=TypeAdapter(json.RunStatistics),
        answer=get_run_statistics,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/threads/{evaluation_id}",
        tag="figures",
        summary="One conversation of a run: what was found in it, and what was said",
        asks=json.ThreadOfRun,
        tells=TypeAdapter(json.ThreadDetail),
        answer=get_run_thread,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/logs/{log_id}",
        tag="figures",
        summary="One LLM call of a run, with prompt and answer",
        asks=json.LogOfRun,
        tells=TypeAdapter(json.ApiLogTexts),
        answer=get_run_log,
        errors=(404, 503),
    ),
)
