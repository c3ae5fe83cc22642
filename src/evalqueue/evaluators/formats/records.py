"""JSON objects as messages: each has one of the known shapes, or all are rows of a table."""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Any, TypeGuard, cast

from evalqueue.evaluators.formats import (
    ID_CHARACTERS,
    UNKNOWN_USER,
    Faults,
    Head,
    Message,
    shown,
    table,
)
from evalqueue.evaluators.formats.part_store import PartStore
from evalqueue.evaluators.formats.shapes import Object, ScatteredShape, Shape, ShapeError, content
from evalqueue.evaluators.formats.shapes.assembly import Conversation, assembled
from evalqueue.evaluators.formats.shapes.fields import dumped, list_of, object_of
from evalqueue.evaluators.formats.shapes.registry import SHAPES, shape_of
from evalqueue.evaluators.formats.table import Reading
from evalqueue.evaluators.formats.values.cells import cell_of
from evalqueue.evaluators.formats.values.columns import effective as effective_mapping
from evalqueue.evaluators.formats.values.columns import layout_of

Records = Generator[tuple[int, object]]
RecordsAgain = Callable[[Faults], Records]
"""The records of a file from the beginning, with their numbers, each time that it is called."""

_TABLE_ROWS = 200  # whose keys are the columns of a table
_KEYS_SHOWN = 12
_NO_MESSAGES = (
    "none of its records has messages. Where they are spans, let the instrumentation capture "
    "content (OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT), and export those of kind LLM."
)
_UNREADABLE = (
    (
        {"chosen", "rejected"},
        "preference data: it has two answers to each question. Keep one: "
        "jq -c '{messages: .chosen}' (or {question: .prompt, answer: .chosen}).",
    ),
    (
        {"ts", "user", "text"},
        "a Slack export: it does not say who is the bot. Write a role (user or assistant) and a "
        "conversation id (thread_ts) into each message.",
    ),
    (
        {"object", "choices"},
        "a response of OpenAI without the request's messages. Log them beside it: "
        '{"messages": [...], "response": {...}}.',
    ),
)
"""Shapes that are known and have no conversations, by some of their keys."""


def messages(records: RecordsAgain, faults: Faults, reading: Reading) -> Iterator[Message]:
    """The messages of records."""
    records = _spread(records)
    if _are_rows(records, reading.mapping):
        yield from table.messages(lambda to: _rows(records(to)), faults, reading)
        return
    if reading.mapping:
        faults.add(None, None, "it has no columns: there is nothing to map.")
        return
    with ExitStack() as stack:
        yield from _Records(faults, reading, stack).messages(records(faults))


def head(records: RecordsAgain, mapping: Mapping[str, str] | None) -> Head:
    """The columns, where the records are rows of a table."""
    records = _spread(records)
    if not _are_rows(records, mapping or {}):
        return Head(mapping=dict(mapping or {}))
    return table.head(_rows(records(Faults(""))), mapping)


def effective(records: RecordsAgain, mapping: Mapping[str, str]) -> Mapping[str, str]:
    """The entries of a mapping that change something."""
    records = _spread(records)
    if not _are_rows(records, mapping):
        return mapping
    _, header = next(_rows(records(Faults(""))), (1, list[str]()))
    return effective_mapping(header, mapping)


def _are_rows(records: RecordsAgain, mapping: Mapping[str, str]) -> bool:
    """Whether the records are rows of a table, by the first of them."""
    with closing(records(Faults(""))) as found:
        return any(_is_row(value, mapping) for _, value in itertools.islice(found, 1))


class _Records:
    """Reads records of any shape."""

    def __init__(self, faults: Faults, reading: Reading, stack: ExitStack) -> None:
        self._faults = faults
        self._order = reading.date_order
        self._is_cut = reading.is_cut
        self._stack = stack
        self._read = 0  # conversations, or parts of them
        self._store: PartStore | None = None
        self._scattered: ScatteredShape | None = None

    def messages(self, records: Iterable[tuple[int, object]]) -> Iterator[Message]:
        is_empty = True
        has_messages = False
        for number, value in records:
            is_empty = False
            found = self._record(number, value)
            has_messages |= bool(found)
            if not self._faults:  # after a fault nothing will be stored
                yield from found
        if not (has_messages or self._store or self._faults or self._is_cut):
            self._faults.add(None, None, "it has no lines." if is_empty else _NO_MESSAGES)
        if self._store is not None and self._scattered is not None and not self._faults:
            for name, parts in self._store.groups(without_last=self._is_cut):
                row = min(part.row for part in parts)
                yield from assembled(self._scattered.conversation(name, parts), row)

    def _record(self, number: int, value: object) -> list[Message]:
        try:
            return list(self._messages(number, value))
        except ShapeError as error:
            self._faults.add(number, error.column, error.reason)
        except RecursionError:
            self._faults.add(number, None, "it is nested too deeply.")
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # Values may be of any type. What a shape did not expect is a fault of the record.
            reason = f"its shape is known, and it can't be read: {type(error).__name__}: {error}"
            self._faults.add(number, None, reason)
        return []

    def _messages(self, number: int, value: object) -> Iterator[Message]:
        if isinstance(value, list) and value:
            given = cast("list[object]", value)
            if content.is_message(given[0]):
                value = {"messages": given}
            else:
                for each in given:
                    yield from self._messages(number, each)
                return
        if not isinstance(value, dict):
            raise ShapeError(None, 'it is no object. Write {"messages": […]}.')
        record = cast("Object", value)
        shape = shape_of(record)
        if shape is None:
            nested = _nested(record)
            if nested is None:
                raise _unknown(record)
            for each in nested:
                yield from self._messages(number, each)
        elif _is_scattered(shape):
            self._shelve(number, record, shape)
        else:
            yield from self._of_shape(number, record, cast("Shape", shape))

    def _of_shape(self, number: int, record: Object, shape: Shape) -> Iterator[Message]:
        for place, each in enumerate(shape.conversations(record, self._order)):
            unnamed = f"line-{number}" if not place else f"line-{number}-{place + 1}"
            if not each.thread_id or each.thread_id.startswith("/"):
                each.thread_id = unnamed + each.thread_id
            each.user_id = each.user_id or UNKNOWN_USER
            self._check(each)
            self._read += 1
            yield from assembled(each, number, self._read)

    def _shelve(self, number: int, record: Object, shape: ScatteredShape) -> None:
        if self._store is None:
            self._store = self._stack.enter_context(PartStore())
            self._scattered = shape
        thread_id, part = shape.part(record, self._order)
        self._check(Conversation(thread_id=thread_id, parts=[]))
        part.row = number
        self._store.add(thread_id, part)

    @staticmethod
    def _check(conversation: Conversation) -> None:
        for column in ("thread_id", "user_id"):
            value = getattr(conversation, column)
            if len(value) > ID_CHARACTERS:
                reason = f"{shown(value)} is longer than {ID_CHARACTERS} characters."
                raise ShapeError(column, reason)


def _is_scattered(shape: Shape | ScatteredShape) -> TypeGuard[ScatteredShape]:
    return hasattr(shape, "part")


def _nested(record: Object) -> list[Any] | None:
    """The records inside an object such as `{"data": […]}`."""
    for value in record.values():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            inner = cast("list[Any]", value)
            if shape_of(inner[0]) is not None:
                return inner
    return None


def _unknown(record: Object) -> ShapeError:
    for keys, reason in _UNREADABLE:
        if keys <= record.keys():
            return ShapeError(None, f"it is {reason}")
    keys = ", ".join(map(shown, itertools.islice(record, _KEYS_SHOWN))) or "none"
    known = "; ".join(each.name for each in SHAPES)
    reason = (
        f"its keys ({keys}) are of no shape of conversations that is known: {known}. "
        'Write {"id": …, "messages": [{"role": "user", "content": …}, …]}, or rows with a '
        "conversation id, a question and an answer."
    )
    return ShapeError(None, reason)


# Rows of a table.


def _spread(records: RecordsAgain) -> RecordsAgain:
    """The records, and the rows of a table where a record is a list of them, or holds one."""

    def again(faults: Faults) -> Records:
        for place, (number, value) in enumerate(records(faults)):
            may_hold = not place or list_of(value) is not None
            rows = _rows_in(value) if may_hold else None
            if rows is None:
                yield number, value
            for each in rows or ():
                yield number, each

    return again


def _rows_in(value: object) -> list[Any] | None:
    if (listed := list_of(value)) is not None:
        return listed if listed and _is_row(listed[0], {}) else None
    record = object_of(value)
    if record is None or _is_row(record, {}) or shape_of(record) is not None:
        return None
    lists = (list_of(each) for each in record.values())
    return next((each for each in lists if each and _is_row(each[0], {})), None)


def _is_row(value: object, mapping: Mapping[str, str]) -> bool:
    if not isinstance(value, dict):
        return False
    record = cast("Object", value)
    return not layout_of(list(record), mapping).missing and (
        bool(mapping) or shape_of(record) is None
    )


def _rows(records: Records) -> table.Rows:
    """The records as rows: first the header, then each record's values."""
    beginning = list(itertools.islice(records, _TABLE_ROWS))
    header: dict[str, None] = {}
    for _, value in beginning:
        header.update(dict.fromkeys(object_of(value) or {}))
    names = list(header)
    yield (beginning[0][0] if beginning else 1), names
    for number, value in itertools.chain(beginning, records):
        record = object_of(value) or {}
        yield number, [_cell(record.get(name)) for name in names]


def _cell(value: object) -> str:
    is_nested = object_of(value) is not None or list_of(value) is not None
    return dumped(value) if is_nested else cell_of(value)
