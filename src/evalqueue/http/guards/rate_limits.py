"""Rate limits: how many requests one caller may send.

The generic cell rate algorithm (https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm): a
caller may send a whole window's amount at once, and after that one request each time an equal share
of the window has passed. It needs one number per caller.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from evalqueue.http.callers import ANONYMOUS, LOCAL_CALLER, address_of, caller_of, is_identified
from evalqueue.http.error_responses import detail_response
from evalqueue.http.guards.root_path import path_of
from evalqueue.settings import Rate

MAX_KEYS = 100_000  # remembered callers; the least recently active ones are forgotten
_ROUNDING_SECONDS = 1e-6  # more than the error of a difference of two times
_PROBES = frozenset({"/healthz", "/readyz"})


class RateLimiter:
    """Counts events by key and says whether one more is within the rate."""

    def __init__(self, rate: Rate, *, now: Callable[[], float] = time.monotonic) -> None:
        self._interval_seconds = rate.seconds / rate.amount
        self._window_seconds = rate.seconds
        self._now = now
        self._free_at: OrderedDict[Hashable, float] = OrderedDict()

    def wait_seconds(self, key: Hashable) -> float:
        """The time until one more event of `key` is within the rate; 0: now."""
        ahead = max(0.0, self._free_at.get(key, 0.0) - self._now())
        wait = ahead + self._interval_seconds - self._window_seconds
        return wait if wait > _ROUNDING_SECONDS else 0.0

    def hit(self, key: Hashable) -> float:
        """Count one event of `key` if it is within the rate.

        Returns:
            0 if it was counted; otherwise the seconds until it can be.
        """
        if wait := self.wait_seconds(key):
            return wait
        self._free_at[key] = max(self._free_at.get(key, 0.0), self._now()) + self._interval_seconds
        self._free_at.move_to_end(key)
        if len(self._free_at) > MAX_KEYS:
            self._free_at.popitem(last=False)
        return 0.0


class GuessLimit:
    """Limits how many different wrong secrets come from one address. Repeating one is no new guess,
    so that a program with an outdated secret does not lock out others at its address."""

    def __init__(self, rate: Rate) -> None:
        self._guesses = RateLimiter(rate)
        self._repeated = RateLimiter(Rate(amount=1, seconds=rate.seconds))

    def wrong(self, address: str, digest: bytes) -> float:
        """Count a wrong secret.

        Returns:
            0, or the seconds that its address has to wait.
        """
        if wait := self._guesses.wait_seconds(address):
            return wait
        if not self._repeated.hit((address, digest)):
            self._guesses.hit(address)
        return 0.0


class TooManyRequests(HTTPException):
    """429 with Retry-After in whole seconds."""

    def __init__(self, detail: str, wait_seconds: float) -> None:
        super().__init__(429, detail, {"Retry-After": str(max(1, math.ceil(wait_seconds)))})


class RateLimit:
    """Refuses with 429 requests beyond the caller's rate, counted by name or else by address.

    A stream counts once, when it begins. Health checks are counted separately, so that a load
    balancer behind the same address as a busy client still gets its answer.
    """

    def __init__(self, app: ASGIApp, *, rate: Rate) -> None:
        self._app = app
        self._limiter = RateLimiter(rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (wait := self._limiter.hit(_key(scope))):
            error = TooManyRequests(
                "Too many requests. Send fewer, or raise EVALQUEUE_RATE_LIMIT on the server.", wait
            )
            response = detail_response(error.status_code, error.detail, error.headers)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def caller_key(scope: Scope) -> tuple[str, str]:
    """What a caller's share is counted by: its name, or else its address."""
    # These two are shared by many callers. They are compared by identity, because a token may have
    # the same name.
    is_shared = not is_identified(scope) or any(
        caller_of(scope) is each for each in (ANONYMOUS, LOCAL_CALLER)
    )
    return ("address", address_of(scope)) if is_shared else ("name", caller_of(scope).name)


def _key(scope: Scope) -> tuple[str, str]:
    kind, name = caller_key(scope)
    path = path_of(scope)
    return ("probe", name) if kind == "address" and path in _PROBES else (kind, name)
