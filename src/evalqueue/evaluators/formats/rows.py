"""CSV as text: from the bytes of a file to its rows, a line at a time.

At most one row is in memory, and the size of a row is limited.
"""

import codecs
import importlib.util
import io
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol, cast

from evalqueue.evaluators.formats import Faults
from evalqueue.evaluators.formats.chunks import ChunkFile

CELL_LIMIT = 16 * 1024**2  # characters
ROW_LIMIT = 2 * CELL_LIMIT  # characters
_CHUNK_BYTES = 1024**2

_NOT_TEXT = (
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
    (b"PK\x03\x04", "an Excel workbook or a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
)
_HEAD_BYTES = 200
_UNEXPECTED_END = "unexpected end"
_SURROGATE = re.compile("[\ud800-\udfff]")


def rows(
    file: BinaryIO, faults: Faults, *, is_cut: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, with the numbers that a spreadsheet shows."""
    if kind := _not_text(file):
        faults.add(None, None, f"it is {kind}, not CSV in UTF-8. Save it as “CSV UTF-8”.")
        return
    lines = _Lines(file)
    try:
        yield from _rows(lines, file, faults, is_cut=is_cut)
    finally:
        lines.let_go()


def _rows(
    lines: "_Lines", file: BinaryIO, faults: Faults, *, is_cut: bool
) -> Iterator[tuple[int, list[str]]]:
    reader = _csv.reader(lines, strict=True)
    row = 0
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
    # Without its byte order mark, every second byte of UTF-16 is NUL where the text is English.
    return "UTF-16 text or binary" if head.count(0) * 3 > len(head) else None


class _RowTooLong(Exception):
    """A row is too large for memory."""


class _Lines:
    """Decodes a file in pieces. One emoji makes a string use four bytes for each character."""

    def __init__(self, file: BinaryIO) -> None:
        # surrogatepass: lone surrogates are replaced below, as what Postgres can't store.
        self._text = io.TextIOWrapper(file, "utf-8-sig", "surrogatepass", newline="")
        self._left = ROW_LIMIT
        self._is_held = True

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
    def reader(self, lines: Iterable[str], /, *, strict: bool) -> _Reader: ...


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
    offset, byte = _bad_byte(file)
    file.seek(0)
    # A "?" replaces the bad byte, so that its row counts even if the byte is the row's first.
    lines = _Lines(cast("BinaryIO", io.BufferedReader(_Beginning(file, offset))))
    try:
        row = sum(1 for _ in _csv.reader(lines, strict=False))
    except (_csv.Error, _RowTooLong):
        row = None
    reason = f"byte 0x{byte.hex()} at offset {offset} is not UTF-8. Save the file as “CSV UTF-8”."
    return row, None, reason


def _bad_byte(file: BinaryIO) -> tuple[int, bytes]:
    """The offset of the first byte that is not UTF-8, and that byte."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
    offset = 0
    while True:
        chunk = file.read(_CHUNK_BYTES)
        held, _ = decoder.getstate()  # of the chunk before: the beginning of a character
        try:
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            return offset - len(held) + error.start, error.object[error.start : error.start + 1]
        if not chunk:
            return offset, b""
        offset += len(chunk)


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
