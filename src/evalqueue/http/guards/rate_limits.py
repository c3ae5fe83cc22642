"""How many requests one caller may send: `RateLimit`, and the arithmetic under it.

A caller may send so many at once, and from then on one each time that a share of the window has
gone by. All that is kept of a caller is one moment.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from evalqueue.http.callers import ANYBODY, THIS_MACHINE, address_of, caller_of, is_known
from evalqueue.http.error_responses import detail
from evalqueue.settings import Rate

MAX_KEYS = 100_000  # callers that are remembered; those that were quiet the longest are forgotten
_ROUNDING = 1e-6  # seconds: more than a difference of two moments can be off
_PROBES = frozenset({"/healthz", "/readyz"})


class Pace:
    """Whether somebody may do it once more: the generic cell rate algorithm."""

    def __init__(self, rate: Rate, *, now: Callable[[], float] = time.monotonic) -> None:
        self._interval = rate.seconds / rate.amount
        self._window = rate.seconds
        self._now = now
        self._free_at: OrderedDict[Hashable, float] = OrderedDict()

    def wait(self, key: Hashable) -> float:
        """How many seconds it is until `key` may; 0: now."""
        ahead = max(0.0, self._free_at.get(key, 0.0) - self._now())
        left = ahead + self._interval - self._window
        return left if left > _ROUNDING else 0.0

    def hit(self, key: Hashable) -> float:
        """Count one of `key`, if it may.

        Returns:
            0; or how many seconds it is until it may, and nothing was counted.
        """
        if left := self.wait(key):
            return left
        self._free_at[key] = max(self._free_at.get(key, 0.0), self._now()) + self._interval
        self._free_at.move_to_end(key)
        if len(self._free_at) > MAX_KEYS:
            self._free_at.popitem(last=False)
        return 0.0


class TooMany(HTTPException):
    """Not so often."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(429, what, {"Retry-After": str(max(1, math.ceil(seconds)))})


class RateLimit:
    """Refuses with 429 what a caller sends beyond their rate: by name, or else by address.

    A stream counts once, when it begins. What asks after this process's health has a count of its
    own: a balancer must not lose sight of it because somebody else is loud.
    """

    def __init__(self, app: ASGIApp, *, rate: Rate) -> None:
        self._app = app
        self._pace = Pace(rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (wait := self._pace.hit(_whose(scope))):
            refused = TooMany(
                "Too many requests. Send fewer, or raise EVALQUEUE_RATE_LIMIT on the server.", wait
            )
            await detail(429, refused.detail, refused.headers)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _whose(scope: Scope) -> tuple[str, str]:
    # Those two are nobody in particular; a token may be called as they are.
    if is_known(scope) and all(caller_of(scope) is not each for each in (ANYBODY, THIS_MACHINE)):
        return "name", caller_of(scope).name
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return "probe" if path in _PROBES else "address", address_of(scope)
