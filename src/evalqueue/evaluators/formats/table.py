"""Rows of cells as messages: a row is a turn, or one message of a conversation.

Cells are text. Ids stay as they are written ("007" is not 7), a missing value is None and never
"nan" or "", a time without a zone is UTC. Every value that can't be read is reported by row and
column, all at once.
"""

import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evalqueue import codec
from evalqueue.evaluators.conversation import UNKNOWN_TIME, ExpectedCall
from evalqueue.evaluators.formats import (
    ID_CHARACTERS,
    UNKNOWN_USER,
    Column,
    DateOrder,
    Faults,
    Head,
    Message,
    shown,
)
from evalqueue.evaluators.formats.part_store import PartStore
from evalqueue.evaluators.formats.shapes import ShapeError, tools
from evalqueue.evaluators.formats.shapes.assembly import (
    Call,
    Conversation,
    Part,
    assembled,
    recorded,
    role_of,
)
from evalqueue.evaluators.formats.values import columns, latencies
from evalqueue.evaluators.formats.values.cells import (
    answer_in,
    cell_of,
    flag_of,
    is_missing,
    optional,
    with_input,
)
from evalqueue.evaluators.formats.values.moments import (
    YEARS,
    AmbiguousDate,
    decided_order,
    moment_of,
    order_of,
)

Rows = Generator[tuple[int, list[str]]]
RowsAgain = Callable[[Faults], Rows]
"""The rows of a file from the beginning, each time that it is called."""

_SAMPLES = 3  # values of a column
_SAMPLE_CHARACTERS = 120
_SAMPLED_ROWS = 20
_DATED_ROWS = 1_000  # looked at before the whole column is
_SHORTENED = re.compile(r"[0-9](?:[.,][0-9]+)?E\+[0-9]{2,}", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a table is read."""

    mapping: Mapping[str, str]
    date_order: DateOrder | None
    is_cut: bool


def messages(rows: RowsAgain, faults: Faults, reading: Reading) -> Iterator[Message]:
    """The messages of a table, whose first row is the header."""
    found = rows(faults)
    header_row, header = next(found, (1, list[str]()))
    if faults:  # the first row is no header, so faults of other rows would be noise
        return
    if not header:
        faults.add(None, None, "it is empty. The first row has to name the columns.")
        return
    if len(header) > columns.MAX_COLUMNS:
        reason = f"it names {len(header):,} columns. There may be {columns.MAX_COLUMNS:,}."
        faults.add(header_row, None, reason)
        return
    layout, positions = columns.positions_of(header_row, header, reading.mapping, faults)
    if faults:
        return
    order = reading.date_order
    if order is None and "timestamp" in positions:
        found.close()  # the same file is read again, from its beginning
        order = _order(rows(Faults("")), positions["timestamp"], is_cut=reading.is_cut)
        found = rows(faults)
        next(found, None)
    table = _Table(positions, layout, order, faults, width=len(header))
    if layout.is_of_messages:
        yield from _of_messages(table, found, faults, reading)
    else:
        yield from _of_turns(table, found, faults)
    if table.is_empty and not faults and not reading.is_cut:
        faults.add(None, None, "it has no rows below its header.")


def head(rows: Rows, mapping: Mapping[str, str] | None) -> Head:
    """The columns of a table, from its first rows."""
    _, header = next(rows, (1, list[str]()))
    header = header[: columns.MAX_COLUMNS]
    samples = [list[str]() for _ in header]
    sampled = [cells for _, (_, cells) in zip(range(_DATED_ROWS), rows, strict=False)]
    for cells in sampled[:_SAMPLED_ROWS]:
        for kept, cell in zip(samples, cells, strict=False):
            if cell.strip() and len(kept) < _SAMPLES:
                kept.append(cell[:_SAMPLE_CHARACTERS])
    layout = columns.layout_of(header, mapping)
    names = [columns.name_of(each) for each in header]
    absent = [each for each, name in layout.mapping.items() if columns.name_of(name) not in names]
    at = layout.mapping.get("timestamp")
    place = names.index(columns.name_of(at)) if at and "timestamp" not in absent else None
    dates = [cells[place] for cells in sampled if place is not None and place < len(cells)]
    return Head(
        columns=tuple(
            Column(name=name, samples=tuple(kept))
            for name, kept in zip(header, samples, strict=True)
        ),
        mapping=layout.mapping,
        missing=tuple(each for each in layout.required if each in (*layout.missing, *absent)),
        is_date_order_needed=decided_order(dates) is None and any(map(_is_ambiguous, dates)),
    )


def _order(rows: Rows, place: int, *, is_cut: bool) -> DateOrder | None:
    """The order of the dates in a column. None: no date decides it, or it does not matter."""
    with closing(rows):
        return _decided(rows, place, is_cut=is_cut)


def _decided(rows: Rows, place: int, *, is_cut: bool) -> DateOrder | None:
    next(rows, None)
    cells = (cells[place] for _, cells in rows if place < len(cells))
    first = [cell for _, cell in zip(range(_DATED_ROWS), cells, strict=False)]
    order = decided_order(first)
    if order is None and any(map(_is_ambiguous, first)):
        order = decided_order(cells)
        if order is None and is_cut:  # the rest may decide it
            return DateOrder.DAY_FIRST
    return order


def _is_ambiguous(cell: str) -> bool:
    try:
        order_of(cell)
    except AmbiguousDate:
        return True
    return False


def _of_turns(table: "_Table", found: Rows, faults: Faults) -> Iterator[Message]:
    for row, cells in found:
        message = table.turn(row, cells)
        if message and not faults:  # after a fault nothing will be stored
            yield message


def _of_messages(
    table: "_Table", found: Rows, faults: Faults, reading: Reading
) -> Iterator[Message]:
    """Messages of a conversation may be anywhere in the file, so they are sorted on disk first."""
    with PartStore() as store:
        for row, cells in found:
            part = table.message(row, cells)
            if part is not None and not faults:
                store.add(part[0], part[1])
        if faults:
            return
        for thread_id, parts in store.groups(without_last=reading.is_cut):
            ordered = sorted(parts, key=lambda part: part.at or UNKNOWN_TIME)  # stable
            user_id = next((part.user_id for part in ordered if part.user_id), UNKNOWN_USER)
            yield from assembled(
                Conversation(thread_id=thread_id, user_id=user_id, parts=ordered),
                min(part.row for part in ordered),
            )


class _Table:
    """The cells of a table, by our columns."""

    def __init__(
        self,
        positions: Mapping[str, int],
        layout: columns.Layout,
        order: DateOrder | None,
        faults: Faults,
        *,
        width: int,
    ) -> None:
        self._faults = faults
        self._width = width
        self._order = order
        self._layout = layout
        # An absent column has the position after the last, where each row gets an empty cell.
        self._places = tuple(positions.get(column, width) for column in columns.ALL_COLUMNS)
        self._has_times = "timestamp" in positions
        self._first_dated: tuple[int, bool] | None = None
        self._last_required = max(positions[column] for column in layout.required)
        self.is_empty = True

    def turn(self, row: int, cells: list[str]) -> Message | None:
        """The turn of a row. None: it has a fault."""
        known = self._known(row, cells)
        if known is None:
            return None
        (thread_id, user_id, session_id, asked, answered, intent, time, image, response_id,
         query_type, error, context, system, expected, alternative, defined, calls,
         expected_calls, ms, seconds, _, _, about) = known  # fmt: skip
        user_id = optional(user_id) or UNKNOWN_USER
        is_good = self._check_ids(row, thread_id, user_id)
        timestamp = self._time(row, time)
        has_image = self._flag(row, image)
        if timestamp is None or has_image is None or not is_good:
            return None
        return Message(
            row, thread_id, user_id, timestamp, with_input(asked, about), answered,
            optional(intent), optional(query_type), has_image, optional(error),
            optional(session_id), optional(response_id), optional(system), optional(context),
            tool_calls=recorded(self._calls(row, calls)), expected=optional(expected),
            tools=optional(defined), expected_tool_calls=self._expected(row, expected_calls),
            alternative=answer_in(alternative),
            latency_seconds=latencies.in_cells(row, ms, seconds, self._faults),
        )  # fmt: skip

    def message(self, row: int, cells: list[str]) -> tuple[str, Part] | None:
        """The conversation of a row, and its message. None: it has a fault, or says nothing."""
        known = self._known(row, cells)
        if known is None:
            return None
        (thread_id, user_id, session_id, _, _, intent, time, image, response_id, query_type, error,
         context, system, expected, alternative, defined, calls, expected_calls, ms, seconds,
         written_role, text, _) = known  # fmt: skip
        is_good = self._check_ids(row, thread_id, user_id)
        timestamp = self._time(row, time)
        has_image = self._flag(row, image)
        role = role_of(written_role)
        if role is None:
            reason = (
                f"{shown(written_role)} is no role. Write user or assistant, or map the column "
                "that says who wrote the message."
            )
            self._faults.add(row, "role", reason)
        if role is None or timestamp is None or has_image is None or not is_good:
            return None
        return thread_id, Part(
            role=role,
            row=row,
            text=text,
            at=timestamp,
            user_id=optional(user_id) if role == "user" else None,
            has_image=has_image,
            intent=optional(intent),
            query_type=optional(query_type),
            error=optional(error),
            session_id=optional(session_id),
            response_id=optional(response_id) if role == "assistant" else None,
            context=optional(context),
            system=optional(system),
            expected=optional(expected),
            alternative=answer_in(alternative),
            tools=optional(defined),
            expected_calls=self._expected(row, expected_calls),
            calls=self._calls(row, calls),
            latency_seconds=latencies.in_cells(row, ms, seconds, self._faults),
        )

    def _calls(self, row: int, cell: str) -> list[Call]:
        if is_missing(cell):
            return []
        if (found := tools.recorded(json_of(cell))) is None:  # a count, or a list of words
            message = (
                "Cells of tool_calls that are no list of calls were left out, such as "
                f'{shown(cell)}. Write [{{"name": …, "arguments": {{…}}, "result": …}}].'
            )
            self._faults.note("unread_tool_calls", row, message)
        return found or []

    def _expected(self, row: int, cell: str) -> tuple[ExpectedCall, ...] | None:
        if is_missing(cell):
            return None
        value = json_of(cell)
        column = "expected_tool_calls"
        if value is None:
            self._faults.add(row, column, f"{shown(cell)} is no JSON. Write a list of calls.")
            return None
        try:
            return tools.expected_calls(value, column)
        except ShapeError as error:
            self._faults.add(row, error.column, error.reason)
            return None

    def _known(self, row: int, cells: list[str]) -> list[str] | None:
        self.is_empty = False
        if len(cells) != self._width and not self._fit(row, cells):
            return None
        cells.append("")
        return [cells[place] for place in self._places]

    def _fit(self, row: int, cells: list[str]) -> bool:
        """Spreadsheets leave out empty cells at the end of a row, or add some."""
        if len(cells) > self._width and not any(cell.strip() for cell in cells[self._width :]):
            del cells[self._width :]
            return True
        if self._last_required < len(cells) < self._width:
            cells += [""] * (self._width - len(cells))
            return True
        reason = (
            f"it has {len(cells)} cells, the header has {self._width}. "
            "Put cells that hold separators, quotes or line breaks into quotes."
        )
        self._faults.add(row, None, reason)
        return False

    def _check_ids(self, row: int, thread_id: str, user_id: str) -> bool:
        if is_missing(thread_id):
            self._faults.add(row, "thread_id", "it is empty. Every message needs one.")
            return False
        for column, cell in (("thread_id", thread_id), ("user_id", user_id)):
            if len(cell) > ID_CHARACTERS:
                reason = f"{shown(cell)} is longer than {ID_CHARACTERS} characters."
                self._faults.add(row, column, reason)
                return False
        if "+" in thread_id and _SHORTENED.fullmatch(thread_id.strip()):
            self._faults.note(
                "shortened_ids",
                row,
                f"A spreadsheet has shortened ids, such as {shown(thread_id)}: different "
                "conversations may have become one. Export the column as text.",
            )
        return True

    def _time(self, row: int, cell: str) -> datetime | None:
        if not self._has_times:
            return UNKNOWN_TIME
        is_dated = not is_missing(cell)
        first = self._first_dated = self._first_dated or (row, is_dated)
        if first[1] != is_dated:
            dated, undated = (first[0], row) if first[1] else (row, first[0])
            reason = (
                f"row {dated:,} has a time, and row {undated:,} has none: their order is not "
                'known. Fill it in, or map timestamp to "" (not in the file): then rows stay in '
                "the file's order."
            )
            self._faults.add(row, "timestamp", reason)
            return None
        if not is_dated:
            return UNKNOWN_TIME
        try:
            moment = moment_of(cell, self._order)
        except AmbiguousDate:
            reason = (
                f"{shown(cell)} may have the day first or the month first, and no date of the file "
                "decides it. Say which: date_order day-first or month-first (--date-order)."
            )
            self._faults.add(row, "timestamp", reason)
            return None
        if moment is None:
            order = "" if self._order is None else f" ({self._order.value})"
            reason = (
                f"{shown(cell)} is not a time between {YEARS.start} and {YEARS.stop - 1}{order}. "
                "Write ISO 8601 (2025-01-15T10:30:00Z)."
            )
            self._faults.add(row, "timestamp", reason)
        return moment

    def _flag(self, row: int, cell: str) -> bool | None:
        has_image = flag_of(cell)
        if has_image is None:
            reason = f"{shown(cell)} is neither yes nor no. Write 1 or 0, or leave it empty."
            self._faults.add(row, "has_image", reason)
        return has_image


def json_of(cell: str) -> Any:
    """The value of a cell with JSON. None: it is none."""
    try:
        return codec.clean_json(json.loads(cell))
    except (ValueError, RecursionError):
        return None


def cells_of(values: Sequence[object]) -> list[str]:
    """Typed values as the cells that a CSV file would have."""
    return [cell_of(value) for value in values]
