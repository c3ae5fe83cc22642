"""The batches of OpenAI and Azure OpenAI.

https://platform.openai.com/docs/guides/batch
"""

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, BinaryIO, Protocol, cast

import httpx2
from openai import APIConnectionError, APIStatusError, AsyncOpenAI
from openai.types import Batch

from evalqueue.evaluators.providers.batching import QuestionNotRun, VendorBatch
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


class OpenAIBatchApi:
    """The batches of one model; see `BatchApi`."""

    max_requests = MAX_REQUESTS
    max_bytes = MAX_BYTES
    key_field = "custom_id"
    sdk_errors = (APIStatusError, APIConnectionError, httpx2.TransportError)

    def __init__(self, client: AsyncOpenAI, requests: ChatRequests, *, is_azure: bool) -> None:
        self._client = client
        self._requests = requests
        self._url = "/chat/completions" if is_azure else "/v1/chat/completions"

    def status(self, error: Exception, /) -> int | None:
        return error.status_code if isinstance(error, APIStatusError) else None

    def failed(self, error: Exception, /) -> ProviderError:
        if isinstance(error, APIStatusError):
            fault = ErrorBody.read(error.status_code, error.response.text)
            return self._requests.refused(fault, error.response.headers)
        text = f"no connection: {error.__cause__ or error}"
        return self._requests.error(CallOutcome.TRANSIENT, text)

    def error(self, outcome: CallOutcome, text: str, /) -> ProviderError:
        return self._requests.error(outcome, text)

    def line(self, key: str, request: CompletionRequest, /) -> bytes:
        line = {
            "custom_id": key,
            "method": "POST",
            "url": self._url,
            "body": self._requests.body(request),
        }
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace") + b"\n"

    async def batches(self) -> AsyncGenerator[tuple[str | None, VendorBatch]]:
        async for each in self._client.batches.list(limit=_PAGE, timeout=_SECONDS):
            yield (each.metadata or {}).get(NAME_FIELD), _shown(each)

    async def create(self, name: str, file: BinaryIO, /) -> VendorBatch:
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

    async def get(self, batch_id: str, /) -> VendorBatch:
        return _shown(await self._client.batches.retrieve(batch_id, timeout=_SECONDS))

    async def cancel(self, batch_id: str, /) -> None:
        await self._client.batches.cancel(batch_id, timeout=_SECONDS)

    async def delete(self, file: str, /) -> None:
        await self._client.files.delete(file, timeout=_SECONDS)

    async def lines(self, file: str, /) -> AsyncGenerator[str]:
        async with self._client.files.with_streaming_response.content(
            file, timeout=_TRANSFER_SECONDS
        ) as response:
            async for line in response.iter_lines():
                yield line

    def result(self, value: Mapping[str, Any], /) -> Completion:
        response = fields(value.get("response"))
        if not response:
            problem = fields(value.get("error"))
            text = f"{string(problem.get('code'))}: {string(problem.get('message'))}"
            raise QuestionNotRun(CallOutcome.TRANSIENT, f"batch: {text}")
        status, body = response.get("status_code"), json.dumps(response.get("body"))
        if status != httpx2.codes.OK:
            code = status if isinstance(status, int) else httpx2.codes.INTERNAL_SERVER_ERROR
            raise self._requests.refused(ErrorBody.read(int(code), body), {})
        return self._requests.completion(body, string(response.get("request_id")) or None)


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
