"""The calls of one process that wait for a credential, or are under way: their queues and turns."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from evalqueue.evaluators.pace.waiting import Wait
from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.provider import Completion

FIRST_OUTPUT_TOKENS = 200  # expected of a call before any was answered
SMOOTHING = 0.2  # weight of the newest value in a moving average
LONGEST_LATENCY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Permit:
    """For one call, at one moment (of `time.monotonic`)."""

    at: float
    epoch: int
    is_probe: bool
    step: float
    tokens: float
    """What the ledger has reserved for it."""


@dataclass(slots=True, eq=False)
class Waiter:
    """A call that waits for its turn."""

    turn: "asyncio.Future[PacedTurn]"
    tokens: float
    since: float


class CallPace(Protocol):
    """What the calls of a job need of a pace."""

    answered_at: float
    """When a call was answered last, as far as this process knows."""

    async def turn(
        self, queue: "CallQueue", characters: int, *, is_repeated: bool
    ) -> "PacedTurn": ...

    def note_end(self, turn: "PacedTurn", result: Completion | ProviderError | None) -> None: ...

    def leave(self, queue: "CallQueue") -> None: ...


class PacedTurn:
    """The permission to make one attempt, with a permit of the ledger."""

    def __init__(self, pace: CallPace, queue: "CallQueue", permit: Permit, tokens: float) -> None:
        self.permit = permit
        self.queue = queue
        self.tokens = tokens
        self.began = time.monotonic()
        self.counts_as_admitted = False
        self._pace = pace
        self._has_ended = False

    def end(self, result: Completion | ProviderError | None, /) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._pace.note_end(self, result)


class CallQueue:
    """The calls of one job that wait for their turn, in their order."""

    def __init__(
        self,
        pace: CallPace,
        *,
        job: str,
        owner: str,
        max_wait_seconds: float | None,
        on_wait: Callable[[Wait | None], None],
    ) -> None:
        self.job = job
        self.owner = owner
        self.max_wait_seconds = max_wait_seconds
        self.on_wait = on_wait
        self.waiters: deque[Waiter] = deque()
        self.in_flight = 0
        self.answered = 0
        """Calls that were answered."""
        self.weight = 1.0
        """The share of this job here, in calls a second."""
        self.virtual_time = 0.0
        self.moved_at = time.monotonic()
        """When a call was answered last, or the queue began to wait."""
        self.shows_wait = False
        self._pace = pace

    async def take(
        self, characters: int, /, *, refused: ProviderError | None, refusals: int
    ) -> PacedTurn:
        """Wait for a turn; see `Turns.take`."""
        return await self._pace.turn(self, characters, is_repeated=refused is not None)

    def answered_since(self, moment: float, /) -> bool:
        return self._pace.answered_at > moment

    def close(self) -> None:
        """Leave the pace; the job makes no more calls."""
        self._pace.leave(self)

    @property
    def calls(self) -> int:
        return len(self.waiters) + self.in_flight


@dataclass(slots=True)
class Averages:
    """What calls take, as moving averages."""

    output_tokens: float = FIRST_OUTPUT_TOKENS
    tokens: float = 0.0
    latency: float = 1.0
    refusal_latency: float = 0.1
    has_latency: bool = False

    def note_request(self, tokens: float) -> None:
        weight = SMOOTHING if self.tokens else 1.0
        self.tokens += weight * (tokens - self.tokens)

    def note_answer(self, seconds: float, output_tokens: int | None) -> None:
        weight = SMOOTHING if self.has_latency else 1.0
        self.latency += weight * (min(seconds, LONGEST_LATENCY_SECONDS) - self.latency)
        self.has_latency = True
        if output_tokens is not None:
            self.output_tokens += SMOOTHING * (output_tokens - self.output_tokens)


@dataclass(slots=True)
class LocalPace:
    """How a process goes on by itself while the ledger can't be reached."""

    rate: float
    next_at: float
    held_until: float = 0.0
    is_on: bool = False
