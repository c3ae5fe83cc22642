"""Conversations from Excel workbooks: the first sheet that has rows, read as a CSV file is."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from evalqueue import codec
from evalqueue.evaluators.formats import DateOrder, Faults, FormatError, Head, Message, table
from evalqueue.evaluators.formats.extras import extra
from evalqueue.evaluators.formats.raw.chunks import copied
from evalqueue.evaluators.formats.raw.shared_strings import opened_workbook
from evalqueue.evaluators.formats.table import Reading, Rows, RowsAgain
from evalqueue.evaluators.formats.values import columns
from evalqueue.evaluators.formats.values.cells import cell_of

MAX_BYTES = 2 * 1024**3  # unpacked
_EXACT_BELOW = 10**15  # Excel keeps fifteen digits of a number


class _Xlsx:
    """The format. A workbook that is cut off can't be read: it is a zip archive."""

    name = "xlsx"
    suffixes = (".xlsx", ".xlsm")

    def recognises(self, start: bytes) -> bool:
        return start.startswith(b"PK\x03\x04") and (b"xl/" in start or b"[Content_Types]" in start)

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
        with copied(file) as copy:
            if (rows := _opened(copy, faults, is_cut=is_cut)) is not None:
                yield from table.messages(rows, faults, reading)

    def effective(self, file: BinaryIO, mapping: Mapping[str, str]) -> Mapping[str, str]:
        with copied(file) as copy:
            rows = _opened(copy, Faults(""), is_cut=True)
            _, header = (
                (1, list[str]()) if rows is None else next(rows(Faults("")), (1, list[str]()))
            )
        return columns.effective(header, mapping)

    def head(self, file: BinaryIO, mapping: Mapping[str, str] | None = None) -> Head:
        with copied(file) as copy:
            rows = _opened(copy, Faults(""), is_cut=True)
            return (
                Head(mapping=dict(mapping or {}))
                if rows is None
                else table.head(rows(Faults("")), mapping)
            )


XLSX = _Xlsx()


def _opened(file: BinaryIO, faults: Faults, *, is_cut: bool) -> RowsAgain | None:
    extra("openpyxl", "xlsx", "An Excel workbook")
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(each.file_size for each in archive.infolist())
        if size > MAX_BYTES:
            raise FormatError(f"The workbook holds more than {MAX_BYTES:,} bytes.")
        book = opened_workbook(file)
    except FormatError:
        raise
    except Exception as error:  # a hostile file raises errors of many classes
        if not is_cut:
            faults.add(None, None, f"it is no Excel workbook that can be read: {error}.")
        return None
    sheets = [sheet for sheet in book.worksheets if _has_rows(sheet)]
    if len(sheets) > 1:
        others = ", ".join(repr(each.title) for each in sheets[1:])
        note = f"Only the first sheet ({sheets[0].title!r}) was read. Others with rows: {others}."
        faults.note("sheets", None, note)
    return lambda to: _rows(sheets[:1], to)


def _has_rows(sheet: Any) -> bool:
    return any(
        any(value is not None for value in values)
        for _, values in zip(range(20), _values(sheet), strict=False)
    )


def _values(sheet: Any) -> Iterator[tuple[Any, ...]]:
    if not hasattr(sheet, "iter_rows"):  # a sheet of charts
        return iter(())
    sheet.reset_dimensions()  # programs that write workbooks often state them wrongly
    return sheet.iter_rows(values_only=True)


def _rows(sheets: Sequence[Any], faults: Faults) -> Rows:
    width: int | None = None
    found = (values for sheet in sheets for values in _values(sheet))
    for number, values in enumerate(found, start=1):
        if not any(value is not None for value in values):
            continue
        for value in values:
            if isinstance(value, int | float) and not isinstance(value, bool) and (
                abs(value) >= _EXACT_BELOW
            ):  # fmt: skip
                message = (
                    f"Excel keeps fifteen digits of a number: {cell_of(value)} may have been "
                    "another. Store ids as text."
                )
                faults.note("shortened_ids", number, message)
        cells = [codec.clean_text(cell_of(value)) for value in values]
        if width is None:
            while cells and not cells[-1].strip():
                cells.pop()
            width = len(cells)
        yield number, cells
