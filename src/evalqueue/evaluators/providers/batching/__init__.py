"""Batches: questions that a vendor answers within a day, at half the price of live calls.

A vendor that has them gives a `VendorBatches`, which the economy mode uses. Nothing here retries.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable

from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.provider import Completion, CompletionRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What became of one question."""

    key: str
    result: Completion | ProviderError


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorBatch:
    """A batch as its vendor shows it."""

    id: str
    is_over: bool
    done: int
    """Questions that were answered or have failed."""
    end: str = ""
    """How it ended, in the vendor's words: `completed`, `expired`, or why it was refused."""
    files: Sequence[str] = ()
    """Where the results are."""
    input_file: str | None = None


class QuestionNotRun(ProviderError):
    """The batch ended before it was the question's turn: no call was made."""


class BatchesMissing(ProviderError):
    """The endpoint has no batches."""


class VendorBatches(Protocol):
    """The batches of one model, with one credential. Every method may raise `ProviderError`."""

    @property
    def max_requests(self) -> int:
        """Of one batch."""
        ...

    @property
    def max_bytes(self) -> int:
        """Of the lines of one batch."""
        ...

    def line(self, key: str, request: CompletionRequest, /) -> bytes:
        """A question as a line of a batch's file."""
        ...

    async def find(self, name: str, /) -> list[VendorBatch]:
        """The batches that were created under a name, the oldest first."""
        ...

    async def create(self, name: str, file: BinaryIO, /) -> VendorBatch:
        """Hand in a file of lines under a name."""
        ...

    async def look(self, batch_id: str, /) -> VendorBatch | None:
        """A batch as it is now. None: the vendor does not know it."""
        ...

    async def cancel(self, batch_id: str, /) -> None:
        """Ask for its end. One that is over stays as it is."""
        ...

    def results(
        self, batch: VendorBatch, /
    ) -> AbstractAsyncContextManager[AsyncGenerator[BatchResult]]:
        """What became of the questions of a batch that is over. Some may be missing."""
        ...

    async def forget(self, batch: VendorBatch, /) -> None:
        """Delete the texts of a batch that is over at the vendor."""
        ...


@runtime_checkable
class SupportsBatches(Protocol):
    """A provider whose vendor has batches."""

    @property
    def batches(self) -> VendorBatches: ...
