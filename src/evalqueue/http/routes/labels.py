"""What people say about a run's conversations, and how often its judge is wrong by it."""

from uuid import UUID

from starlette.exceptions import HTTPException

from evalqueue.evaluators.labels import store
from evalqueue.evaluators.labels.calibrate import calibration
from evalqueue.evaluators.labels.store import InvalidLabels, LabelledRun
from evalqueue.http.callers import RequestContext
from evalqueue.http.models import labels as models
from evalqueue.http.models.fields import RunId
from evalqueue.http.operations import Operation
from evalqueue.http.uploads import InvalidRequest
from evalqueue.postgres.database import Connection


async def add_labels(context: RequestContext, request: models.AddLabels) -> models.AddedLabels:
    async with context.connection() as connection:
        run = await _run(context, connection, request.run_id)
        try:
            added = await store.add(connection, run, request.labels)
        except InvalidLabels as error:
            raise InvalidRequest([each.within("body") for each in error.problems]) from error
    return models.AddedLabels(added=added, unchanged=len(request.labels) - added)


async def get_run_labels(context: RequestContext, request: RunId) -> models.RunLabels:
    async with context.connection() as connection:
        run = await _run(context, connection, request.run_id)
        labels = await store.current(connection, run)
    return models.RunLabels(
        run_id=run.run_id, labels=[models.LabelJson.model_validate(each) for each in labels]
    )


async def get_run_calibration(
    context: RequestContext, request: models.CalibrationRequest
) -> models.RunCalibrationJson:
    async with context.connection() as connection:
        run = await _run(context, connection, request.run_id)
        found = await calibration(connection, run, half=request.half)
    return models.RunCalibrationJson(
        run_id=run.run_id,
        app_id=run.app_id,
        llm_provider=run.llm_provider,
        llm_model=run.llm_model,
        dataset_id=run.dataset_id,
        half=found.half,
        scores=[models.ScoreCalibrationJson.model_validate(each) for each in found.scores],
    )


async def _run(context: RequestContext, connection: Connection, run_id: UUID) -> LabelledRun:
    run = await store.labelled_run(connection, run_id, owner=context.caller.visible_owner)
    if run is None:
        raise HTTPException(404, "Run not found")
    return run


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="/api/labels",
        tag="labels",
        summary="Add what people say about conversations of a run",
        handler=add_labels,
        in_body=True,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/labels",
        tag="labels",
        summary="The labels of a run's conversations",
        handler=get_run_labels,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/calibration",
        tag="labels",
        summary="How often a run's judge is wrong by people's labels, and its corrected rates",
        handler=get_run_calibration,
        errors=(404, 503),
    ),
)
