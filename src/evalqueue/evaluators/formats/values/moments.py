"""Times as files write them.

A date such as 1/2/2025 has two meanings. It is read only if its order is known: from the caller, or
from another date of the same column (13/2/2025). Dates with dots have the day first in every
language that writes them so (Unicode CLDR).
"""

import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from evalqueue.evaluators.formats import DateOrder

YEARS = range(1970, 2100)  # other years are typing errors, or a spreadsheet's serial numbers
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = ((10**11, 10**6), (10**14, 10**3), (10**17, 1))
"""Unix times below the first number count in units of so many microseconds: seconds until the year
5138, then milliseconds, then microseconds; above them nanoseconds."""

# fromisoformat alone accepts too much: it reads the Unix time 1975120120000 as 1 December 1975.
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]\S+)?|[0-9]{8}T\S+")
_COMPACT = re.compile(r"(?:19|20)[0-9]{6}(?:[0-9]{6})?")
_UNIX = re.compile(r"[0-9]{9,19}(\.[0-9]+)?")
_TIME = (
    r"(?:(?:,?\s+(?:at\s+|um\s+)?|,|T)"
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    r"(?:\s*(?P<half>[ap])\.?\s?m\.?)?"
    r"(?:\s*(?:Z|(?:UTC|GMT)?(?P<sign>[+-])(?P<zone_hours>[0-9]{2}):?(?P<zone_minutes>[0-9]{2})?"
    r"|UTC|GMT))?(?:\s*\([^()]*\))?)?"
)
_WEEKDAY = r"(?:[^\W\d_]{2,10}\.?,?\s+)?"
_MONTH = r"(?P<name>[^\W\d_]{3,12})\.?"
_SHORT = r"\A(?=(?s:.){1,120}\Z)"  # no date is longer, and only short text is searched fast
_DATES = tuple(
    re.compile(_SHORT + pattern + _TIME + r"\Z", re.IGNORECASE)
    for pattern in (
        r"(?P<year>[0-9]{4})(?P<separator>[-/.])(?P<month>[0-9]{1,2})(?P=separator)(?P<day>[0-9]{1,2})",
        r"(?P<year>[0-9]{4})年(?P<month>[0-9]{1,2})月(?P<day>[0-9]{1,2})日",
        r"(?P<first>[0-9]{1,2})(?P<separator>[-/.])(?P<second_part>[0-9]{1,2})(?P=separator)"
        r"(?P<year>[0-9]{4}|[0-9]{2})",
        _WEEKDAY + _MONTH + r"\s+(?P<day>[0-9]{1,2})(?:st|nd|rd|th)?,?\s+(?P<year>[0-9]{4})",
        _WEEKDAY + r"(?P<day>[0-9]{1,2})(?:st|nd|rd|th|\.)?[\s-]+(?:de\s+)?" + _MONTH
        + r"[\s,-]+(?:de\s+)?(?P<year>[0-9]{4}|[0-9]{2})",
    )
)  # fmt: skip
_NAMES = (
    "january february march april may june july august september october november december",
    "januar februar marz april mai juni juli august september oktober november dezember",
    "janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre",
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "janeiro fevereiro marco abril maio junho julho agosto setembro outubro novembro dezembro",
    "januari februari maart april mei juni juli augustus september oktober november december",
)
_SHORTEST_NAME = 3
_MONTHS_IN_YEAR = 12
_CENTURY = 2000


class AmbiguousDate(ValueError):
    """The day may come before the month, or after it."""


def moment_of(cell: str, order: DateOrder | None = None) -> datetime | None:
    """An aware time. None: the cell has no time.

    Raises:
        AmbiguousDate: the order of the day and the month is not known.
    """
    text = " ".join(cell.split())
    try:
        if _COMPACT.fullmatch(text):
            numbers = [int(text[:4]), *(int(text[at : at + 2]) for at in range(4, len(text), 2))]
            moment = datetime(*numbers, tzinfo=UTC)  # pyright: ignore[reportCallIssue, reportArgumentType]  three or six numbers
            return moment if moment.year in YEARS else None
        if _UNIX.fullmatch(text):
            return unix_time(int(text) if text.isdigit() else float(text))
        iso = text.removesuffix(" UTC")
        if _ISO.fullmatch(iso):
            moment = datetime.fromisoformat(iso)
        elif (parts := _parts(text)) is not None:
            moment = _moment(parts, order)
        else:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
    except AmbiguousDate:
        raise
    except (ValueError, OverflowError):  # the shape of a time, but no such day, hour or offset
        return None
    return moment if moment.year in YEARS else None


def unix_time(value: float) -> datetime | None:
    """The moment of a Unix time in seconds, milliseconds, microseconds or nanoseconds."""
    microseconds = next((unit for below, unit in _UNITS if value < below), 0.001)
    try:
        moment = _EPOCH + timedelta(microseconds=round(value * microseconds))
    except (ValueError, OverflowError):  # infinite, NaN, or no such year
        return None
    return moment if moment.year in YEARS else None


def order_of(cell: str) -> DateOrder | None:
    """The order that this date alone decides. None: it does not decide it.

    Raises:
        AmbiguousDate: it has two meanings.
    """
    parts = _parts(" ".join(cell.split()))
    if parts is None or "first" not in parts or parts["separator"] == ".":
        return None
    first, second = int(parts["first"]), int(parts["second_part"])
    if first > _MONTHS_IN_YEAR >= second:
        return DateOrder.DAY_FIRST
    if second > _MONTHS_IN_YEAR >= first:
        return DateOrder.MONTH_FIRST
    if first != second:
        raise AmbiguousDate
    return None


def decided_order(cells: Iterable[str]) -> DateOrder | None:
    """The order that the first deciding date of a column has. None: no date decides it."""
    for cell in cells:
        try:
            order = order_of(cell)
        except AmbiguousDate:
            continue
        if order is not None:
            return order
    return None


def _parts(text: str) -> dict[str, str] | None:
    for pattern in _DATES:
        if (match := pattern.match(text)) is not None:
            return match.groupdict(default="")
    return None


def _moment(part: dict[str, str], order: DateOrder | None) -> datetime:
    month, day = _month_and_day(part, order)
    year = int(part["year"]) + (_CENTURY if len(part["year"]) == len("25") else 0)
    hour = int(part["hour"] or 0)
    if part["half"]:
        if hour not in range(1, 13):
            raise ValueError("a twelve-hour clock has no such hour")
        hour = hour % 12 + (12 if part["half"].lower() == "p" else 0)
    microsecond = int(part["fraction"][:6].ljust(6, "0"))
    zone = UTC
    if part["sign"]:
        offset = timedelta(hours=int(part["zone_hours"]), minutes=int(part["zone_minutes"] or 0))
        zone = timezone(-offset if part["sign"] == "-" else offset)
    minute, second = int(part["minute"] or 0), int(part["second"] or 0)
    return datetime(year, month, day, hour, minute, second, microsecond, tzinfo=zone)


def _month_and_day(part: dict[str, str], order: DateOrder | None) -> tuple[int, int]:
    if "first" in part:
        first, second = int(part["first"]), int(part["second_part"])
        if part["separator"] == ".":
            return second, first
        if order is None and first != second and max(first, second) <= _MONTHS_IN_YEAR:
            raise AmbiguousDate
        is_day_first = first > _MONTHS_IN_YEAR if order is None else order is DateOrder.DAY_FIRST
        return (second, first) if is_day_first else (first, second)
    if "name" in part:
        return _month_named(part["name"]), int(part["day"])
    return int(part["month"]), int(part["day"])


@lru_cache(maxsize=256)
def _month_named(name: str) -> int:
    """The month that a name begins in some language, if only one does."""
    decomposed = unicodedata.normalize("NFKD", name.lower())
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    found = {
        number
        for names in _NAMES
        for number, full in enumerate(names.split(), start=1)
        if len(plain) >= _SHORTEST_NAME and full.startswith(plain)
    }
    found |= {9} if plain == "sept" else set()
    if len(found) != 1:
        raise ValueError("no month, or not one only")
    return found.pop()
