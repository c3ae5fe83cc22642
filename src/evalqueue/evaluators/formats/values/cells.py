"""Values that mean that there is none, and yes or no as spreadsheets write it."""

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
