"""The batches of a simulated vendor, whatever the protocol.

The questions of a batch are answered one after the other over its delay, and only when somebody
looks: so a batch that is cancelled or expires has the answers of its first questions.
"""

import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypedDict

from evalqueue.evaluators.simulated.draws import draws
from evalqueue.evaluators.simulated.vendor.protocols.protocol import VendorReply

AnswerItem = Callable[[bytes, str, Mapping[str, str], Mapping[str, str]], VendorReply]
"""Answers a body as if it came by a path, with the parts of that and with headers."""
_EXPIRED_SHARE = 0.5  # of the questions of a batch that expires are answered


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How batches behave."""

    seed: int
    delay_seconds: float
    """From its creation to its end."""
    failed_rate: float
    """The share of questions that fail with a server error."""
    expiring: int
    """The number of batches, from the first, that expire before all of their questions are
    answered."""


class BatchPhase(StrEnum):
    """What is happening to a batch."""

    REFUSED = "refused"
    RUNNING = "running"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class BatchCounts(TypedDict):
    """How many batches there are."""

    batches: int
    batches_running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEntry:
    """One question of a batch."""

    key: str
    body: bytes
    """As it would be sent by itself."""


@dataclass(slots=True, kw_only=True)
class BatchJob:
    """A batch, and what it has come to."""

    id: str
    key: str
    """The credential that created it."""
    entries: Sequence[BatchEntry]
    answer: Callable[[BatchEntry], VendorReply]
    created_at: float
    expires: bool
    labels: dict[str, Any] = field(default_factory=dict[str, Any])
    """What its creator attached to it."""
    input_file: str = ""
    problem: str | None = None
    """Why it was refused."""
    replies: list[VendorReply] = field(default_factory=list[VendorReply])
    """Of its first entries, in order."""
    ended_at: float | None = None
    is_cancelled: bool = False

    @property
    def phase(self) -> BatchPhase:
        if self.problem is not None:
            return BatchPhase.REFUSED
        if self.is_cancelled:
            return BatchPhase.CANCELLED
        if self.ended_at is None:
            return BatchPhase.RUNNING
        return BatchPhase.EXPIRED if self.expires else BatchPhase.COMPLETED

    @property
    def failed(self) -> int:
        return sum(not is_ok(reply) for reply in self.replies)

    @property
    def answered(self) -> int:
        return len(self.replies) - self.failed


class BatchBook:
    """The batches of a vendor, newest first."""

    def __init__(self, options: BatchOptions) -> None:
        self.options = options
        self._batches: dict[str, BatchJob] = {}
        self._numbers = itertools.count(1)

    @property
    def counts(self) -> BatchCounts:
        for batch in self._batches.values():
            self._advance(batch)
        running = sum(each.phase is BatchPhase.RUNNING for each in self._batches.values())
        return {"batches": len(self._batches), "batches_running": running}

    def create(
        self,
        entries: Sequence[BatchEntry],
        answer: Callable[[BatchEntry], VendorReply],
        *,
        key: str,
        labels: dict[str, Any],
        input_file: str = "",
    ) -> BatchJob:
        number = next(self._numbers)
        batch = BatchJob(
            id=f"batch_{number:06d}",
            key=key,
            entries=entries,
            answer=answer,
            created_at=time.time(),
            expires=number <= self.options.expiring,
            labels=labels,
            input_file=input_file,
            problem=_problem(entries),
        )
        self._batches[batch.id] = batch
        return batch

    def find(self, batch_id: str, *, key: str) -> BatchJob | None:
        """A batch, as it is now; only with the credential that created it."""
        batch = self._batches.get(batch_id)
        if batch is None or batch.key != key:
            return None
        self._advance(batch)
        return batch

    def newest(self, *, key: str) -> list[BatchJob]:
        found = [each for each in reversed(self._batches.values()) if each.key == key]
        for batch in found:
            self._advance(batch)
        return found

    def cancel(self, batch: BatchJob) -> None:
        """What is answered by now stays."""
        self._advance(batch)
        if batch.phase is BatchPhase.RUNNING:
            batch.is_cancelled = True
            batch.ended_at = time.time()

    def _advance(self, batch: BatchJob) -> None:
        if batch.phase is not BatchPhase.RUNNING:
            return
        now = time.time()
        total = len(batch.entries)
        delay = self.options.delay_seconds
        passed = 1.0 if delay == 0 else min(1.0, (now - batch.created_at) / delay)
        last = int(total * _EXPIRED_SHARE) if batch.expires else total
        due = min(last, int(total * passed))
        for entry in batch.entries[len(batch.replies) : due]:
            batch.replies.append(self._reply(batch, entry))
        if passed == 1.0:
            batch.ended_at = now

    def _reply(self, batch: BatchJob, entry: BatchEntry) -> VendorReply:
        (draw,) = draws(self.options.seed, "batch item", entry.key, count=1)
        if draw < self.options.failed_rate:
            error = {"message": "The server had an error.", "type": "server_error", "code": None}
            return VendorReply(status=500, body={"error": error})
        return batch.answer(entry)


def is_ok(reply: VendorReply) -> bool:
    return reply.status < 300  # noqa: PLR2004  success


def sent(body: object) -> bytes:
    """A body as the SDKs send it by itself."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _problem(entries: Sequence[BatchEntry]) -> str | None:
    if not entries:
        return "The batch has no requests."
    if len({entry.key for entry in entries}) < len(entries):
        return "Two requests have the same custom_id."
    return None
