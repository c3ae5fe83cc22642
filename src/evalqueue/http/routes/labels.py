"""What people say about a run's conversations and are asked about them, and how often the judge is
wrong by it."""

from uuid import UUID

from starlette.exceptions import HTTPException

from evalqueue.errors import Problem
from evalqueue.evaluators.labels import annotation, notes, store
from evalqueue.evaluators.labels.annotation import AnnotationQueue, ItemTaken, NotLabellable
from evalqueue.evaluators.labels.calibrate import calibration
from evalqueue.evaluators.labels.notes import NoteRefused
from evalqueue.evaluators.labels.store import InvalidLabels, LabelledRun
from evalqueue.http.callers import RequestContext
from evalqueue.http.models.fields import RunId, matching_fields
from evalqueue.http.models.labels import annotation as annotation_models
from evalqueue.http.models.labels import labelling as models
from evalqueue.http.models.labels import notes as note_models
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


async def add_note(
    context: RequestContext, request: note_models.AddNote
) -> note_models.ThreadNoteJson:
    async with context.connection() as connection:
        run = await _run(context, connection, request.run_id)
        try:
            added = await notes.add(
                connection,
                run,
                request.thread_id,
                request.note,
                written_by=request.written_by or context.caller.name,
            )
        except NoteRefused as error:
            raise HTTPException(409, str(error)) from error
    if added is None:
        raise HTTPException(404, "The run has no such conversation")
    return note_models.ThreadNoteJson.model_validate(added)


async def get_run_notes(
    context: RequestContext, request: note_models.NotesQuery
) -> note_models.RunNotes:
    async with context.connection() as connection:
        run = await _run(context, connection, request.run_id)
        found = await notes.of_run(
            connection, run, thread_id=request.thread_id, after=request.after, limit=request.limit
        )
    return note_models.RunNotes(
        run_id=run.run_id,
        notes=[note_models.ThreadNoteJson.model_validate(each) for each in found],
    )


async def create_annotation_queue(
    context: RequestContext, request: annotation_models.CreateAnnotationQueue
) -> annotation_models.AnnotationQueueJson:
    async with context.connection() as connection:
        run = await _run(context, connection, request.run_id)
        try:
            queue = await annotation.create(
                connection,
                run,
                evaluator=request.evaluator,
                name=request.name,
                selection=request.selection,
                size=request.size,
                annotators=request.annotators,
            )
        except LookupError as error:
            problem = Problem(loc=("body", "evaluator"), msg=str(error))
            raise InvalidRequest([problem]) from error
        except NotLabellable as error:
            raise HTTPException(409, str(error)) from error
        return await _shown(connection, queue, run)


async def list_annotation_queues(
    context: RequestContext, request: RunId
) -> annotation_models.AnnotationQueues:
    async with context.connection() as connection:
        run = await _run(context, connection, request.run_id)
        found = await annotation.queues_of(connection, run.run_id, owner=run.owner)
        queues = [await _shown(connection, each, run) for each in found]
    return annotation_models.AnnotationQueues(run_id=run.run_id, queues=queues)


async def get_annotation_queue(
    context: RequestContext, request: annotation_models.AnnotationQueueKey
) -> annotation_models.AnnotationQueueJson:
    async with context.connection() as connection:
        queue, run = await _queue(context, connection, request.queue_id)
        return await _shown(connection, queue, run)


async def next_annotation(
    context: RequestContext, request: annotation_models.NextAnnotation
) -> annotation_models.OfferedAnnotation:
    async with context.connection() as connection:
        queue, run = await _queue(context, connection, request.queue_id)
        try:
            item = await annotation.next_item(
                connection,
                queue,
                run,
                annotator=request.labelled_by or context.caller.name,
                adjudicates=request.adjudicates,
            )
        except NotLabellable as error:
            raise HTTPException(409, str(error)) from error
        progress = await _progress(connection, queue)
    offered = item and annotation_models.OfferedItemJson.model_validate(item)
    return annotation_models.OfferedAnnotation(item=offered, progress=progress)


async def label_annotation(
    context: RequestContext, request: annotation_models.LabelAnnotation
) -> annotation_models.LabelledAnnotation:
    async with context.connection() as connection:
        queue, run = await _queue(context, connection, request.queue_id)
        try:
            found = await annotation.label(
                connection,
                queue,
                run,
                position=request.position,
                annotator=request.labelled_by or context.caller.name,
                value=request.value,
                note=request.note,
                adjudicates=request.adjudicates,
            )
        except InvalidLabels as error:
            problem = Problem(loc=("body", "value"), msg=error.problems[0].msg)
            raise InvalidRequest([problem]) from error
        except (ItemTaken, NotLabellable) as error:
            raise HTTPException(409, str(error)) from error
        if found is None:
            raise HTTPException(404, "Item not found")
        progress = await _progress(connection, queue)
    return annotation_models.LabelledAnnotation(
        judged=annotation_models.JudgedVerdictJson.model_validate(found.judged),
        labels=[annotation_models.GivenLabelJson.model_validate(each) for each in found.labels],
        progress=progress,
    )


async def release_annotation(
    context: RequestContext, request: annotation_models.ReleaseAnnotation
) -> annotation_models.ReleasedAnnotation:
    async with context.connection() as connection:
        queue, _ = await _queue(context, connection, request.queue_id)
        released = await annotation.release(
            connection,
            queue,
            position=request.position,
            annotator=request.labelled_by or context.caller.name,
            expires_at=request.expires_at,
        )
    return annotation_models.ReleasedAnnotation(released=released)


async def _shown(
    connection: Connection, queue: AnnotationQueue, run: LabelledRun
) -> annotation_models.AnnotationQueueJson:
    asked = annotation_models.AnnotationQuestionJson.model_validate(annotation.question(queue, run))
    return annotation_models.AnnotationQueueJson(
        **matching_fields(annotation_models.AnnotationQueueJson, queue),
        question=asked,
        progress=await _progress(connection, queue),
    )


async def _progress(
    connection: Connection, queue: AnnotationQueue
) -> annotation_models.AnnotationProgressJson:
    found = await annotation.progress(connection, queue)
    return annotation_models.AnnotationProgressJson.model_validate(found)


async def _queue(
    context: RequestContext, connection: Connection, queue_id: UUID
) -> tuple[AnnotationQueue, LabelledRun]:
    queue = await annotation.find(connection, queue_id, owner=context.caller.visible_owner)
    if queue is None:
        raise HTTPException(404, "Annotation queue not found")
    return queue, await _run(context, connection, queue.run_id)


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
    Operation(
        method="POST",
        path="/api/notes",
        tag="labels",
        summary="Add a note to a conversation of a run",
        handler=add_note,
        in_body=True,
        status=201,
        errors=(404, 409, 503),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/notes",
        tag="labels",
        summary="What people wrote about a run's conversations",
        handler=get_run_notes,
        errors=(404, 503),
    ),
    Operation(
        method="POST",
        path="/api/annotation-queues",
        tag="labels",
        summary="Ask people to label conversations of a run",
        handler=create_annotation_queue,
        in_body=True,
        status=201,
        errors=(404, 409, 503),
    ),
    Operation(
        method="GET",
        path="/api/eval-runs/{run_id}/annotation-queues",
        tag="labels",
        summary="The annotation queues of a run, with their progress",
        handler=list_annotation_queues,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/annotation-queues/{queue_id}",
        tag="labels",
        summary="One annotation queue: its question, and how far it is",
        handler=get_annotation_queue,
        errors=(404, 503),
    ),
    Operation(
        method="POST",
        path="/api/annotation-queues/next",
        tag="labels",
        summary="Lease a conversation to a person for ten minutes, or extend the lease",
        handler=next_annotation,
        in_body=True,
        errors=(404, 409, 503),
    ),
    Operation(
        method="POST",
        path="/api/annotation-queues/label",
        tag="labels",
        summary="Label an item, and see what the judge and others say",
        handler=label_annotation,
        in_body=True,
        errors=(404, 409, 503),
    ),
    Operation(
        method="POST",
        path="/api/annotation-queues/release",
        tag="labels",
        summary="Give an item back",
        handler=release_annotation,
        in_body=True,
        errors=(404, 503),
    ),
)
