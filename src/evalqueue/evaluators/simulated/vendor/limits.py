"""The limits of a simulated vendor: requests and tokens, in fixed windows or as token buckets.

A refused request costs nothing. Each key and model has an allowance of its own. A window is as long
as `window_seconds` says, so that a test need not take a minute; headers and messages state a limit
as if it were one per minute, as vendors do.
"""

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

_MINUTE = 60.0


class LimitKind(StrEnum):
    """How a vendor counts."""

    WINDOW = "window"
    """So many in each window, which begins for all at the same moment."""
    BUCKET = "bucket"
    """A steady refill, and a reserve that may be spent at once."""


class RetryAdvice(StrEnum):
    """How a refusal says when to come back."""

    NONE = "none"
    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    DATE = "date"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """The limits of a vendor. None: there is no such limit."""

    requests: int | None = None
    tokens: int | None = None
    window_seconds: float = _MINUTE
    kind: LimitKind = LimitKind.BUCKET
    burst_seconds: float | None = None
    """What a bucket holds, in seconds of its refill. None: as much as a window."""
    halved_after_requests: int | None = None
    """From this request on the limits are half of that."""
    requests_per_day: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRefusal:
    """Why a request is over a limit."""

    what: str
    """`requests`, `tokens` or `day`."""
    limit: float
    """Per minute; of a day: per day."""
    asked: int
    retry_after: float
    """Seconds."""
    is_too_large: bool = False
    """The request alone is over the limit."""


class _Counter:
    """What one limit has left."""

    def __init__(self, limit: float, options: LimitOptions) -> None:
        self.limit = limit
        self._options = options
        self._window = -1
        self._at: float | None = None
        self.left = self.capacity

    @property
    def capacity(self) -> float:
        options = self._options
        if options.kind is LimitKind.WINDOW or options.burst_seconds is None:
            return self.limit
        return max(1.0, self.limit * options.burst_seconds / options.window_seconds)

    def refill(self, now: float) -> None:
        options = self._options
        if options.kind is LimitKind.WINDOW:
            window = int(now / options.window_seconds)
            if window != self._window:
                self._window, self.left = window, self.limit
            return
        passed = 0.0 if self._at is None else now - self._at
        self._at = now
        self.left = min(self.capacity, self.left + passed * self.limit / options.window_seconds)

    def wait(self, amount: float, now: float) -> float:
        """Seconds until so much is there."""
        options = self._options
        if options.kind is LimitKind.WINDOW:
            return options.window_seconds - now % options.window_seconds
        return max(0.0, amount - self.left) * options.window_seconds / self.limit


class Allowance:
    """What one key may still ask of one model."""

    def __init__(self, options: LimitOptions) -> None:
        self._options = options
        self._counters = {
            what: _Counter(float(limit), options)
            for what, limit in (("requests", options.requests), ("tokens", options.tokens))
            if limit is not None
        }
        self._seen = 0
        self._admitted = 0
        self._began = time.monotonic()

    def take(self, tokens: int) -> LimitRefusal | None:
        """Take one request of so many tokens. None: it is admitted."""
        options, now = self._options, time.monotonic() - self._began
        self._seen += 1
        if self._seen == options.halved_after_requests:
            for counter in self._counters.values():
                counter.limit /= 2
                counter.left = min(counter.left, counter.capacity)
        if options.requests_per_day is not None and self._admitted >= options.requests_per_day:
            day = options.requests_per_day
            return LimitRefusal(what="day", limit=day, asked=1, retry_after=3_600)
        amounts = {"requests": 1, "tokens": tokens}
        for what, counter in self._counters.items():
            counter.refill(now)
            amount = amounts[what]
            if amount > counter.left:
                return LimitRefusal(
                    what=what,
                    limit=self._per_minute(counter),
                    asked=amount,
                    retry_after=counter.wait(amount, now),
                    is_too_large=amount > counter.capacity,
                )
        for what, counter in self._counters.items():
            counter.left -= amounts[what]
        self._admitted += 1
        return None

    def headers(self) -> Mapping[str, str]:
        """OpenAI's headers about the limits."""
        found: dict[str, str] = {}
        for what, counter in self._counters.items():
            found[f"x-ratelimit-limit-{what}"] = f"{self._per_minute(counter):.0f}"
            found[f"x-ratelimit-remaining-{what}"] = f"{counter.left:.0f}"
            spent = counter.wait(counter.capacity, time.monotonic() - self._began)
            found[f"x-ratelimit-reset-{what}"] = f"{spent:.3f}s"
        return found

    def _per_minute(self, counter: _Counter) -> float:
        return counter.limit * _MINUTE / self._options.window_seconds


def retry_headers(advice: RetryAdvice, seconds: float) -> Mapping[str, str]:
    """The headers that say when to come back."""
    match advice:
        case RetryAdvice.NONE:
            return {}
        case RetryAdvice.SECONDS:
            return {"retry-after": f"{seconds:g}"}
        case RetryAdvice.MILLISECONDS:
            return {"retry-after-ms": f"{seconds * 1000:.0f}"}
        case RetryAdvice.DATE:
            return {"retry-after": email.utils.formatdate(time.time() + seconds, usegmt=True)}
