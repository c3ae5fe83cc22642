"""JSON Schemas of strangers: nothing is fetched for them, and `pattern` is an RE2 expression.

The library holds the GIL while it looks at a value. What it has to do grows with the schema times
the value, so their lengths are bounded, and how often references multiply the schema. RE2 releases
the GIL.
"""

import re
from itertools import islice
from typing import Any, cast
from urllib.parse import unquote

import jsonschema_rs

from evalqueue.evaluators import expressions

WORK_MAX = 2_000_000_000
"""Characters of a schema times those of a value: a few seconds at the very worst."""
_SHOWN_MAX = 300  # characters
_DIGITS_MAX = 8
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_ADDRESSES = ("$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor")
"""Keywords by which a part of a schema can be referred to."""
_ERRORS_MAX = 1_000  # that are looked at for the one that is shown
_NODES_MAX = 100_000
"""Objects and lists of a schema, with what its references refer to in their places."""
_CHARACTERS_OF_NODE = 20
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_EXPRESSIONS = jsonschema_rs.RegexOptions(size_limit=1 << 20)
"""Of the names in `patternProperties`."""

Path = tuple[str | int, ...]


class InvalidSchema(ValueError):
    """It is no schema, or refers to something outside."""

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.path = path


class JsonSchema:
    """Checks values."""

    def __init__(self, schema: Any, *, size: int) -> None:
        """Compile a schema.

        Args:
            schema: as JSON.
            size: its length, in characters.

        Raises:
            InvalidSchema: it can't be used.
        """
        if not isinstance(schema, dict | bool):
            raise InvalidSchema("it is no object")
        self._size = max(size, _Nodes(schema).total * _CHARACTERS_OF_NODE)
        try:
            self._validator = jsonschema_rs.validator_for(
                cast("dict[str, Any] | bool", schema),
                pattern_options=_EXPRESSIONS,
                retriever=_outside,
                keywords=_KEYWORDS,
            )
        except jsonschema_rs.ValidationError as error:
            raise InvalidSchema(error.message[:_SHOWN_MAX], tuple(error.instance_path)) from error
        except (ValueError, RecursionError) as error:
            raise InvalidSchema(str(error).partition("\n")[0][:_SHOWN_MAX]) from error

    def fits(self, size: int) -> bool:
        """Whether a value of so many characters can be looked at in bounded time."""
        return self._size * size <= WORK_MAX

    def is_valid(self, value: Any) -> bool:
        """Whether a value is valid. One that can't be looked at is not."""
        try:
            return self._validator.is_valid(value)
        except (ValueError, RecursionError):
            return False

    def violation(self, value: Any) -> str | None:
        """Where and why a value is not valid: its outermost fault. None: it is valid."""
        try:
            errors = list(islice(self._validator.iter_errors(value), _ERRORS_MAX))
        except (ValueError, RecursionError) as problem:
            return f"it can't be looked at: {type(problem).__name__}"
        if not errors:
            return None
        error = min(errors, key=lambda each: len(each.instance_path))
        where = ".".join(map(str, error.instance_path))
        return (f"{where}: {error.message}" if where else error.message)[:_SHOWN_MAX]


class _Nodes:
    """Counts the objects and lists of a schema."""

    def __init__(self, schema: Any) -> None:
        """Count.

        Raises:
            InvalidSchema: there are too many, or a reference is not to be followed.
        """
        self._schema = schema
        self._known: dict[str, int] = {"#": 0}
        """The nodes of what was referred to. A schema inside itself is counted once."""
        self._has_address = False
        self._address: str | None = None
        """What is referred to by an address, not by a place in the schema."""
        try:
            self.total = self._count(schema)
        except RecursionError as error:
            raise InvalidSchema("it is too deep") from error
        if self._has_address and self._address is not None:
            raise InvalidSchema(f"write {self._address[:100]} as a place in it: #/$defs/…")

    def _count(self, value: Any) -> int:
        match value:
            case dict():
                inside = cast("dict[str, Any]", value)
                total = 1 + sum(map(self._count, inside.values()))
                self._has_address |= any(isinstance(inside.get(each), str) for each in _ADDRESSES)
                for name in _REFERENCES:
                    if isinstance(to := inside.get(name), str):
                        total += self._referred(to)
                if isinstance(pattern := inside.get("pattern"), str):
                    total += _steps(pattern) // _CHARACTERS_OF_NODE
            case list():
                total = 1 + sum(map(self._count, cast("list[Any]", value)))
            case _:
                return 0
        if total > _NODES_MAX:
            raise InvalidSchema("it is too large, with what its references refer to")
        return total

    def _referred(self, to: str) -> int:
        if to not in self._known:
            if not to.startswith("#/"):
                self._address = to
                return 0
            self._known[to] = 0
            self._known[to] = self._count(self._at(to.removeprefix("#/").split("/")))
        return self._known[to]

    def _at(self, pointer: list[str]) -> Any:
        value = self._schema
        for part in pointer:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            match value:
                case dict():
                    value = cast("dict[str, Any]", value).get(name)
                case list() if name.isdecimal() and len(name) < _DIGITS_MAX:
                    value = cast("list[Any]", value)[int(name) : int(name) + 1]
                case _:
                    return None
        return value


class _Pattern:
    """The keyword `pattern`."""

    def __init__(self, _parent: Any, pattern: Any, _path: Any) -> None:
        self._pattern = str(pattern)
        self._compiled = _compiled(self._pattern)

    def validate(self, instance: Any) -> None:
        if isinstance(instance, str) and self._compiled.search(instance) is None:
            raise ValueError(f"{instance[:100]!r} does not match {self._pattern[:100]!r}")


_KEYWORDS: dict[str, type[Any]] = {"pattern": _Pattern}


def _compiled(pattern: str) -> Any:
    """An expression in JSON Schema's dialect, where \\u00e9 is a character."""
    return expressions.compiled(_ESCAPED.sub(r"\\x{\1}", pattern))


def _steps(pattern: str) -> int:
    """The size of an expression, each step of which is taken for each character. 0: it is none."""
    try:
        return _compiled(pattern).programsize
    except expressions.InvalidExpression:
        return 0


def _outside(uri: str) -> Any:
    raise ValueError(f"{uri} is outside of it: write all of it in one place")
