"""How fast a job goes, and lengths of time, in words."""

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """How fast items get done, seen from when watching began: what was done before cost no time
    that we know of."""

    began: float | None = None
    done_before: int = 0

    def at(self, now: float, current: int, total: int) -> str:
        """Rate and time left in words; empty while nothing is known.

        Args:
            now: seconds of a monotonic clock.
        """
        if self.began is None or current < self.done_before:
            self.began, self.done_before = now, current
        done, seconds = current - self.done_before, now - self.began
        if done <= 0 or seconds <= 0:
            return ""
        rate = done / seconds
        left = f", ETA {duration((total - current) / rate)}" if total > current else ""
        return f"{rate:.1f}/s{left}" if rate >= 1 else f"{rate * 60:.1f}/min{left}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 60:  # noqa: PLR2004  seconds in a minute
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004  a digit that matters only here
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"
