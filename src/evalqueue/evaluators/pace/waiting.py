"""Why a job waits for its LLM calls, for people."""

from dataclasses import dataclass

_REASON_LIMIT = 160  # characters
_HOUR_SECONDS = 3600
_MINUTE_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What one job waits for."""

    label: str
    """Of the credential: `openai/gpt-4o`."""
    requests_per_minute: float
    is_limit_known: bool
    tokens_per_minute: float | None = None
    next_in_seconds: float
    job_rate: float
    """The calls a second that this job gets."""
    failing: str | None = None
    """What the endpoint answers, if it is down."""

    def describe(self, calls_left: float | None = None) -> str:
        """Tell what is waited for, and how long it will take.

        Args:
            calls_left: how many calls the job still needs; None: unknown.
        """
        next_in = f"next in {_short(self.next_in_seconds)}"
        if self.failing is not None:
            reason = " ".join(self.failing.split())[:_REASON_LIMIT]
            return f"waiting for {self.label}, which does not answer ({reason}): {next_in}"
        about = "" if self.is_limit_known else "about "
        limit = f"{about}{self.requests_per_minute:,.0f} requests a minute"
        if self.requests_per_minute < 1:
            limit = f"{about}{self.requests_per_minute * 60:,.0f} requests an hour"
        if self.tokens_per_minute is not None:
            limit += f", {self.tokens_per_minute:,.0f} tokens a minute"
        parts = [f"waiting for {self.label}: {limit}", next_in]
        if calls_left is not None and calls_left > 0 and self.job_rate > 0:
            seconds = self.next_in_seconds + calls_left / self.job_rate
            parts.append(f"done in about {_long(seconds)}")
        return ", ".join(parts)


def _short(seconds: float) -> str:
    if seconds < _MINUTE_SECONDS:
        return f"{max(0.0, seconds):.1f} s"
    return _long(seconds)


def _long(seconds: float) -> str:
    if seconds < _MINUTE_SECONDS:
        return f"{max(1, round(seconds))} s"
    if seconds < 2 * _HOUR_SECONDS:
        return f"{round(seconds / _MINUTE_SECONDS)} min"
    return f"{seconds / _HOUR_SECONDS:.1f} h"
