"""Conversations from CSV: a row is a turn, or one message; a row may also hold JSON.

The separator, the encoding and the columns are found out; see `values.columns` for the columns.
"""

import ast
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, BinaryIO

from evalqueue import codec
from evalqueue.evaluators.formats import DateOrder, Faults, Head, Message, records, table
from evalqueue.evaluators.formats.raw import encodings
from evalqueue.evaluators.formats.raw.rows import dialect_of, rows
from evalqueue.evaluators.formats.table import Reading, Rows, RowsAgain
from evalqueue.evaluators.formats.values import columns
from evalqueue.evaluators.formats.values.columns import COLUMNS, MAX_COLUMNS, REQUIRED_OF_TURNS

OPTIONAL_COLUMNS = tuple(each for each in COLUMNS if each not in REQUIRED_OF_TURNS)

__all__ = ["COLUMNS", "CSV", "MAX_COLUMNS", "OPTIONAL_COLUMNS"]


class _Csv:
    """The format."""

    name = "csv"
    suffixes = (".csv", ".tsv")

    def recognises(self, start: bytes) -> bool:
        return False  # any text may be CSV

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
        again = _opened(file, faults, is_cut=is_cut)
        json_columns = {} if reading.mapping else _json_columns(again)
        if any(not is_json for is_json in json_columns.values()):
            name = next(name for name, is_json in json_columns.items() if not is_json)
            reason = (
                "it holds Python lists or objects as text, as pandas writes them. Export JSON "
                'lines: frame.to_json("conversations.jsonl", orient="records", lines=True)'
            )
            faults.add(None, name, reason)
        elif json_columns:
            names = frozenset(json_columns)
            yield from records.messages(lambda to: _records(again(to), names, to), faults, reading)
        else:
            yield from table.messages(again, faults, reading)

    def effective(self, file: BinaryIO, mapping: Mapping[str, str]) -> Mapping[str, str]:
        _, header = next(_opened(file, Faults(""), is_cut=True)(Faults("")), (1, list[str]()))
        return columns.effective(header[:MAX_COLUMNS], mapping)

    def head(self, file: BinaryIO, mapping: Mapping[str, str] | None = None) -> Head:
        again = _opened(file, Faults(""), is_cut=True)
        if not mapping and _json_columns(again):
            return Head(mapping={})
        return table.head(again(Faults("")), mapping)


CSV = _Csv()


def _opened(file: BinaryIO, faults: Faults, *, is_cut: bool) -> RowsAgain:
    """The rows of a file from its beginning."""
    text = encodings.from_any(file, faults)
    text.seek(0)
    dialect = dialect_of(text, lambda header: len(columns.layout_of(header).missing))

    def again(to: Faults) -> Rows:
        text.seek(0)
        return rows(text, to, dialect=dialect, is_cut=is_cut)

    return again


# Cells that hold JSON.


def _json_columns(again: RowsAgain) -> dict[str, bool]:
    """The columns that hold conversations, by the first row: whether as JSON or as Python."""
    with closing(again(Faults(""))) as found:
        _, header = next(found, (1, list[str]()))
        _, cells = next(found, (1, list[str]()))
    if len(header) > MAX_COLUMNS:
        return {}
    layout = columns.layout_of(header)
    held: dict[str, bool] = {}
    for name, cell in zip(header, cells, strict=False):
        is_json = _is_json(cell)
        if is_json is None:
            continue
        is_text = name in (
            layout.mapping.get("query_text"), layout.mapping.get("final_response_message")
        )  # fmt: skip
        if (layout.missing and not layout.is_of_messages) or (is_text and _is_structured(cell)):
            held[name] = is_json
    return held


def _is_json(cell: str) -> bool | None:
    """Whether a cell holds a list or an object as JSON; False: as Python. None: it holds text."""
    text = cell.strip()
    if text[:1] not in ("[", "{") or text[-1:] not in ("]", "}"):
        return None
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        pass
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return False


def _is_structured(cell: str) -> bool:
    return '"role"' in cell or '"messages"' in cell or '"parts"' in cell or "'role'" in cell


def _records(found: Rows, names: frozenset[str], faults: Faults) -> records.Records:
    _, header = next(found, (1, list[str]()))
    for row, cells in found:
        record: dict[str, Any] = {}
        for name, cell in zip(header, cells, strict=False):
            record[name] = cell
            if name in names and cell.strip():
                try:
                    record[name] = codec.clean_json(json.loads(cell))
                except (ValueError, RecursionError) as error:
                    faults.add(row, name, f"it is not JSON: {error}.")
        yield row, record
