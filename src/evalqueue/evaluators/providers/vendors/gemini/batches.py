"""The batches of the Gemini API.

https://ai.google.dev/gemini-api/docs/batch-api
"""

import io
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, BinaryIO, Protocol, cast

import aiohttp
from google import genai
from google.genai import errors, types

from evalqueue.evaluators.providers import answer_bounds
from evalqueue.evaluators.providers.batching import VendorBatch
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.json_values import fields
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


class GeminiBatchApi:
    """The batches of one model; see `BatchApi`."""

    max_requests = _MAX_REQUESTS
    max_bytes = _MAX_BYTES
    key_field = "key"
    sdk_errors = (errors.APIError, aiohttp.ClientError, TimeoutError, ValueError, KeyError)
    """The last two: what the SDK makes of an answer that is not Gemini's."""

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

    def status(self, error: Exception, /) -> int | None:
        return error.code if isinstance(error, errors.APIError) else None

    def failed(self, error: Exception, /) -> ProviderError:
        if isinstance(error, errors.APIError):
            return self._requests.refused(error)
        return self._requests.error(CallOutcome.TRANSIENT, f"no answer: {error!r}")

    def error(self, outcome: CallOutcome, text: str, /) -> ProviderError:
        return self._requests.error(outcome, text)

    def line(self, key: str, request: CompletionRequest, /) -> bytes:
        line = {"key": key, "request": self._requests.body(request)}
        return json.dumps(line).encode() + b"\n"

    async def batches(self) -> AsyncGenerator[tuple[str | None, VendorBatch]]:
        config = types.ListBatchJobsConfig(page_size=_PAGE, http_options=_OPTIONS)
        async for each in await self._batches.list(config=config):
            yield each.display_name, _shown(each)

    async def create(self, name: str, file: BinaryIO, /) -> VendorBatch:
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

    async def get(self, batch_id: str, /) -> VendorBatch:
        config = types.GetBatchJobConfig(http_options=_OPTIONS)
        return _shown(await self._batches.get(name=batch_id, config=config))

    async def cancel(self, batch_id: str, /) -> None:
        config = types.CancelBatchJobConfig(http_options=_OPTIONS)
        await self._batches.cancel(name=batch_id, config=config)

    async def delete(self, file: str, /) -> None:
        config = types.DeleteFileConfig(http_options=_OPTIONS)
        await self._files.delete(name=file, config=config)

    async def lines(self, file: str, /) -> AsyncGenerator[str]:
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
                    yield line.decode("utf-8", "replace")
            yield left.decode("utf-8", "replace")

    def result(self, value: Mapping[str, Any], /) -> Completion:
        if fault := fields(value.get("error")):
            raise self._requests.refused(_api_error(fault))
        return self._requests.completion(json.dumps(value.get("response")))


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
