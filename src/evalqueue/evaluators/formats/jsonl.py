"""Conversations as JSON: an object to a line, or one document (an array, or indented objects).

Both formats read both: files are often named by the other.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, cast

from evalqueue import codec
from evalqueue.evaluators.formats import DateOrder, Faults, Head, Message, records
from evalqueue.evaluators.formats.raw import encodings
from evalqueue.evaluators.formats.raw.documents import is_document, values
from evalqueue.evaluators.formats.records import Records, RecordsAgain
from evalqueue.evaluators.formats.table import Reading

LINE_LIMIT = 64 * 1024**2  # bytes
_HEAD_BYTES = 64 * 1024
_LONG_LINE = 1024**2  # bytes; an object that begins with one is parsed as a stream


class JsonFormat:
    """A format of JSON."""

    def __init__(self, name: str, suffixes: tuple[str, ...], *, is_document: bool) -> None:
        self.name = name
        self.suffixes = suffixes
        self._is_document = is_document

    def recognises(self, start: bytes) -> bool:
        return start.startswith((b"{", b"[")) and is_document(start) is self._is_document

    def messages(
        self,
        file: BinaryIO,
        faults: Faults,
        *,
        mapping: Mapping[str, str] | None = None,
        date_order: DateOrder | None = None,
        is_cut: bool = False,
    ) -> Iterator[Message]:
        reading = Reading(mapping=mapping or {}, date_order=date_order, is_cut=is_cut)
        return records.messages(_opened(file, is_cut=is_cut), faults, reading)

    def effective(self, file: BinaryIO, mapping: Mapping[str, str]) -> Mapping[str, str]:
        return records.effective(_opened(file, is_cut=True), mapping)

    def head(self, file: BinaryIO, mapping: Mapping[str, str] | None = None) -> Head:
        return records.head(_opened(file, is_cut=True), mapping)


JSONL = JsonFormat("jsonl", (".jsonl", ".ndjson"), is_document=False)


def _opened(file: BinaryIO, *, is_cut: bool) -> RecordsAgain:
    """The records of a file from its beginning."""
    text = encodings.from_utf16(file)

    def again(faults: Faults) -> Records:
        text.seek(0)
        is_whole = is_document(text.read(_HEAD_BYTES)) or _begins_with_long_line(text)
        text.seek(0)
        return (values if is_whole else _of_lines)(text, faults, is_cut=is_cut)

    return again


def _begins_with_long_line(file: BinaryIO) -> bool:
    file.seek(0)
    read = 0
    while read < _LONG_LINE and (chunk := file.read(_HEAD_BYTES)):
        if b"\n" in chunk:
            return False
        read += len(chunk)
    return read >= _LONG_LINE


def _of_lines(file: BinaryIO, faults: Faults, *, is_cut: bool) -> Records:
    for number, line in _lines(file, faults):
        value = _value(number, line, faults, is_cut=is_cut)
        if value is not None:
            yield number, value


def _lines(file: BinaryIO, faults: Faults) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with the numbers that an editor shows."""
    number = 0
    while line := file.readline(LINE_LIMIT + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > LINE_LIMIT:
            faults.add(number, None, f"it is longer than {LINE_LIMIT:,} bytes.")
            while line and not line.endswith(b"\n"):
                line = file.readline(LINE_LIMIT)
        elif line.strip():
            yield number, line


def _value(number: int, line: bytes, faults: Faults, *, is_cut: bool) -> Any:
    try:
        value: object = json.loads(line)
        if b"\\u" in line:
            # Only an escape can bring NUL or half a surrogate pair this far, or NUL itself.
            value = codec.clean_json(value)
    except UnicodeDecodeError as error:
        faults.add(number, None, f"it is not UTF-8: {error.reason} at byte {error.start}.")
    except ValueError as error:
        if not (is_cut and not line.endswith(b"\n")):
            faults.add(number, None, f"it is not JSON: {error}.")
    except RecursionError:
        faults.add(number, None, "it is nested too deeply.")
    else:
        if isinstance(value, dict | list) and value:
            return cast("object", value)
        faults.add(number, None, 'it is no object, or empty. Write {"messages": […]}.')
    return None
