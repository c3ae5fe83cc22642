"""Turns: the permission to make one attempt at an LLM call.

`evaluators.pace` gives turns at the pace of a credential. Without it, `Unpaced` gives them at once.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Protocol

from evalqueue.evaluators.providers.errors import ProviderError
from evalqueue.evaluators.providers.provider import Completion


class CallTurn(Protocol):
    """The permission to make one attempt."""

    def end(self, result: Completion | ProviderError | None, /) -> None:
        """Report how the attempt ended. None: it was interrupted, or not made. Must be called."""
        ...


class Turns(Protocol):
    """Gives turns to the calls of one job."""

    async def take(
        self, characters: int, /, *, refused: ProviderError | None, refusals: int
    ) -> CallTurn:
        """Wait for a turn.

        Args:
            characters: of the prompt.
            refused: the refusal that the call met last, if it met one.
            refusals: how many it met.

        Raises:
            ProviderError: the job waited for longer than it may.
        """
        ...

    def answered_since(self, moment: float, /) -> bool:
        """Whether the endpoint has answered any call since a moment (of `time.monotonic`)."""
        ...


class _NoTurn:
    def end(self, result: Completion | ProviderError | None, /) -> None:
        """It is not counted."""


class Unpaced:
    """Turns without a limit. A refused call waits as its vendor asks, and backs off."""

    def __init__(
        self,
        *,
        sleep: Callable[[float], Awaitable[None]],
        uniform: Callable[[float, float], float] = random.uniform,
        backoff_base_seconds: float = 1.0,
        backoff_cap_seconds: float = 60.0,
    ) -> None:
        self._sleep = sleep
        self._uniform = uniform
        self._base = backoff_base_seconds
        self._cap = backoff_cap_seconds

    async def take(
        self, characters: int, /, *, refused: ProviderError | None, refusals: int
    ) -> CallTurn:
        if refused is not None:
            await self._sleep(
                backoff(refusals, self._base, self._cap, self._uniform)
                + (refused.retry_after or 0.0)
            )
        return _NoTurn()

    def answered_since(self, moment: float, /) -> bool:
        return True


def backoff(times: int, base: float, cap: float, uniform: Callable[[float, float], float]) -> float:
    """Exponential backoff with full jitter, in seconds.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    exponent = min(times - 1, 32)  # 2**32 s is above any cap
    return uniform(0.0, min(base * 2.0**exponent, cap))
