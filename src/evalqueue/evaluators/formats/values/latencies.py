"""How long an answer took, as files write it.

The unit is part of a column's name, or of a mapping that somebody has given. A column whose name
has no unit is never read: 2 may be seconds, 350 may be anything.
"""

import math

from evalqueue.evaluators.formats import Faults, shown
from evalqueue.evaluators.formats.values.cells import is_missing

_WHAT = ("latency", "response_time", "response_latency", "answer_latency", "answer_time")
_MILLISECONDS = ("ms", "msec", "millis", "milliseconds", "in_ms", "in_milliseconds")
_SECONDS = ("seconds", "sec", "secs", "s", "in_seconds", "in_s")

WITHOUT_UNIT = _WHAT
IN_MILLISECONDS = tuple(f"{what}_{unit}" for what in _WHAT for unit in _MILLISECONDS)
IN_SECONDS = tuple(f"{what}_{unit}" for what in _WHAT for unit in _SECONDS)
UNIT_SECONDS = {"latency_ms": 0.001, "latency_seconds": 1.0}
"""How many seconds the numbers of our columns count in."""


def in_camel_case(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of JSON keys: `latency_ms` as `latencyMs`."""
    return tuple(
        first + "".join(map(str.capitalize, rest))
        for first, *rest in (name.split("_") for name in names)
    )


def in_cells(row: int, milliseconds: str, seconds: str, faults: Faults) -> float | None:
    """The latency in one of two cells, in seconds. None: there is none."""
    for (column, unit), cell in zip(UNIT_SECONDS.items(), (milliseconds, seconds), strict=True):
        if is_missing(cell):
            continue
        if (found := seconds_of(cell, unit)) is not None:
            return found
        message = f"Cells of {column} that are no number were left out, such as {shown(cell)}."
        faults.note("unread_latencies", row, message)
    return None


def seconds_of(written: object, unit_seconds: float) -> float | None:
    """A number in a unit, as seconds. None: it is none, or less than zero."""
    if isinstance(written, bool) or not isinstance(written, str | int | float):
        return None
    try:
        seconds = float(written) * unit_seconds
    except (ValueError, OverflowError):
        return None
    return round(seconds, 6) if math.isfinite(seconds) and seconds >= 0 else None
