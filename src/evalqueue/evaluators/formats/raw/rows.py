"""CSV as text: from the bytes of a file to its rows, a line at a time.

At most one row is in memory, and the size of a row is limited.
"""

import importlib.util
import io
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol, cast

from evalqueue.evaluators.formats import Faults
from evalqueue.evaluators.formats.raw.chunks import ChunkFile
from evalqueue.evaluators.formats.raw.encodings import first_bad_byte

CELL_LIMIT = 16 * 1024**2  # characters
ROW_LIMIT = 2 * CELL_LIMIT  # characters
_NOT_TEXT = (
    (b"PK\x03\x04", "an Excel workbook or a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
)
_HEAD_BYTES = 200
_UNEXPECTED_END = "unexpected end"
_SNIFFED_BYTES = 32 * 1024
_DELIMITERS = (",", ";", "\t", "|")  # the first is the most usual
_SEPARATOR_LINE = re.compile(r"\"?sep=(.?)\"?", re.IGNORECASE)
# In a file that doubles its quotes, a quote is followed by a delimiter, a line's end or a quote.
_BACKSLASHED = re.compile(r'\\"[^\s",;|]')
_ESCAPED = re.compile(r'\\[\\"]')
_UNESCAPED = {"\\\\": "\\", '\\"': '""'}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a CSV file is written."""

    delimiter: str = ","
    has_separator_line: bool = False
    """Whether the first line is Excel's `sep=;`."""
    has_backslashes: bool = False
    """Whether a quote within quotes is written as \\" and not as \"\"."""


def dialect_of(file: BinaryIO, missing: Callable[[list[str]], int]) -> Dialect:
    """How a file in UTF-8 is written, by its beginning.

    Args:
        missing: how many required columns a header lacks.
    """
    head = file.read(_SNIFFED_BYTES).decode("utf-8-sig", "replace")
    file.seek(0)
    has_backslashes = _BACKSLASHED.search(head) is not None
    first, _, _ = head.partition("\n")
    if (named := _SEPARATOR_LINE.fullmatch(first.strip())) is not None:
        return Dialect(
            delimiter=named[1] or "\t", has_separator_line=True, has_backslashes=has_backslashes
        )

    def badness(delimiter: str) -> tuple[int, int]:
        cells = _first_row(head, delimiter)
        return missing(cells), -len(cells)

    best = min(_DELIMITERS, key=badness)  # the first of equals
    return Dialect(delimiter=best, has_backslashes=has_backslashes)


def _first_row(head: str, delimiter: str) -> list[str]:
    try:
        reader = _csv.reader(io.StringIO(head, newline=""), strict=False, delimiter=delimiter)
        return next((cells for cells in reader if any(cells)), list[str]())
    except _csv.Error:
        return []


def rows(
    file: BinaryIO, faults: Faults, *, dialect: Dialect | None = None, is_cut: bool = False
) -> Generator[tuple[int, list[str]]]:
    """The rows that are not blank, with the numbers that a spreadsheet shows.

    The file has to be in UTF-8.
    """
    if kind := _not_text(file):
        faults.add(None, None, f"it is {kind}, not CSV in UTF-8. Save it as “CSV UTF-8”.")
        return
    dialect = dialect or Dialect()
    lines = _Lines(file, has_backslashes=dialect.has_backslashes)
    try:
        yield from _rows(lines, file, faults, dialect, is_cut=is_cut)
    finally:
        lines.let_go()


def _rows(
    lines: "_Lines", file: BinaryIO, faults: Faults, dialect: Dialect, *, is_cut: bool
) -> Iterator[tuple[int, list[str]]]:
    reader = _csv.reader(lines, strict=True, delimiter=dialect.delimiter)
    row = 0
    if dialect.has_separator_line:
        next(lines, None)
        row = 1
    while True:
        row += 1
        begins_on_line = reader.line_num + 1
        lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError:
            lines.let_go()
            faults.add(*_undecodable(file))
            return
        except _RowTooLong:
            reason = f"it is longer than {ROW_LIMIT:,} characters. Was a quote left open?"
            faults.add(row, None, reason)
            return
        except _csv.Error as exc:
            if is_cut and _UNEXPECTED_END in str(exc):
                return
            faults.add(row, None, _unreadable(exc, begins_on_line, reader.line_num))
            continue
        if any(cells):
            yield row, cells


def _not_text(file: BinaryIO) -> str | None:
    """What kind of file it is, if it is clearly no UTF-8 text."""
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    for magic, kind in _NOT_TEXT:
        if head.startswith(magic):
            return kind
    return "binary" if head.count(0) * 3 > len(head) else None


class _RowTooLong(Exception):
    """A row is too large for memory."""


class _Lines:
    """Decodes a file in pieces. One emoji makes a string use four bytes for each character."""

    def __init__(self, file: BinaryIO, *, has_backslashes: bool = False) -> None:
        # surrogatepass: lone surrogates are replaced below, as what Postgres can't store.
        self._text = io.TextIOWrapper(file, "utf-8-sig", "surrogatepass", newline="")
        self._left = ROW_LIMIT
        self._is_held = True
        self._has_backslashes = has_backslashes

    def let_go(self) -> None:
        """Detach from the file, which its owner closes. It would be closed with this object."""
        if self._is_held:
            self._is_held = False
            self._text.detach()

    def begin_row(self) -> None:
        self._left = ROW_LIMIT

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(self._left + 1)
        if not line:
            raise StopIteration
        self._left -= len(line)
        if self._left < 0:
            raise _RowTooLong
        if self._has_backslashes and "\\" in line:
            line = _ESCAPED.sub(lambda match: _UNESCAPED[match[0]], line)
        if "\0" in line or not (line.isascii() or _SURROGATE.search(line) is None):
            return _scrubbed(line)
        return line


def _scrubbed(line: str) -> str:
    """The text without NUL and lone surrogates (Postgres refuses both). Split pairs are joined."""
    utf16 = line.replace("\0", "\ufffd").encode("utf-16-le", "surrogatepass")
    return utf16.decode("utf-16-le", "replace")


class _Reader(Protocol):
    """The type of `csv.reader`'s result."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...
    def __next__(self) -> list[str]: ...


class _CsvModule(Protocol):
    """The used part of the standard library's `_csv`."""

    Error: type[Exception]

    def field_size_limit(self, new_limit: int, /) -> int: ...
    def reader(self, lines: Iterable[str], /, *, strict: bool, delimiter: str = ",") -> _Reader: ...


def _own_csv_module() -> _CsvModule:
    """A second instance of the module behind `csv`, with its own field size limit.

    `csv.field_size_limit` is global. Raising it would remove a guard that other code in the process
    may rely on.
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


def _unreadable(error: Exception, first_line: int, last_line: int) -> str:
    begins = f"the row begins on line {first_line} of the file and "
    if _UNEXPECTED_END in str(error):
        return begins + "a quote opened in it is never closed. Close it before the comma."
    if "field limit" in str(error):
        return (
            f"{begins}a cell in it is longer than {CELL_LIMIT:,} characters. Shorten it, "
            "or close a quote that was left open."
        )
    return (
        f'{begins}can\'t be read on line {last_line}: {error}. Write a quote within quotes as "".'
    )


def _undecodable(file: BinaryIO) -> tuple[int | None, None, str]:
    """The row of the first byte that is not UTF-8. There has to be one."""
    offset, byte = first_bad_byte(file) or (0, b"")
    file.seek(0)
    # A "?" replaces the bad byte, so that its row counts even if the byte is the row's first.
    lines = _Lines(cast("BinaryIO", io.BufferedReader(_Beginning(file, offset))))
    try:
        row = sum(1 for _ in _csv.reader(lines, strict=False))
    except (_csv.Error, _RowTooLong):
        row = None
    reason = (
        f"byte 0x{byte.hex()} at offset {offset} is not UTF-8, and other text of the file is. Save "
        "the file as “CSV UTF-8”."
    )
    return row, None, reason


class _Beginning(ChunkFile):
    """The first bytes of a file, followed by a question mark."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file = file
        self._left = length
        self._is_over = False

    def next_chunk(self, size: int) -> bytes:
        if self._left:
            chunk = self._file.read(min(size, self._left))
            self._left -= len(chunk)
            return chunk
        if self._is_over:
            return b""
        self._is_over = True
        return b"?"
