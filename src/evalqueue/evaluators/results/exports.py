"""All results of a run, one conversation after the other, and as rows of a spreadsheet.

A cell of text that a spreadsheet would take for a formula gets an apostrophe in front: what users
and bots say is in the cells. See OWASP, "CSV Injection".
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from evalqueue.evaluators.judging.scores import EvaluatorDeclaration, ScoreValue
from evalqueue.evaluators.results.worst import QUERIES
from evalqueue.postgres.database import Connection

_PAGE = 500  # conversations that are in memory at the same time
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # the wide ones are read as formulas, too

Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedThread:
    """A conversation of a run with all that was found in it."""

    id: int
    thread_id: str
    success_status: bool | None
    error: str | None
    """Why nothing at all could be measured."""
    messages: int | None
    duration_ms: float
    """That it took to evaluate it."""
    created_at: datetime
    scores: Sequence[Mapping[str, Any]]
    """Each with `evaluator`, `version`, `name`, `turn`, `value`, `expected`, `reasoning`,
    `evidence` and `failure`."""


async def exported(connection: Connection, run_id: UUID) -> AsyncGenerator[ExportedThread]:
    """The conversations of a run, in the order in which they were stored."""
    after = 0
    while page := await QUERIES.rows(
        connection, ExportedThread, "page", run_id=run_id, after=after, limit=_PAGE
    ):
        for each in page:
            yield each
        after = page[-1].id


class Spreadsheet:
    """The results of a run as rows: a conversation each, with what is about the whole of it."""

    def __init__(self, evaluators: Sequence[EvaluatorDeclaration]) -> None:
        self._scores = [
            (evaluator.name, score.name)
            for evaluator in evaluators
            for score in evaluator.scores
            if not score.per_turn
        ]
        self._evaluators = [(each.name, each.headline) for each in evaluators]

    def heading(self) -> list[str]:
        """The names of the columns."""
        return [
            "thread_id", "messages", "success",
            *(f"{evaluator}.{name}" for evaluator, name in self._scores),
            *(f"{evaluator} reasoning" for evaluator, _ in self._evaluators),
            "not judged",
        ]  # fmt: skip

    def row(self, thread: ExportedThread) -> list[Cell]:
        """A conversation as a row, in which no cell is a formula."""
        return [safe(each) for each in self.values(thread)]

    def values(self, thread: ExportedThread) -> list[Cell]:
        """A conversation as a row, as it is."""
        of_whole = {
            (each["evaluator"], each["name"]): each
            for each in thread.scores
            if each["turn"] is None
        }
        failures = {
            f"{each['evaluator']}: {each['failure']}" for each in thread.scores if each["failure"]
        }
        values = [_value(of_whole.get(key), "value") for key in self._scores]
        reasons = [_value(of_whole.get(key), "reasoning") for key in self._evaluators]
        missing = thread.error or "; ".join(sorted(failures)) or None
        return [
            thread.thread_id, thread.messages, thread.success_status, *values, *reasons, missing,
        ]  # fmt: skip


def safe(cell: Cell) -> Cell:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def _value(score: Mapping[str, Any] | None, name: str) -> ScoreValue | None:
    return None if score is None else score[name]
