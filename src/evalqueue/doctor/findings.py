"""What a check of the doctor finds."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing, perhaps meant so."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check."""

    name: str
    """Of the check; for programs, and never renamed."""
    level: Level
    what: str
    since: datetime | None = None
    fix: str | None = None
    """What to do: a command where there is one."""


ok = partial(Finding, level=Level.OK)
note = partial(Finding, level=Level.NOTE)
wrong = partial(Finding, level=Level.WRONG)


def duration_text(length: timedelta) -> str:
    """A length of time in its largest unit."""
    seconds = length.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
