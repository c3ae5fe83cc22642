"""Values that mean that there is none, and yes or no as spreadsheets write it."""

from datetime import datetime

_MISSING = frozenset({
    "", "nan", "-nan", "null", "none", "nil", "n/a", "na", "#n/a", "#na", "<na>", "nat",
    "undefined", "\\n",
})  # fmt: skip
"""How exports write that there is no value; "\\\\N" is MySQL's."""

_NO_INPUT = "<noinput>"
"""How Alpaca's data says that an instruction is about nothing."""

_YES = (
    "1", "1.0", "true", "yes", "y", "t", "wahr", "ja", "vrai", "oui", "verdadero", "verdadeiro",
    "sí", "si", "sim", "vero", "waar", "истина", "да",
)  # fmt: skip
_NO = (
    "0", "0.0", "false", "no", "n", "f", "falsch", "nein", "faux", "non", "falso", "não", "nao",
    "onwaar", "nee", "ложь", "нет",
)  # fmt: skip
_FLAGS = {word: is_yes for words, is_yes in ((_YES, True), (_NO, False)) for word in words}
"""Excel writes these words in its own language."""


def is_missing(cell: str) -> bool:
    """Whether the cell means that there is no value."""
    return cell.strip().lower() in _MISSING


class EmptyText(str):
    """The cell of an empty text, in files that have something else for a missing one."""

    __slots__ = ()


def answer_in(cell: str) -> str | None:
    """An answer, even an empty one. None: there is none, or that is not known."""
    return str(cell) if cell.strip() or isinstance(cell, EmptyText) else None


def optional(cell: str) -> str | None:
    """The cell's value. None: the cell means that there is no value."""
    return None if is_missing(cell) else cell


def with_input(question: str, about: str) -> str:
    """A question with what it is about, where a file has that in a column of its own."""
    is_none = is_missing(about) or about.strip() == _NO_INPUT
    return question if is_none else f"{question}\n\n{about}"


def flag_of(cell: str) -> bool | None:
    """Whether it says yes. A missing value says no. None: it says neither."""
    text = cell.strip().lower()
    return False if text in _MISSING else _FLAGS.get(text)


def cell_of(value: object) -> str:
    """A value as the cell that a CSV file would have."""
    match value:
        case None:
            return ""
        case "":
            return EmptyText()
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case datetime():
            return value.isoformat()
        case _:
            return str(value)
