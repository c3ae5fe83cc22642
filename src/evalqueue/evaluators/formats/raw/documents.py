"""JSON documents: an array of records, or indented objects, one after another or in a wrapper.

Small documents are parsed by the standard library, which reads NaN as well; larger ones as a
stream, by ijson, a record at a time.
"""

import io
import json
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO, cast

import ijson

from evalqueue import codec
from evalqueue.evaluators.formats import Faults

RECORD_LIMIT = 64 * 1024**2  # bytes
_SMALL_BYTES = 128 * 1024
_BUFFER_BYTES = 64 * 1024
_DEPTH_LIMIT = 2 + codec.READABLE_DEPTH  # a record, in an array, in an object
_STARTS = frozenset({"start_map", "start_array"})
_ENDS = frozenset({"end_map", "end_array"})
_OPENING = (b"{", b"[", b",", b":")
_BOM = b"\xef\xbb\xbf"
_WRAPPERS = frozenset({
    "conversations", "data", "samples", "items", "results", "traces", "threads", "records", "rows",
    "resourceSpans", "spans", "sessions", "dialogs", "dialogues", "chats", "examples",
    "runs", "logs", "entries", "dataset", "train", "validation", "test",
})  # fmt: skip
"""Keys of an object under which records may be, too many to hold at once."""
_MESSAGE_KEYS = frozenset({"role", "from", "author", "speaker", "sender"})


def is_document(start: bytes) -> bool:
    """Whether a file that begins so is a document, and not an object to a line.

    Args:
        start: at least 4,096 of its bytes, or all.
    """
    line, end, _ = start.removeprefix(_BOM).lstrip().partition(b"\n")
    line = line.strip()
    if not line.startswith((b"{", b"[")):
        return False
    if line.startswith(b"["):
        return not (end and _is_json(line))
    return bool(end) and line.endswith(_OPENING) and not _is_json(line)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def values(file: BinaryIO, faults: Faults, *, is_cut: bool) -> Generator[tuple[int, Any]]:
    """The records of a document, numbered from 1."""
    number = 0
    bounded = _Bounded(file)
    try:
        for number, value in enumerate(_values(file, bounded, is_cut=is_cut), start=1):
            yield number, codec.clean_json(value)
            bounded.begin_record()
    except _RecordTooLong:
        reason = (
            f"it is longer than {RECORD_LIMIT:,} bytes. If it holds several conversations, write "
            "one to a line: jq -c '.KEY[]' FILE > conversations.jsonl"
        )
        faults.add(number + 1, None, reason)
    except RecursionError:
        faults.add(number + 1, None, "it is nested too deeply.")
    except (ijson.JSONError, ValueError) as error:
        if not is_cut:
            faults.add(number + 1, None, f"it is not JSON: {' '.join(str(error).split())}.")


class _RecordTooLong(Exception):
    """A record is too large for memory."""


class _Bounded:
    """The part of a file that a parser reads, which stops it in a record that is too long."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = RECORD_LIMIT

    def begin_record(self) -> None:
        self._left = RECORD_LIMIT

    def read(self, size: int) -> bytes:
        chunk = self._file.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise _RecordTooLong
        return chunk


def _values(file: BinaryIO, bounded: _Bounded, *, is_cut: bool) -> Iterator[Any]:
    beginning = file.read(_SMALL_BYTES + 1)
    if len(beginning) <= _SMALL_BYTES and not is_cut:
        yield from _of_text(beginning.removeprefix(_BOM).decode("utf-8", "surrogatepass"))
        return
    file.seek(len(_BOM) if beginning.startswith(_BOM) else 0)
    is_array = beginning.removeprefix(_BOM).lstrip().startswith(b"[")
    del beginning
    events = _events(bounded)
    if is_array:
        yield from _of_array(_items(events))
    else:
        yield from _of_objects(events)


def _events(source: _Bounded) -> Iterator[tuple[str, Any]]:
    """The events of a parser. It knows no paths: those of a deep nesting would fill the memory.

    Raises:
        RecursionError: it is nested too deeply.
    """
    depth = 0
    for event, value in ijson.basic_parse(
        source, use_float=True, multiple_values=True, buf_size=_BUFFER_BYTES
    ):
        if event in _STARTS:
            depth += 1
            if depth > _DEPTH_LIMIT:
                raise RecursionError
        elif event in _ENDS:
            depth -= 1
        yield event, value


def _items(events: Iterator[tuple[str, Any]]) -> Iterator[Any]:
    """The elements of an array."""
    depth = 0
    builder = ijson.ObjectBuilder()
    for event, value in events:
        if event in _ENDS:
            depth -= 1
        if depth:
            builder.event(event, value)
        if event in _STARTS:
            depth += 1
        elif depth == 1 and event != "map_key":
            yield builder.value
            builder = ijson.ObjectBuilder()


def _of_text(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    end = len(text)
    position = _next(text, 0)
    while position < end:
        value, position = decoder.raw_decode(text, position)
        position = _next(text, position)
        if isinstance(value, list):
            yield from _of_array(iter(cast("list[Any]", value)))
        else:
            yield value


def _next(text: str, position: int) -> int:
    """The position of the next value: objects may be separated by commas, too."""
    while position < len(text) and text[position] in " \t\r\n,":
        position += 1
    return position


def _of_array(found: Iterator[Any]) -> Iterator[Any]:
    """The elements of an array, or the whole array if it is one conversation's messages."""
    first = next(found, None)
    if first is None:
        return
    if _is_lone_message(first):
        yield [first, *found]
        return
    yield first
    yield from found


def _is_lone_message(value: Any) -> bool:
    """Whether it is a message that names no conversation."""
    if not isinstance(value, dict):
        return False
    keys = cast("dict[str, Any]", value).keys()
    return "role" in keys and "content" in keys and len(keys & {
        "thread_id", "conversation_id", "conversationId", "threadId", "session_id", "chat_id",
        "ticket_id", "parent_id",
    }) == 0  # fmt: skip


def _of_objects(events: Iterator[tuple[str, Any]]) -> Iterator[Any]:
    """Objects one after another; the elements of their wrapped arrays are records of their own."""
    objects = _Objects()
    for event, value in events:
        yield from objects.add(event, value)


class _Objects:
    """Builds objects from a parser's events."""

    _OBJECT, _ARRAY, _ELEMENT = 1, 2, 3  # levels of nesting

    def __init__(self) -> None:
        self._outer = ijson.ObjectBuilder()
        self._inner: ijson.ObjectBuilder | None = None
        self._key = ""
        self._depth = 0
        self._is_wrapper = False
        self._has_yielded = False

    def add(self, event: str, value: Any) -> Iterator[Any]:
        """The records that are complete by an event."""
        is_end = event in _ENDS
        self._depth += event in _STARTS
        if self._depth == self._OBJECT and event == "map_key":
            self._key = value
        if self._depth == self._ARRAY and event == "start_array" and self._key in _WRAPPERS:
            self._is_wrapper = True
        if self._is_wrapper and self._depth >= self._ELEMENT:
            self._inner = self._inner or ijson.ObjectBuilder()
            self._inner.event(event, value)
            if is_end and self._depth == self._ELEMENT:
                yield from self._element(self._inner.value)
                self._inner = None
        else:
            self._outer.event(event, value)
        self._depth -= is_end
        self._is_wrapper &= self._depth >= self._ARRAY
        if is_end and not self._depth:
            if not self._has_yielded:
                yield self._outer.value
            self._outer, self._has_yielded = ijson.ObjectBuilder(), False

    def _element(self, value: Any) -> Iterator[Any]:
        """A record; but messages belong to the one conversation that their array is."""
        if isinstance(value, dict) and _MESSAGE_KEYS & cast("dict[str, Any]", value).keys():
            _replay(self._outer, value)
        else:
            self._has_yielded = True
            yield value


def _replay(builder: ijson.ObjectBuilder, value: Any) -> None:
    """Put a value that was already built into another builder."""
    for event, each in ijson.basic_parse(io.BytesIO(json.dumps(value).encode()), use_float=True):
        builder.event(event, each)
