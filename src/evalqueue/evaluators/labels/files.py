"""Labels as CSV: files that people fill in, in any spreadsheet program."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from pydantic import ValidationError

from evalqueue.errors import Problem
from evalqueue.evaluators.labels.store import Drawn, InvalidLabels, NewLabel
from evalqueue.problems import explained

COLUMNS = (
    "thread_id", "evaluator", "name", "value", "labelled_by", "is_random", "adjudicates", "note",
)  # fmt: skip
CONVERSATION = "conversation"
"""A column for people to read; it is not read back."""
_REQUIRED = ("thread_id", "evaluator", "value", "labelled_by", "is_random")
_MAX_PROBLEMS = 100
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to a spreadsheet program."""


def read(file: TextIO) -> tuple[list[NewLabel], int]:
    """The labels of a file, and how many of its rows have no value yet.

    Raises:
        InvalidLabels: with the number of each row that can't be read.
    """
    rows = csv.DictReader(file)
    header = [] if rows.fieldnames is None else list(rows.fieldnames)
    missing = [name for name in _REQUIRED if name not in header]
    if missing:
        message = f"The file has no column {', '.join(missing)}. It needs {', '.join(_REQUIRED)}"
        raise InvalidLabels([Problem(loc=("row 1",), msg=message)])
    labels: list[NewLabel] = []
    problems: list[Problem] = []
    empty = 0
    for number, row in enumerate(rows, start=2):
        cells = {name: _unquoted(row[name]) for name in COLUMNS if row.get(name)}
        if "value" not in cells:
            empty += 1
            continue
        try:
            labels.append(NewLabel.model_validate(cells))
        except ValidationError as error:
            problems += [
                Problem(loc=(f"row {number}", *each["loc"]), msg=each["msg"])
                for each in explained(error)
            ]
    if problems:
        raise InvalidLabels(problems[:_MAX_PROBLEMS])
    return labels, empty


def write(
    file: TextIO, drawn: Iterable[Drawn], *, evaluator: str, name: str, labelled_by: str
) -> None:
    """Write a file with one conversation in each row, and an empty value. It does not show what the
    judge has said."""
    rows = csv.writer(file)
    rows.writerow((*COLUMNS, CONVERSATION))
    for each in drawn:
        cells = (each.thread_id, evaluator, name, "", labelled_by, "true", "", "")
        rows.writerow([_quoted(cell) for cell in (*cells, _transcript(each.turns))])


def _transcript(turns: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(_messages(turns))


def _messages(turns: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for turn in turns:
        yield f"User: {turn.get('user_text') or ''}"
        if turn.get("error"):
            yield f"(the chatbot failed: {turn['error']})"
        else:
            yield f"Chatbot: {turn.get('bot_text') or ''}"


def _quoted(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _unquoted(cell: str) -> str:
    """What `_quoted` was given."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell
