"""The batches of OpenAI and Azure OpenAI: a file of requests goes up, files of results come back.

https://platform.openai.com/docs/guides/batch
"""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, BinaryIO, Protocol, cast

import httpx2
from openai import APIConnectionError, APIStatusError, AsyncOpenAI
from openai.types import Batch

from evalqueue.evaluators.providers.answer_bounds import AnswerRefused
from evalqueue.evaluators.providers.batching import (
    BatchesMissing,
    BatchResult,
    QuestionNotRun,
    VendorBatch,
)
from evalqueue.evaluators.providers.chat_completions.faults import ErrorBody
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.json_values import fields, string
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest

MAX_REQUESTS = 50_000
MAX_BYTES = 200_000_000
NAME_FIELD = "evalqueue_batch"
"""Of a batch's metadata."""
_OVER = frozenset({"completed", "failed", "expired", "cancelled"})
_SECONDS = 60.0
_TRANSFER_SECONDS = 900.0
_KEPT_SECONDS = 14 * 86_400  # the least that Azure accepts
_PAGE = 100
_NOT_FOUND = 404
_MISSING = frozenset({404, 405, 501})


class ChatRequests(Protocol):
    """How a chat completion is asked for, and how what came back is read."""

    def body(self, request: CompletionRequest, /) -> dict[str, Any]: ...

    def completion(self, text: str, request_id: str | None, /) -> Completion:
        """A response with status 200.

        Raises:
            ProviderError: it has no whole answer.
        """
        ...

    def refused(self, fault: ErrorBody, headers: Mapping[str, str], /) -> ProviderError: ...

    def error(self, outcome: CallOutcome, text: str, /) -> ProviderError: ...


class OpenAIBatchClient:
    """The batches of one model; see `VendorBatches`."""

    max_requests = MAX_REQUESTS
    max_bytes = MAX_BYTES

    def __init__(self, client: AsyncOpenAI, requests: ChatRequests, *, is_azure: bool) -> None:
        self._client = client
        self._requests = requests
        self._url = "/chat/completions" if is_azure else "/v1/chat/completions"

    def line(self, key: str, request: CompletionRequest, /) -> bytes:
        line = {
            "custom_id": key,
            "method": "POST",
            "url": self._url,
            "body": self._requests.body(request),
        }
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace") + b"\n"

    async def find(self, name: str, /) -> list[VendorBatch]:
        async with self._translated():
            pages = self._client.batches.list(limit=_PAGE, timeout=_SECONDS)
            found = [
                _shown(each)
                async for each in pages
                if (each.metadata or {}).get(NAME_FIELD) == name
            ]
        return found[::-1]

    async def create(self, name: str, file: BinaryIO, /) -> VendorBatch:
        async with self._translated(missing=True):
            uploaded = await self._client.files.create(
                file=(f"{name}.jsonl", file),
                purpose="batch",
                expires_after={"anchor": "created_at", "seconds": _KEPT_SECONDS},
                timeout=_TRANSFER_SECONDS,
            )
            created = await self._client.batches.create(
                input_file_id=uploaded.id,
                endpoint=cast("Any", self._url),
                completion_window="24h",
                metadata={NAME_FIELD: name},
                timeout=_SECONDS,
            )
        return _shown(created)

    async def look(self, batch_id: str, /) -> VendorBatch | None:
        async with self._translated():
            try:
                return _shown(await self._client.batches.retrieve(batch_id, timeout=_SECONDS))
            except APIStatusError as error:
                if error.status_code == _NOT_FOUND:
                    return None
                raise

    async def cancel(self, batch_id: str, /) -> None:
        async with self._translated():
            try:
                await self._client.batches.cancel(batch_id, timeout=_SECONDS)
            except APIStatusError as error:
                # It is over, or was never there.
                if error.status_code not in {400, 404, 409}:
                    raise

    @asynccontextmanager
    async def results(self, batch: VendorBatch, /) -> AsyncGenerator[AsyncGenerator[BatchResult]]:
        async with self._translated(), aclosing(self._results(batch)) as results:
            yield results

    async def forget(self, batch: VendorBatch, /) -> None:
        async with self._translated():
            for file in (batch.input_file, *batch.files):
                if file:
                    try:
                        await self._client.files.delete(file, timeout=_SECONDS)
                    except APIStatusError as error:
                        if error.status_code != _NOT_FOUND:
                            raise

    async def _results(self, batch: VendorBatch) -> AsyncGenerator[BatchResult]:
        for file in batch.files:
            async with self._client.files.with_streaming_response.content(
                file, timeout=_TRANSFER_SECONDS
            ) as response:
                async for line in response.iter_lines():
                    if (result := self._result(line)) is not None:
                        yield result

    def _result(self, line: str) -> BatchResult | None:
        """What a line of a result file says. None: nothing that can be read."""
        try:
            value = fields(json.loads(line))
        except ValueError:
            return None
        key = string(value.get("custom_id"))
        response = fields(value.get("response"))
        if not response:
            problem = fields(value.get("error"))
            text = f"{string(problem.get('code'))}: {string(problem.get('message'))}"
            return BatchResult(
                key=key, result=QuestionNotRun(CallOutcome.TRANSIENT, f"batch: {text}")
            )
        status, body = response.get("status_code"), json.dumps(response.get("body"))
        request_id = string(response.get("request_id")) or None
        if status != httpx2.codes.OK:
            code = status if isinstance(status, int) else httpx2.codes.INTERNAL_SERVER_ERROR
            failed = self._requests.refused(ErrorBody.read(int(code), body), {})
            return BatchResult(key=key, result=failed)
        try:
            return BatchResult(key=key, result=self._requests.completion(body, request_id))
        except ProviderError as error:
            return BatchResult(key=key, result=error)

    @asynccontextmanager
    async def _translated(self, *, missing: bool = False) -> AsyncGenerator[None]:
        """Turn the SDK's errors into ours. `missing`: whether a 404 means that there are no
        batches."""
        try:
            yield
        except APIStatusError as error:
            fault = ErrorBody.read(error.status_code, error.response.text)
            refused = self._requests.refused(fault, error.response.headers)
            if missing and error.status_code in _MISSING:
                text = f"this endpoint has no batches: {refused.message}"
                raise BatchesMissing(CallOutcome.BAD_REQUEST, text) from None
            raise refused from None
        except (APIConnectionError, httpx2.TransportError) as error:
            text = f"no connection: {error.__cause__ or error}"
            raise self._requests.error(CallOutcome.TRANSIENT, text) from error
        except AnswerRefused as error:
            raise self._requests.error(error.outcome, str(error)) from None


def _shown(batch: Batch) -> VendorBatch:
    counts = batch.request_counts
    problems = [each.message or "" for each in (batch.errors.data or [])] if batch.errors else []
    files = (batch.output_file_id, batch.error_file_id)
    return VendorBatch(
        id=batch.id,
        is_over=batch.status in _OVER,
        done=0 if counts is None else (counts.completed or 0) + (counts.failed or 0),
        end=": ".join((batch.status, *problems[:1])),
        files=[each for each in files if each],
        input_file=batch.input_file_id or None,
    )
