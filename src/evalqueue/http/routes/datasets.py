"""Conversations: datasets, what applications post, and previews of a batch.

Callers see their own datasets; administrators see all.
"""

import asyncio
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

from starlette.exceptions import HTTPException

from evalqueue.errors import InvalidParams, Problem
from evalqueue.evaluators.batch import preview as previews
from evalqueue.evaluators.batch.file_params import problems
from evalqueue.evaluators.batch.job_type import SOURCES, EvaluateBatch
from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.evaluators.datasets.masks import Masks, kinds_of
from evalqueue.evaluators.datasets.names import read_names
from evalqueue.evaluators.datasets.store import Removal
from evalqueue.evaluators.formats import FormatError
from evalqueue.evaluators.formats.registry import UnknownFormat
from evalqueue.evaluators.sources import store as source_positions
from evalqueue.evaluators.sources.posting import post_messages
from evalqueue.evaluators.sources.tracing import post_spans
from evalqueue.http.callers import RequestContext
from evalqueue.http.models import datasets as models
from evalqueue.http.operations import EmptyRequest, Operation, WithStatus
from evalqueue.http.uploads import InvalidRequest, Upload
from evalqueue.jobtypes import AdmissionContext, decoded

_MAX_UNKNOWN = 1_000  # thread ids in a response
_IS_ID = re.compile("sha256:[0-9a-f]{64}")
_NOT_FOUND = "Dataset not found"

PREVIEW_SECONDS = 120.0
_PREVIEW_TIMEOUT = (
    "The preview took too long: other previews are running, or the data is too large. Try again "
    "later, or submit the batch without one."
)


async def add_dataset(
    context: RequestContext, request: models.AddDataset
) -> WithStatus[models.DatasetJson]:
    database = await context.client.database()
    incoming = _incoming(request.file, request.name, request)
    with _file_errors():
        incoming = replace(incoming, masks=_masks(request))
        added = await imports.add(database, incoming, owner=context.caller.name, kept=True)
    async with database.connection() as connection:
        dataset = await datasets.get(connection, added.dataset_id, owner=context.caller.name)
    if dataset is None:
        raise HTTPException(404, _NOT_FOUND)  # it was removed in the meantime
    body = models.DatasetJson.model_validate(dataset)
    return WithStatus(body=body, status=201 if added.is_new else 200)


async def list_datasets(
    context: RequestContext, request: models.DatasetsQuery
) -> list[models.DatasetJson]:
    async with context.connection() as connection:
        rows = await datasets.list_datasets(
            connection,
            owner=context.caller.visible_owner,
            limit=request.limit,
            offset=request.offset,
        )
    return [models.DatasetJson.model_validate(row) for row in rows]


async def get_dataset(context: RequestContext, request: models.DatasetKey) -> models.DatasetJson:
    return models.DatasetJson.model_validate(await _visible(context, request.dataset_id))


async def get_dataset_threads(
    context: RequestContext, request: models.DatasetThreadsQuery
) -> models.DatasetThreads:
    dataset = await _visible(context, request.dataset_id)
    async with context.connection() as connection:
        page = await datasets.threads_of(
            connection, request.dataset_id, after=request.after, limit=request.limit
        )
    threads = [models.DatasetThreadJson.model_validate(row) for row in page]
    return models.DatasetThreads(dataset_id=dataset.id, threads=threads, total=dataset.threads)


async def delete_dataset(
    context: RequestContext, request: models.DatasetKey
) -> models.DeletedDataset:
    async with (await context.client.database()).transaction() as connection:
        removal = await datasets.remove(
            connection, request.dataset_id, owner=context.caller.visible_owner
        )
    if removal is None:
        raise HTTPException(404, _NOT_FOUND)
    if removal is Removal.READ:
        raise HTTPException(409, "A job that is not over uses this dataset. Cancel it, or wait")
    return models.DeletedDataset(id=request.dataset_id)


async def post_threads(
    context: RequestContext, request: models.PostThreads
) -> models.PostedThreads:
    threads = [each.model_dump(mode="json", exclude_unset=True) for each in request.threads]
    found = await post_messages(context.client, threads, owner=context.caller.name)
    return models.PostedThreads.model_validate(found)


async def post_traces(context: RequestContext, request: models.Traces) -> models.ExportedTraces:
    found = await post_spans(context.client, request.resourceSpans, owner=context.caller.name)
    refusal = models.PartialSuccess(rejectedSpans=found.spans, errorMessage=found.reason)
    return models.ExportedTraces(partialSuccess=refusal)


async def list_sources(
    context: RequestContext, request: EmptyRequest
) -> list[models.SourceRuleJson]:
    async with context.connection() as connection:
        rows = await source_positions.rules(connection, owner=context.caller.visible_owner)
    return [models.SourceRuleJson.model_validate(row) for row in rows]


async def preview_eval_run(
    context: RequestContext, request: EvaluateBatch | models.PreviewForm
) -> models.PreviewJson:
    try:
        # Previews are free and made one at a time: a slow one must not block all others.
        async with asyncio.timeout(PREVIEW_SECONDS):
            return await _preview(context, request)
    except TimeoutError:
        raise HTTPException(503, _PREVIEW_TIMEOUT, {"Retry-After": "30"}) from None


async def _preview(
    context: RequestContext, request: EvaluateBatch | models.PreviewForm
) -> models.PreviewJson:
    if isinstance(request, EvaluateBatch):
        return _preview_json(await _of_params(context, request))
    incoming = _incoming(request.file, None, request)
    with _file_errors():
        if request.head:
            return _preview_json(await asyncio.to_thread(previews.of_head, incoming))
        params = decoded(
            EvaluateBatch,
            {name: value for name, value in (request.params or {}).items() if name not in SOURCES}
            | {"data_path": incoming.name},
        )
        return _preview_json(await previews.of_file(await _admission(context), incoming, params))


async def _of_params(context: RequestContext, params: EvaluateBatch) -> previews.Preview:
    try:
        await check_dataset(context, params.dataset_id)
        return await previews.of_params(await _admission(context), params)
    except InvalidParams as error:  # here the params are the body itself
        raise InvalidRequest(
            [replace(each, loc=("body", *each.loc[1:])) for each in error.problems]
        ) from error


async def _admission(context: RequestContext) -> AdmissionContext:
    return AdmissionContext(
        settings=context.client.settings,
        database=await context.client.database(),
        owner=context.caller.name,
    )


async def check_dataset(context: RequestContext, dataset_id: object) -> None:
    """Refuse a dataset of another owner with the same error as one that does not exist.

    Raises:
        InvalidParams: the caller has no such dataset.
    """
    owner = context.caller.visible_owner
    # A value of another form is checked by the job type's model.
    if owner is None or not isinstance(dataset_id, str) or not _IS_ID.fullmatch(dataset_id):
        return
    async with context.connection() as connection:
        if not await datasets.has(connection, dataset_id, owner=owner):
            raise InvalidParams.of("dataset_id", f"There is no dataset {dataset_id}")


async def _visible(context: RequestContext, dataset_id: str) -> datasets.Dataset:
    async with context.connection() as connection:
        dataset = await datasets.get(connection, dataset_id, owner=context.caller.visible_owner)
    if dataset is None:
        raise HTTPException(404, _NOT_FOUND)
    return dataset


def _incoming(
    upload: Upload, name: str | None, request: models.AddDataset | models.PreviewForm
) -> Incoming:
    return Incoming(
        file=upload.file,
        name=name or upload.name or "upload",
        format=request.format,
        mapping=request.mapping,
        date_order=request.date_order,
    )


def _masks(request: models.AddDataset) -> Masks:
    try:
        kinds = kinds_of(request.mask or "")
    except FormatError as error:
        raise InvalidRequest(problems("mask", error, inside=("body",))) from error
    try:
        return Masks(kinds=kinds, names=read_names(request.mask_names or ""))
    except ValueError as error:
        raise InvalidRequest([Problem(loc=("body", "mask_names"), msg=str(error))]) from error


@contextmanager
def _file_errors() -> Generator[None]:
    """Report errors of an upload as errors of its form field."""
    try:
        yield
    except UnknownFormat as error:
        raise InvalidRequest(problems("format", error, inside=("body",))) from error
    except FormatError as error:
        raise InvalidRequest(problems("file", error, inside=("body",))) from error


def _preview_json(preview: previews.Preview) -> models.PreviewJson:
    shown = replace(preview, unknown_thread_ids=preview.unknown_thread_ids[:_MAX_UNKNOWN])
    return models.PreviewJson.model_validate(shown)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="/api/datasets",
        tag="datasets",
        summary="Store a file of conversations",
        form=models.AddDataset,
        handler=add_dataset,
        status=201,
        other_statuses=(200,),
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/datasets",
        tag="datasets",
        summary="List datasets, newest first",
        handler=list_datasets,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/datasets/{dataset_id}/threads",
        tag="datasets",
        summary="A dataset's conversations, in order of first appearance",
        handler=get_dataset_threads,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/datasets/{dataset_id}",
        tag="datasets",
        summary="One dataset",
        handler=get_dataset,
        errors=(404, 503),
    ),
    Operation(
        method="DELETE",
        path="/api/datasets/{dataset_id}",
        tag="datasets",
        summary="Remove a dataset from the caller's datasets",
        handler=delete_dataset,
        errors=(404, 409, 503),
    ),
    Operation(
        method="POST",
        path="/api/threads",
        tag="datasets",
        summary="Store messages of conversations as they happen",
        in_body=True,
        handler=post_threads,
        errors=(409, 503),
    ),
    Operation(
        method="POST",
        path="/api/v1/traces",
        tag="datasets",
        summary="Store the messages of OpenTelemetry's spans of LLM calls",
        in_body=True,
        handler=post_traces,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/sources",
        tag="datasets",
        summary="How far sources of conversations were read, and what came of it",
        handler=list_sources,
        errors=(503,),
    ),
    Operation(
        method="POST",
        path="/api/eval-runs/preview",
        tag="eval-runs",
        summary="What a batch would evaluate, and its number of LLM calls; nothing is stored",
        in_body=True,
        form=models.PreviewForm,
        handler=preview_eval_run,
        errors=(503,),
    ),
)
