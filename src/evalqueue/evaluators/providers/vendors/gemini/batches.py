"""The batches of the Gemini API: a file of requests goes up, a file of responses comes back.

https://ai.google.dev/gemini-api/docs/batch-api
"""

import io
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, BinaryIO, Protocol, cast

import aiohttp
from google import genai
from google.genai import errors, types

from evalqueue.evaluators.providers import answer_bounds
from evalqueue.evaluators.providers.answer_bounds import AnswerRefused
from evalqueue.evaluators.providers.batching import BatchesMissing, BatchResult, VendorBatch
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.json_values import fields, string
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest

ADDRESS = "https://generativelanguage.googleapis.com"
_MAX_REQUESTS = 50_000
_MAX_BYTES = 2_000_000_000
_OVER = {
    "JOB_STATE_SUCCEEDED": "completed",
    "JOB_STATE_PARTIALLY_SUCCEEDED": "completed",
    "JOB_STATE_FAILED": "failed",
    "JOB_STATE_CANCELLED": "cancelled",
    "JOB_STATE_EXPIRED": "expired",
}
_PAGE = 100
_MILLISECONDS = 60_000
_TRANSFER_SECONDS = 900.0
_NOT_FOUND = 404
_MISSING = frozenset({404, 405, 501})
_OPTIONS = types.HttpOptions(timeout=_MILLISECONDS)


class GenerateRequests(Protocol):
    """How content is asked for, and how what came back is read."""

    @property
    def model(self) -> str: ...

    def body(self, request: CompletionRequest, /) -> dict[str, Any]: ...

    def completion(self, text: str, /) -> Completion:
        """A response.

        Raises:
            ProviderError: it has no whole answer.
        """
        ...

    def refused(self, error: errors.APIError, /) -> ProviderError: ...

    def error(self, outcome: CallOutcome, text: str, /) -> ProviderError: ...


class GeminiBatchClient:
    """The batches of one model; see `VendorBatches`."""

    max_requests = _MAX_REQUESTS
    max_bytes = _MAX_BYTES

    def __init__(
        self,
        client: genai.Client,
        session: aiohttp.ClientSession,
        requests: GenerateRequests,
        *,
        address: str,
        api_key: str,
    ) -> None:
        self._batches = client.aio.batches
        self._files = client.aio.files
        self._session = session
        self._requests = requests
        self._address = (address or ADDRESS).rstrip("/")
        self._api_key = api_key

    def line(self, key: str, request: CompletionRequest, /) -> bytes:
        line = {"key": key, "request": self._requests.body(request)}
        return json.dumps(line).encode() + b"\n"

    async def find(self, name: str, /) -> list[VendorBatch]:
        async with self._translated():
            config = types.ListBatchJobsConfig(page_size=_PAGE, http_options=_OPTIONS)
            pages = await self._batches.list(config=config)
            found = [_shown(each) async for each in pages if each.display_name == name]
        return found[::-1]

    async def create(self, name: str, file: BinaryIO, /) -> VendorBatch:
        async with self._translated(missing=True):
            uploaded = await self._files.upload(
                file=cast("io.IOBase", file),
                config=types.UploadFileConfig(mime_type="application/jsonl", display_name=name),
            )
            created = await self._batches.create(
                model=self._requests.model,
                src=uploaded.name or "",
                config=types.CreateBatchJobConfig(display_name=name, http_options=_OPTIONS),
            )
        return _shown(created, input_file=uploaded.name)

    async def look(self, batch_id: str, /) -> VendorBatch | None:
        async with self._translated():
            try:
                config = types.GetBatchJobConfig(http_options=_OPTIONS)
                return _shown(await self._batches.get(name=batch_id, config=config))
            except errors.APIError as error:
                if error.code == _NOT_FOUND:
                    return None
                raise

    async def cancel(self, batch_id: str, /) -> None:
        async with self._translated():
            try:
                config = types.CancelBatchJobConfig(http_options=_OPTIONS)
                await self._batches.cancel(name=batch_id, config=config)
            except errors.APIError as error:
                # It is over, or was never there.
                if error.code not in {400, 404, 409}:
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
                        await self._files.delete(
                            name=file, config=types.DeleteFileConfig(http_options=_OPTIONS)
                        )
                    except errors.APIError as error:
                        if error.code != _NOT_FOUND:
                            raise

    async def _results(self, batch: VendorBatch) -> AsyncGenerator[BatchResult]:
        for file in batch.files:
            async for line in self._lines(file):
                if (result := self._result(line)) is not None:
                    yield result

    async def _lines(self, file: str) -> AsyncGenerator[bytes]:
        """The lines of a file. The SDK would read it as a whole."""
        async with self._session.get(
            f"{self._address}/v1beta/{file}:download",
            params={"alt": "media"},
            headers={"x-goog-api-key": self._api_key},
            timeout=aiohttp.ClientTimeout(total=_TRANSFER_SECONDS),
        ) as response:
            if not response.ok:
                raise errors.APIError(response.status, {"error": {"message": response.reason}})
            size, left = 0, b""
            async for chunk in response.content.iter_any():
                size += len(chunk)
                answer_bounds.check_size(size, answer_bounds.FILE_MAX_BYTES)
                *lines, left = (left + chunk).split(b"\n")
                for line in lines:
                    yield line
            yield left

    def _result(self, line: bytes) -> BatchResult | None:
        """What a line of a result file says. None: nothing that can be read."""
        try:
            value = fields(json.loads(line))
        except ValueError:
            return None
        key = string(value.get("key"))
        if fault := fields(value.get("error")):
            return BatchResult(key=key, result=self._requests.refused(_api_error(fault)))
        try:
            text = json.dumps(value.get("response"))
            return BatchResult(key=key, result=self._requests.completion(text))
        except ProviderError as error:
            return BatchResult(key=key, result=error)

    @asynccontextmanager
    async def _translated(self, *, missing: bool = False) -> AsyncGenerator[None]:
        """Turn the SDK's errors into ours. `missing`: whether a 404 means that there are no
        batches."""
        try:
            yield
        except errors.APIError as error:
            refused = self._requests.refused(error)
            if missing and error.code in _MISSING:
                text = f"this endpoint has no batches: {refused.message}"
                raise BatchesMissing(CallOutcome.BAD_REQUEST, text) from None
            raise refused from None
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            # The last two: what the SDK makes of an answer that is not Gemini's.
            raise self._requests.error(CallOutcome.TRANSIENT, f"no answer: {error!r}") from error
        except AnswerRefused as error:
            raise self._requests.error(error.outcome, str(error)) from None


def _shown(batch: types.BatchJob, *, input_file: str | None = None) -> VendorBatch:
    state = "" if batch.state is None else batch.state.value
    reason = "" if batch.error is None else str(batch.error.message or "")
    output = batch.dest.file_name if batch.dest else None
    return VendorBatch(
        id=batch.name or "",
        is_over=state in _OVER,
        done=0,  # the SDK does not say
        end=": ".join(part for part in (_OVER.get(state, state), reason) if part),
        files=[output] if output else [],
        input_file=input_file,
    )


def _api_error(fault: Mapping[str, Any]) -> errors.APIError:
    code = fault.get("code")
    return errors.APIError(code if isinstance(code, int) and code >= 400 else 500, {"error": fault})  # noqa: PLR2004  HTTP's codes; others are gRPC's
