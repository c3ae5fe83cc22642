"""Datasets: uploaded, listed, looked into, removed; and what a batch would do with one.

A caller sees those that they have; an administrator all.
"""

import asyncio
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter
from starlette.exceptions import HTTPException

from evalqueue.errors import InvalidParams
from evalqueue.evaluators.batch import preview as previews
from evalqueue.evaluators.batch.job_type import SOURCES, EvaluateBatch, problems
from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.imports import Incoming
from evalqueue.evaluators.datasets.store import Removal
from evalqueue.evaluators.formats import FormatError
from evalqueue.evaluators.formats.registry import UnknownFormat
from evalqueue.http.callers import Call
from evalqueue.http.models import datasets as json
from evalqueue.http.operations import AnyOperation, Operation, Reply
from evalqueue.http.uploads import InvalidRequest, Upload
from evalqueue.jobtypes import AdmissionContext, decoded

_UNKNOWN_SHOWN = 1_000
_IS_ID = re.compile("sha256:[0-9a-f]{64}")
_NOT_FOUND = "Dataset not found"

PREVIEW_SECONDS = 120.0
_TOO_LONG = (
    "The preview was not done in time: others are made, or there is too much to count. Come back "
    "later, or submit the batch without one."
)


async def add_dataset(call: Call, asked: json.AddDataset) -> Reply[json.Dataset]:
    database = await call.client.database()
    incoming = _incoming(asked.file, asked.name, asked.format, asked.mapping)
    with _of_the_file():
        added = await imports.add(database, incoming, owner=call.caller.name, kept=True)
    async with database.connection() as connection:
        found = await datasets.get(connection, added.dataset_id, owner=call.caller.name)
    if found is None:
        raise HTTPException(404, _NOT_FOUND)  # somebody removed it at once
    return Reply(told=json.Dataset.model_validate(found), status=201 if added.is_new else 200)


async def list_datasets(call: Call, asked: json.DatasetsQuery) -> list[json.Dataset]:
    async with (await call.client.database()).connection() as connection:
        found = await datasets.list_datasets(
            connection, owner=call.caller.sees, limit=asked.limit, offset=asked.offset
        )
    return [json.Dataset.model_validate(each) for each in found]


async def get_dataset(call: Call, asked: json.OneDataset) -> json.Dataset:
    return json.Dataset.model_validate(await _seen(call, asked.dataset_id))


async def get_dataset_threads(call: Call, asked: json.DatasetThreadsQuery) -> json.DatasetThreads:
    dataset = await _seen(call, asked.dataset_id)
    async with (await call.client.database()).connection() as connection:
        page = await datasets.threads_of(
            connection, asked.dataset_id, after=asked.after, limit=asked.limit
        )
    threads = [json.DatasetThread.model_validate(each) for each in page]
    return json.DatasetThreads(dataset_id=dataset.id, threads=threads, total=dataset.threads)


async def delete_dataset(call: Call, asked: json.OneDataset) -> json.DeletedDataset:
    async with (await call.client.database()).transaction() as connection:
        removal = await datasets.remove(connection, asked.dataset_id, owner=call.caller.sees)
    if removal is None:
        raise HTTPException(404, _NOT_FOUND)
    if removal is Removal.READ:
        raise HTTPException(409, "A job that is not over reads this dataset. Cancel it, or wait")
    return json.DeletedDataset(id=asked.dataset_id)


async def preview_eval_run(call: Call, asked: EvaluateBatch | json.PreviewForm) -> json.Preview:
    try:
        # It costs nothing to ask for one, and as long as it takes nobody else gets theirs.
        async with asyncio.timeout(PREVIEW_SECONDS):
            return await _preview(call, asked)
    except TimeoutError:
        raise HTTPException(503, _TOO_LONG, {"Retry-After": "30"}) from None


async def _preview(call: Call, asked: EvaluateBatch | json.PreviewForm) -> json.Preview:
    if isinstance(asked, EvaluateBatch):
        return _told(await _of_params(call, asked))
    incoming = _incoming(asked.file, None, asked.format, asked.mapping)
    with _of_the_file():
        if asked.head:
            return _told(await asyncio.to_thread(previews.of_head, incoming))
        given = {name: each for name, each in (asked.params or {}).items() if name not in SOURCES}
        params = decoded(EvaluateBatch, given | {"data_path": incoming.name})
        return _told(await previews.of_file(await call.client.database(), incoming, params))


async def _of_params(call: Call, params: EvaluateBatch) -> previews.Preview:
    admission = AdmissionContext(
        settings=call.client.settings,
        database=await call.client.database(),
        owner=call.caller.name,
    )
    try:
        await see(call, params.dataset_id)
        return await previews.of_params(admission, params)
    except InvalidParams as error:  # here the params are the body, not in it
        raise InvalidRequest(
            [replace(each, loc=("body", *each.loc[1:])) for each in error.problems]
        ) from error


async def see(call: Call, dataset_id: Any) -> None:
    """Refuse a dataset that the caller does not have, as if there were none.

    Raises:
        InvalidParams: so.
    """
    owner = call.caller.sees
    # What has another shape is another job type's own business, or refused by ours.
    if owner is None or not isinstance(dataset_id, str) or not _IS_ID.fullmatch(dataset_id):
        return
    async with (await call.client.database()).connection() as connection:
        if not await datasets.has(connection, dataset_id, owner=owner):
            raise InvalidParams.of("dataset_id", f"There is no dataset {dataset_id}")


async def _seen(call: Call, dataset_id: str) -> datasets.Dataset:
    async with (await call.client.database()).connection() as connection:
        found = await datasets.get(connection, dataset_id, owner=call.caller.sees)
    if found is None:
        raise HTTPException(404, _NOT_FOUND)
    return found


def _incoming(
    upload: Upload, name: str | None, given_format: str | None, mapping: dict[str, str] | None
) -> Incoming:
    return Incoming(
        file=upload.file,
        name=name or upload.name or "upload",
        format=given_format,
        mapping=mapping,
    )


@contextmanager
def _of_the_file() -> Generator[None]:
    """What is wrong with an upload, by the field that it came in."""
    try:
        yield
    except UnknownFormat as error:
        raise InvalidRequest(problems("format", error, inside=("body",))) from error
    except FormatError as error:
        raise InvalidRequest(problems("file", error, inside=("body",))) from error


def _told(preview: previews.Preview) -> json.Preview:
    known = replace(preview, unknown_thread_ids=preview.unknown_thread_ids[:_UNKNOWN_SHOWN])
    return json.Preview.model_validate(known)


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        method="POST",
        path="/api/datasets",
        tag="datasets",
        summary="Store a file of conversations",
        asks=json.AddDataset,
        form=json.AddDataset,
        tells=TypeAdapter(json.Dataset),
        answer=add_dataset,
        status=201,
        also=(200,),
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/datasets",
        tag="datasets",
        summary="List datasets, newest first",
        asks=json.DatasetsQuery,
        tells=TypeAdapter(list[json.Dataset]),
        answer=list_datasets,
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/datasets/{dataset_id}/threads",
        tag="datasets",
        summary="A dataset's conversations, in order of first appearance",
        asks=json.DatasetThreadsQuery,
        tells=TypeAdapter(json.DatasetThreads),
        answer=get_dataset_threads,
        errors=(404, 503),
    ),
    Operation(
        method="GET",
        path="/api/datasets/{dataset_id}",
        tag="datasets",
        summary="One dataset",
        asks=json.OneDataset,
        tells=TypeAdapter(json.Dataset),
        answer=get_dataset,
        errors=(404, 503),
    ),
    Operation(
        method="DELETE",
        path="/api/datasets/{dataset_id}",
        tag="datasets",
        summary="Remove a dataset from those that the caller has",
        asks=json.OneDataset,
        tells=TypeAdapter(json.DeletedDataset),
        answer=delete_dataset,
        errors=(404, 409, 503),
    ),
    Operation(
        method="POST",
        path="/api/eval-runs/preview",
        tag="eval-runs",
        summary="What a batch would do, and how many LLM calls it would make; nothing is stored",
        asks=EvaluateBatch,
        in_body=True,
        form=json.PreviewForm,
        tells=TypeAdapter(json.Preview),
        answer=preview_eval_run,
        errors=(503,),
    ),
)
