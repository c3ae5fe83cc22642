"""The results of a run as Parquet: row groups are written one by one, so that a run of any size
takes the memory of a few hundred conversations.

The columns are those of the spreadsheet, with types, and `scores` with all that was measured. No
program takes a cell of Parquet for a formula: texts are as they were said.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, BinaryIO
from uuid import UUID

from evalqueue.errors import Refused
from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreKind
from evalqueue.evaluators.loading import load
from evalqueue.evaluators.results.exports import ExportedThread, Spreadsheet
from evalqueue.evaluators.results.formats import ExportFormat

GROUP_ROWS = 500
"""Conversations of a row group."""


class _Sequential:
    """A file that is only written to the end, such as a pipe, with the position that pyarrow asks
    for."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        self._file.flush()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """The file stays open: it is another's."""


async def write(
    file: BinaryIO,
    run_id: UUID,
    evaluators: Sequence[EvaluatorDeclaration],
    threads: AsyncIterator[ExportedThread],
) -> None:
    """Write the results of a run.

    Raises:
        Refused: what writes Parquet is not installed.
    """
    arrow, parquet = _library()
    spreadsheet = Spreadsheet(evaluators)
    schema = _schema(arrow, run_id, spreadsheet, evaluators)
    with parquet.ParquetWriter(_Sequential(file), schema, compression="zstd") as writer:
        group: list[Mapping[str, Any]] = []
        async for thread in threads:
            group.append(_row(schema, spreadsheet, thread))
            if len(group) == GROUP_ROWS:
                writer.write_table(arrow.Table.from_pylist(group, schema=schema))
                group = []
        if group:
            writer.write_table(arrow.Table.from_pylist(group, schema=schema))


def _library() -> tuple[Any, Any]:
    try:
        return load("pyarrow"), load("pyarrow.parquet")
    except ImportError as error:
        extra = ExportFormat.PARQUET.value
        raise Refused(
            "Parquet is written by an extra that is not installed: "
            f'pip install "evalqueue[{extra}]"'
        ) from error


def _schema(
    arrow: Any, run_id: UUID, spreadsheet: Spreadsheet, evaluators: Sequence[EvaluatorDeclaration]
) -> Any:
    kinds = {
        f"{evaluator.name}.{score.name}": score.kind
        for evaluator in evaluators
        for score in evaluator.scores
    }
    types = {
        ScoreKind.CATEGORY: arrow.string(),
        ScoreKind.NUMBER: arrow.float64(),
        ScoreKind.BOOLEAN: arrow.bool_(),
    }
    known = {"messages": arrow.int64(), "success": arrow.bool_()}
    columns = {
        name: types[kinds[name]] if name in kinds else known.get(name, arrow.string())
        for name in spreadsheet.heading()
    }
    score = {
        "evaluator": arrow.string(), "version": arrow.string(), "name": arrow.string(),
        "turn": arrow.int32(), "value_text": arrow.string(), "value_number": arrow.float64(),
        "value_boolean": arrow.bool_(), "expected": arrow.string(), "reasoning": arrow.string(),
        "evidence": arrow.string(), "failure": arrow.string(),
    }  # fmt: skip
    return arrow.schema(
        [
            *columns.items(),
            ("duration_ms", arrow.float64()),
            ("created_at", arrow.timestamp("us", tz="UTC")),
            ("scores", arrow.list_(arrow.struct([*score.items()]))),
        ],
        metadata={"evalqueue.run_id": str(run_id)},
    )


def _row(schema: Any, spreadsheet: Spreadsheet, thread: ExportedThread) -> Mapping[str, Any]:
    values = dict(zip(spreadsheet.heading(), spreadsheet.values(thread), strict=True))
    return {
        **{name: _typed(schema.field(name).type, value) for name, value in values.items()},
        "duration_ms": thread.duration_ms,
        "created_at": thread.created_at,
        "scores": [_score(each) for each in thread.scores],
    }


def _typed(wanted: Any, value: Any) -> Any:
    """A value of a column's type. What another version of an evaluator has measured in another
    kind stands in `scores` alone."""
    kind = {"string": str, "bool": bool}.get(str(wanted))
    if kind is None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if is_number else None
    return value if isinstance(value, kind) else None


def _score(score: Mapping[str, Any]) -> Mapping[str, Any]:
    value, evidence = score["value"], score["evidence"]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        **{name: score[name] for name in ("evaluator", "version", "name", "turn", "expected")},
        **{name: score[name] for name in ("reasoning", "failure")},
        "value_text": value if isinstance(value, str) else None,
        "value_number": float(value) if is_number else None,
        "value_boolean": value if isinstance(value, bool) else None,
        "evidence": None if evidence is None else json.dumps(evidence, ensure_ascii=False),
    }
