"""Conversations from Parquet, as Hugging Face's datasets and data warehouses store them."""

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from evalqueue import codec
from evalqueue.evaluators.formats import DateOrder, Faults, Head, Message, records
from evalqueue.evaluators.formats.extras import extra
from evalqueue.evaluators.formats.raw.chunks import copied
from evalqueue.evaluators.formats.records import Records, RecordsAgain
from evalqueue.evaluators.formats.table import Reading

_BATCH_ROWS = 500
_BUFFER_BYTES = 1024**2
"""Of each column. Without it, a column of a whole row group is read at once."""


class _Parquet:
    """The format. A file that is cut off can't be read: its schema is at its end."""

    name = "parquet"
    suffixes = (".parquet", ".pq")

    def recognises(self, start: bytes) -> bool:
        return start.startswith(b"PAR1")

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
            found = _opened(copy, faults, is_cut=is_cut)
            if found is not None:
                yield from records.messages(found, faults, reading)

    def effective(self, file: BinaryIO, mapping: Mapping[str, str]) -> Mapping[str, str]:
        with copied(file) as copy:
            found = _opened(copy, Faults(""), is_cut=True)
            return mapping if found is None else records.effective(found, mapping)

    def head(self, file: BinaryIO, mapping: Mapping[str, str] | None = None) -> Head:
        with copied(file) as copy:
            found = _opened(copy, Faults(""), is_cut=True)
            return Head(mapping=dict(mapping or {})) if found is None else records.head(
                found, mapping
            )  # fmt: skip


PARQUET = _Parquet()


def _opened(file: BinaryIO, faults: Faults, *, is_cut: bool) -> RecordsAgain | None:
    parquet = extra("pyarrow.parquet", "parquet", "A Parquet file")
    try:
        source = parquet.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES)
    except Exception as error:  # a hostile file raises errors of many classes
        if not is_cut:
            faults.add(None, None, f"it is no Parquet file that can be read: {error}.")
        return None
    return lambda _: _rows(source)


def _rows(source: Any) -> Records:
    number = 0
    for batch in source.iter_batches(batch_size=_BATCH_ROWS):
        for row in batch.to_pylist():
            number += 1
            yield number, codec.clean_json(row)
