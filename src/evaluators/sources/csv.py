"""Threads from CSV: one row is one turn, the rows of one thread_id are a thread.

This is a border, and the last place where a cell is only text. Ids stay as they are written ("007"
is not 7), a missing value is None and never "nan" or "", a time without a zone is UTC, and the day
comes before the month. What can't be understood is reported by row and column, all of it at once.
"""

import asyncio
import hashlib
import importlib.util
import io
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, Protocol, Self, cast

from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.sources import Dataset, Faults, Statistics, shown
from evalqueue.evaluators.sources.files import read_confined

CELL_LIMIT = 16 * 1024**2  # characters
YEARS = range(1970, 2100)  # others are typing errors, or a spreadsheet's serial numbers


class _Cells(NamedTuple):
    """One row's cells, by the names of their columns; the optional columns come last."""

    thread_id: str
    user_id: str
    session_id: str
    query_text: str
    final_response_message: str
    intent_detected: str
    timestamp: str
    has_image: str
    response_id: str
    intent_query_type: str
    error_message: str


COLUMNS = _Cells._fields
OPTIONAL_COLUMNS = ("response_id", "intent_query_type", "error_message")


def read_csv(content: str | bytes | Path, name: str) -> Dataset:
    """Read, check and group a whole CSV; raises `BadData`. Blocks, so call it in a thread.

    A `Path` is trusted: paths from outside go through `files.read_confined`.
    """
    data = _as_bytes(content)
    faults = Faults(name)
    by_thread: dict[str, list[_Message]] = {}
    for message in _messages(data, faults):
        by_thread.setdefault(message.cells.thread_id, []).append(message)
    if not by_thread and not faults:
        faults.add(None, None, "it has no rows below its header.")
    faults.raise_if_any()
    threads = tuple(_thread(messages) for messages in by_thread.values())
    return Dataset(
        name=name,
        threads=threads,
        statistics=Statistics.of(threads),
        sha256=hashlib.sha256(data).hexdigest(),
    )


@dataclass(frozen=True, slots=True)
class CsvSource:
    """A CSV as a `Source`; fetching and parsing happen outside the event loop."""

    name: str
    fetch: Callable[[], str | bytes]

    @classmethod
    def of_file(cls, data_dir: Path, data_path: str) -> Self:
        """A file of the data directory, named by somebody else."""
        return cls(data_path, partial(read_confined, data_dir, data_path))

    @classmethod
    def of_text(cls, text: str, name: str = "csv_content") -> Self:
        """A CSV that came with the request."""
        return cls(name, lambda: text)

    async def dataset(self) -> Dataset:
        return await asyncio.to_thread(lambda: read_csv(self.fetch(), self.name))

    async def threads(self) -> AsyncIterator[Thread]:
        for thread in (await self.dataset()).threads:
            yield thread


# From bytes to lines.


_NOT_TEXT = (
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
    (b"PK\x03\x04", "an Excel workbook or a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
)
_HEAD_BYTES = 200
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf]")  # how a lone surrogate looks in UTF-8


def _as_bytes(content: str | bytes | Path) -> bytes:
    match content:
        case Path():
            return content.read_bytes()
        case str():
            return content.encode("utf-8", "surrogatepass")
        case bytes():
            return content


def _not_text(data: bytes) -> str | None:
    """What the data is when it is plainly no UTF-8 text."""
    head = data[:_HEAD_BYTES]
    for magic, kind in _NOT_TEXT:
        if head.startswith(magic):
            return kind
    # Without its byte order mark, every second byte of UTF-16 is NUL where the text is English.
    return "UTF-16 text or binary" if head.count(0) * 3 > len(head) else None


def _lines(data: bytes) -> Iterable[str]:
    """Decoded piece by piece: one emoji would make a whole file's text four bytes a character."""
    # surrogatepass: lone surrogates are replaced below, as they are when they come in a str.
    lines = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", "surrogatepass", newline="")
    if b"\0" in data or _SURROGATE.search(data):
        return map(_scrubbed, lines)
    return lines


def _scrubbed(line: str) -> str:
    """Without what Postgres can't store: NUL and lone surrogates; split pairs are joined."""
    utf16 = line.replace("\0", "\ufffd").encode("utf-16-le", "surrogatepass")
    return utf16.decode("utf-16-le", "replace")


# From lines to rows.


class _Reader(Protocol):
    """What `csv.reader` returns."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...
    def __next__(self) -> list[str]: ...


class _CsvModule(Protocol):
    """What is used of the standard library's `_csv`."""

    Error: type[Exception]

    def field_size_limit(self, new_limit: int, /) -> int: ...
    def reader(self, lines: Iterable[str], /, *, strict: bool) -> _Reader: ...


def _own_csv_module() -> _CsvModule:
    """A second instance of the module behind `csv`, with a limit of its own.

    `csv.field_size_limit` is one number for the whole process; raising it there would take from
    the program we are a guest in a guard that it may rely on.
    """
    spec = importlib.util.find_spec("_csv")
    if spec is None or spec.loader is None:
        raise ImportError("this Python has no _csv module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    own = cast("_CsvModule", module)  # what a module holds is known at run time only
    own.field_size_limit(CELL_LIMIT)
    return own


_csv = _own_csv_module()


def _rows(data: bytes, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    """The rows that have any content, with the numbers that a spreadsheet gives them."""
    reader = _csv.reader(_lines(data), strict=True)
    row = 0
    while True:
        row += 1
        begins_on_line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError:
            faults.add(*_undecodable(data))
            return
        except _csv.Error as exc:
            faults.add(row, None, _unreadable(exc, begins_on_line, reader.line_num))
            continue
        if any(cells):
            yield row, cells


def _unreadable(error: Exception, first_line: int, last_line: int) -> str:
    begins = f"the row begins on line {first_line} of the file and "
    if "unexpected end" in str(error):
        return begins + "a quote opened in it is never closed. Close it before the comma."
    if "field limit" in str(error):
        return (
            f"{begins}a cell in it is longer than {CELL_LIMIT:,} characters. Shorten it, "
            "or close a quote that was left open."
        )
    return (
        f'{begins}can\'t be read on line {last_line}: {error}. Write a quote within quotes as "".'
    )


def _undecodable(data: bytes) -> tuple[int | None, None, str]:
    """Where the bytes stop being UTF-8; they are known to, somewhere."""
    offset = len(data)
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as exc:
        offset = exc.start
    # A "?" in the bad byte's place: so its row is there to be counted, were it the row's first.
    reader = _csv.reader(_lines(data[:offset] + b"?"), strict=False)
    try:
        row = sum(1 for _ in reader)
    except _csv.Error:
        row = None
    byte = data[offset : offset + 1].hex()
    reason = f"byte 0x{byte} at offset {offset} is not UTF-8. Save the file as “CSV UTF-8”."
    return row, None, reason


# From rows to messages.


class _Message(NamedTuple):
    """A row whose cells have been understood."""

    timestamp: datetime
    has_image: bool
    cells: _Cells


def _messages(data: bytes, faults: Faults) -> Iterator[_Message]:
    if kind := _not_text(data):
        faults.add(None, None, f"it is {kind}, not CSV in UTF-8. Save it as “CSV UTF-8”.")
        return
    rows = _rows(data, faults)
    header_row, header = next(rows, (1, list[str]()))
    if faults:  # then what came first is no header, and measuring rows by it would be noise
        return
    positions = _positions(header_row, header, faults)
    if faults:
        return
    for row, cells in rows:
        if len(cells) != len(header):
            reason = (
                f"it has {len(cells)} cells, the header has {len(header)}. "
                "Put cells that hold commas, quotes or line breaks into quotes."
            )
            faults.add(row, None, reason)
            continue
        cells.append("")  # what an absent column's position leads to
        message = _message(row, _Cells._make(cells[position] for position in positions), faults)
        if message and not faults:  # after a fault nothing will be returned: keep nothing either
            yield message


def _positions(row: int, header: list[str], faults: Faults) -> list[int]:
    """Where each column stands; an absent optional one stands behind the last."""
    if not header:
        faults.add(None, None, "it is empty. The first row has to name the columns.")
        return []
    names = [cell.strip().lower() for cell in header]
    for column in COLUMNS:
        count = names.count(column)
        if count > 1:
            faults.add(row, column, f"{count} columns have this name. Keep one of them.")
        elif count == 0 and column not in OPTIONAL_COLUMNS:
            faults.add(row, column, f"the header has no such column.{_separator_hint(header)}")
    return [names.index(column) if column in names else len(names) for column in COLUMNS]


def _separator_hint(header: list[str]) -> str:
    if len(header) == 1:
        for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if separator in header[0]:
                return f" The columns seem to be separated by {name}: use commas."
    return " Add it, or rename the column that holds it."


def _message(row: int, cells: _Cells, faults: Faults) -> _Message | None:
    for column, cell in (("thread_id", cells.thread_id), ("user_id", cells.user_id)):
        if not cell.strip():
            faults.add(row, column, "it is empty. Every message needs one.")
    timestamp = _timestamp(cells.timestamp)
    if timestamp is None:
        reason = (
            f"{shown(cells.timestamp)} is not a time between {YEARS.start} and {YEARS.stop - 1}. "
            "Write ISO 8601 (2025-01-15T10:30:00Z) or the day first (15/01/2025 10:30)."
        )
        faults.add(row, "timestamp", reason)
    has_image = _FLAGS.get(cells.has_image.strip().lower())
    if has_image is None:
        reason = f"{shown(cells.has_image)} is neither yes nor no. Write 1 or 0, or leave it empty."
        faults.add(row, "has_image", reason)
    if timestamp is None or has_image is None:
        return None
    return _Message(timestamp, has_image, cells)


_FLAGS = {
    **dict.fromkeys(("1", "true", "yes", "1.0"), True),
    **dict.fromkeys(("", "0", "false", "no", "0.0"), False),
}

# fromisoformat alone is too generous: it reads the Unix time 1975120120000 as 1 December 1975.
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]\S+)?|[0-9]{8}T\S+")
_DAY_FIRST = re.compile(
    r"(?P<day>[0-9]{1,2})(?P<separator>[/-])(?P<month>[0-9]{1,2})(?P=separator)"
    r"(?P<year>[0-9]{4}|[0-9]{2})"
    r"(?:,?[T\s]\s*(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?"
    r"(?:\s*(?P<half>[ap])\.?m\.?)?)?",
    re.IGNORECASE,
)


def _timestamp(cell: str) -> datetime | None:
    """An aware time; None when the cell holds none."""
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


# From messages to threads.


_MISSING = frozenset({"", "nan", "null"})  # how exports write that there is no value


def _thread(messages: list[_Message]) -> Thread:
    messages.sort(key=attrgetter("timestamp"))  # stable: rows of one moment keep the file's order
    return Thread(
        thread_id=messages[0].cells.thread_id,
        user_id=messages[0].cells.user_id,
        turns=tuple(_turn(number, message) for number, message in enumerate(messages, start=1)),
    )


def _turn(number: int, message: _Message) -> Turn:
    cells = message.cells
    return Turn(
        number=number,
        timestamp=message.timestamp,
        user_text=cells.query_text,
        bot_text=cells.final_response_message,
        routed_intent=_optional(cells.intent_detected),
        routed_query_type=_optional(cells.intent_query_type),
        has_image=message.has_image,
        error=_optional(cells.error_message),
        session_id=_optional(cells.session_id),
        response_id=_optional(cells.response_id),
    )


def _optional(cell: str) -> str | None:
    return None if cell.strip().lower() in _MISSING else cell
