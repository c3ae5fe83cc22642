"""Batches as vendors have them: a file of requests goes up, files of results come back.

What is the same for all vendors is here. What differs is a `BatchApi`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Collection, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, BinaryIO, Protocol, TypeVar

from evalqueue.evaluators.providers.answer_bounds import AnswerRefused
from evalqueue.evaluators.providers.batching import BatchesMissing, BatchResult, VendorBatch
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError
from evalqueue.evaluators.providers.json_values import fields, parsed, string
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest

T = TypeVar("T")

_NOT_FOUND = 404
_MISSING = frozenset({404, 405, 501})
_OVER_OR_UNKNOWN = frozenset({400, 404, 409})


class BatchApi(Protocol):
    """One vendor's batches, through its SDK, whose errors come out as they are."""

    @property
    def max_requests(self) -> int: ...

    @property
    def max_bytes(self) -> int: ...

    @property
    def key_field(self) -> str:
        """Where a line of results has the key of its question."""
        ...

    @property
    def sdk_errors(self) -> tuple[type[Exception], ...]: ...

    def status(self, error: Exception, /) -> int | None:
        """The HTTP status of an error of the SDK. None: there was no response."""
        ...

    def failed(self, error: Exception, /) -> ProviderError:
        """An error of the SDK as one of ours."""
        ...

    def error(self, outcome: CallOutcome, text: str, /) -> ProviderError:
        """An error with a message of ours."""
        ...

    def line(self, key: str, request: CompletionRequest, /) -> bytes: ...

    def batches(self) -> AsyncIterator[tuple[str | None, VendorBatch]]:
        """All batches with their names, the newest first."""
        ...

    async def create(self, name: str, file: BinaryIO, /) -> VendorBatch: ...

    async def get(self, batch_id: str, /) -> VendorBatch: ...

    async def cancel(self, batch_id: str, /) -> None: ...

    async def delete(self, file: str, /) -> None: ...

    def lines(self, file: str, /) -> AsyncGenerator[str]:
        """The lines of a file of results."""
        ...

    def result(self, value: Mapping[str, Any], /) -> Completion:
        """What a line of results says.

        Raises:
            ProviderError: it has no whole answer.
        """
        ...


class FileBatches:
    """The batches of one model; see `VendorBatches`."""

    def __init__(self, api: BatchApi) -> None:
        self._api = api

    @property
    def max_requests(self) -> int:
        return self._api.max_requests

    @property
    def max_bytes(self) -> int:
        return self._api.max_bytes

    def line(self, key: str, request: CompletionRequest, /) -> bytes:
        return self._api.line(key, request)

    async def find(self, name: str, /) -> list[VendorBatch]:
        async with self._translated():
            found = [batch async for given, batch in self._api.batches() if given == name]
        return found[::-1]

    async def create(self, name: str, file: BinaryIO, /) -> VendorBatch:
        async with self._translated(missing=True):
            return await self._api.create(name, file)

    async def look(self, batch_id: str, /) -> VendorBatch | None:
        async with self._translated():
            return await self._unless({_NOT_FOUND}, self._api.get(batch_id))

    async def cancel(self, batch_id: str, /) -> None:
        async with self._translated():
            await self._unless(_OVER_OR_UNKNOWN, self._api.cancel(batch_id))

    @asynccontextmanager
    async def results(self, batch: VendorBatch, /) -> AsyncGenerator[AsyncGenerator[BatchResult]]:
        async with aclosing(self._results(batch)) as results:
            yield results

    async def forget(self, batch: VendorBatch, /) -> None:
        async with self._translated():
            for file in filter(None, (batch.input_file, *batch.files)):
                await self._unless({_NOT_FOUND}, self._api.delete(file))

    async def _unless(self, statuses: Collection[int], call: Awaitable[T]) -> T | None:
        """The result of a call. None: it was refused with one of the statuses."""
        try:
            return await call
        except self._api.sdk_errors as error:
            if self._api.status(error) in statuses:
                return None
            raise

    async def _results(self, batch: VendorBatch) -> AsyncGenerator[BatchResult]:
        for file in batch.files:
            async with self._translated(), aclosing(self._api.lines(file)) as lines:
                async for line in lines:
                    if isinstance(value := parsed(line), dict):
                        yield self._result(fields(value))

    def _result(self, value: Mapping[str, Any]) -> BatchResult:
        key = string(value.get(self._api.key_field))
        try:
            return BatchResult(key=key, result=self._api.result(value))
        except ProviderError as error:
            return BatchResult(key=key, result=error)

    @asynccontextmanager
    async def _translated(self, *, missing: bool = False) -> AsyncGenerator[None]:
        """Turn the SDK's errors into ours. `missing`: whether a 404 means that there are no
        batches."""
        try:
            yield
        except AnswerRefused as error:
            raise self._api.error(error.outcome, str(error)) from None
        except self._api.sdk_errors as error:
            failed, status = self._api.failed(error), self._api.status(error)
            if missing and status in _MISSING:
                text = f"this endpoint has no batches: {failed.message}"
                raise BatchesMissing(CallOutcome.BAD_REQUEST, text) from None
            # The message of a refusal may contain the credential: its traceback must not show it.
            raise failed from (error if status is None else None)
