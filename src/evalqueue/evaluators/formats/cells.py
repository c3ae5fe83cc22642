"""The meaning of a file's values: times, and values that mean that there is none."""

import re
from datetime import UTC, datetime

YEARS = range(1970, 2100)  # other years are typing errors, or a spreadsheet's serial numbers
_MISSING = frozenset({"", "nan", "null"})  # how exports write that there is no value

# fromisoformat alone accepts too much: it reads the Unix time 1975120120000 as 1 December 1975.
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]\S+)?|[0-9]{8}T\S+")
_DAY_FIRST = re.compile(
    r"(?P<day>[0-9]{1,2})(?P<separator>[/-])(?P<month>[0-9]{1,2})(?P=separator)"
    r"(?P<year>[0-9]{4}|[0-9]{2})"
    r"(?:,?[T\s]\s*(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?"
    r"(?:\s*(?P<half>[ap])\.?m\.?)?)?",
    re.IGNORECASE,
)


def moment_of(cell: str) -> datetime | None:
    """An aware time. None: the cell has no time."""
    text = cell.strip().removesuffix(" UTC")
    try:
        if _ISO.fullmatch(text):
            moment = datetime.fromisoformat(text)
        elif match := _DAY_FIRST.fullmatch(text):
            moment = _day_first(match.groupdict(default=""))
        else:
            return None
    except ValueError:  # the shape of a time, but no such day, hour or offset
        return None
    if moment.year not in YEARS:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _day_first(part: dict[str, str]) -> datetime:
    year = int(part["year"]) + (2000 if len(part["year"]) == len("25") else 0)
    hour = int(part["hour"] or 0)
    if part["half"]:
        if hour not in range(1, 13):
            raise ValueError("a twelve-hour clock has no such hour")
        hour = hour % 12 + (12 if part["half"].lower() == "p" else 0)
    minute, second = int(part["minute"] or 0), int(part["second"] or 0)
    return datetime(year, int(part["month"]), int(part["day"]), hour, minute, second, tzinfo=UTC)


def optional(cell: str) -> str | None:
    """The cell's value. None: the cell means that there is no value."""
    return None if cell.strip().lower() in _MISSING else cell
