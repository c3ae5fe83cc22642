"""Conversations from CSV: one row is one turn, the rows of one thread_id are a thread.

Cells are text only up to here. Ids stay as they are written ("007" is not 7), a missing value is
None and never "nan" or "", a time without a zone is UTC, and the day comes before the month. Every
value that can't be read is reported by row and column, all at once.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from evalqueue.evaluators.formats import ID_CHARACTERS, Column, Faults, Head, Message, shown
from evalqueue.evaluators.formats.cells import YEARS, moment_of, optional
from evalqueue.evaluators.formats.rows import rows

MAX_COLUMNS = 5_000  # a row of commas only is no header, and looking for names in it takes minutes
_SAMPLES = 3  # values of a column
_SAMPLE_CHARACTERS = 120
_SAMPLED_ROWS = 20
_HEADER_SHOWN = 20  # names


class _Cells(NamedTuple):
    """One row's cells, by the names of their columns. The optional columns are last."""

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


_ALSO_CALLED: Mapping[str, tuple[str, ...]] = {
    "thread_id": ("thread", "conversation_id", "conversation", "chat_id", "chat", "dialog_id"),
    "user_id": ("user", "customer_id", "customer", "uid", "client_id", "account_id"),
    "session_id": ("session", "sid"),
    "query_text": (
        "query", "question", "user_message", "user_text", "user_query", "input", "prompt",
        "request",
    ),
    "final_response_message": (
        "final_response", "response", "answer", "bot_message", "bot_text", "bot_response", "reply",
        "output", "response_text", "response_message",
    ),
    "intent_detected": ("intent", "detected_intent", "routed_intent", "agent", "intent_label"),
    "timestamp": ("time", "datetime", "date", "created_at", "created", "at", "ts", "sent_at"),
    "has_image": ("image", "has_images", "with_image", "has_photo", "is_image"),
    "response_id": ("message_id", "reply_id", "answer_id"),
    "intent_query_type": ("query_type", "intent_type", "routed_query_type"),
    "error_message": ("error", "errors", "error_text"),
}  # fmt: skip
"""Other names of our columns: for a guess that a person confirms."""
_FLAGS = {
    **dict.fromkeys(("1", "true", "yes", "1.0"), True),
    **dict.fromkeys(("", "0", "false", "no", "0.0"), False),
}


class _Csv:
    """The format."""

    name = "csv"
    suffixes = (".csv",)

    def recognises(self, start: bytes) -> bool:
        return False  # any text may be CSV

    def messages(
        self,
        file: BinaryIO,
        faults: Faults,
        *,
        mapping: Mapping[str, str] | None = None,
        is_cut: bool = False,
    ) -> Iterator[Message]:
        found = rows(file, faults, is_cut=is_cut)
        header_row, header = next(found, (1, list[str]()))
        if faults:  # the first row is no header, so faults of other rows would be noise
            return
        positions = _positions(header_row, header, mapping or {}, faults)
        if faults:
            return
        is_empty = True
        for row, cells in found:
            is_empty = False
            if len(cells) != len(header):
                reason = (
                    f"it has {len(cells)} cells, the header has {len(header)}. "
                    "Put cells that hold commas, quotes or line breaks into quotes."
                )
                faults.add(row, None, reason)
                continue
            cells.append("")  # the value at an absent column's position
            message = _message(row, _Cells._make(cells[position] for position in positions), faults)
            if message and not faults:  # after a fault nothing will be stored
                yield message
        if is_empty and not faults and not is_cut:
            faults.add(None, None, "it has no rows below its header.")

    def effective(self, file: BinaryIO, mapping: Mapping[str, str]) -> Mapping[str, str]:
        names = _names(_header(file))
        return {
            column: header
            for column, header in sorted(mapping.items())
            if _name(header) != column or names.count(column) != 1
        }

    def head(self, file: BinaryIO, mapping: Mapping[str, str] | None = None) -> Head:
        sampled = rows(file, Faults(""), is_cut=True)
        _, header = next(sampled, (1, list[str]()))
        header = header[:MAX_COLUMNS]
        samples = [list[str]() for _ in header]
        for _, (_, cells) in zip(range(_SAMPLED_ROWS), sampled, strict=False):
            for kept, cell in zip(samples, cells, strict=False):
                if cell.strip() and len(kept) < _SAMPLES:
                    kept.append(cell[:_SAMPLE_CHARACTERS])
        names = _names(header)
        meant = {column: _guess(column, header, names) for column in COLUMNS} | dict(mapping or {})
        known = {column: name for column, name in meant.items() if name is not None}
        found = {column for column, name in known.items() if _name(name) in names}
        return Head(
            columns=tuple(
                Column(name=name, samples=tuple(kept))
                for name, kept in zip(header, samples, strict=True)
            ),
            mapping=known,
            missing=tuple(
                each for each in COLUMNS if each not in OPTIONAL_COLUMNS and each not in found
            ),
        )


CSV = _Csv()


# Headers.


def _name(header: str) -> str:
    return header.strip().lower()


def _names(header: Sequence[str]) -> list[str]:
    return [_name(cell) for cell in header]


def _header(file: BinaryIO) -> list[str]:
    _, header = next(rows(file, Faults(""), is_cut=True), (1, list[str]()))
    return header[:MAX_COLUMNS]


def _guess(column: str, header: Sequence[str], names: Sequence[str]) -> str | None:
    """The header that most likely means one of our columns."""
    plain = [re.sub(r"[^a-z0-9]+", "_", name).strip("_") for name in names]
    for wanted in (column, *_ALSO_CALLED[column]):
        for candidates in (names, plain):
            if wanted in candidates:
                return header[candidates.index(wanted)]
    return None


def _positions(
    row: int, header: list[str], mapping: Mapping[str, str], faults: Faults
) -> list[int]:
    """The position of each column. An absent optional column has the position after the last."""
    if not header:
        faults.add(None, None, "it is empty. The first row has to name the columns.")
        return []
    if len(header) > MAX_COLUMNS:
        faults.add(row, None, f"it names {len(header):,} columns. There may be {MAX_COLUMNS:,}.")
        return []
    names = _names(header)
    for column in sorted(mapping.keys() - set(COLUMNS)):
        reason = f"the mapping names it, and there is no such column. Known: {', '.join(COLUMNS)}."
        faults.add(None, column, reason)
    wanted = {column: _name(mapping.get(column, column)) for column in COLUMNS}
    for column, name in wanted.items():
        count = names.count(name)
        if count > 1:
            faults.add(row, column, f"{count} columns have this name. Keep one of them.")
        elif count == 0 and column in mapping:
            there = ", ".join(map(shown, header[:_HEADER_SHOWN]))
            reason = f"the header has no {shown(mapping[column])}, which it is mapped to: {there}."
            faults.add(row, column, reason)
        elif count == 0 and column not in OPTIONAL_COLUMNS:
            faults.add(row, column, f"the header has no such column.{_separator_hint(header)}")
    return [names.index(name) if name in names else len(names) for name in wanted.values()]


def _separator_hint(header: list[str]) -> str:
    if len(header) == 1:
        for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if separator in header[0]:
                return f" The columns seem to be separated by {name}: use commas."
    return " Add it, rename the column that holds it, or map that one to it."


# Rows.


def _message(row: int, cells: _Cells, faults: Faults) -> Message | None:
    for column, cell in (("thread_id", cells.thread_id), ("user_id", cells.user_id)):
        if not cell.strip():
            faults.add(row, column, "it is empty. Every message needs one.")
        elif len(cell) > ID_CHARACTERS:
            reason = f"{shown(cell)} is longer than {ID_CHARACTERS} characters."
            faults.add(row, column, reason)
    timestamp = moment_of(cells.timestamp)
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
    return Message(
        row,
        cells.thread_id,
        cells.user_id,
        timestamp,
        cells.query_text,
        cells.final_response_message,
        optional(cells.intent_detected),
        optional(cells.intent_query_type),
        has_image,
        optional(cells.error_message),
        optional(cells.session_id),
        optional(cells.response_id),
    )
