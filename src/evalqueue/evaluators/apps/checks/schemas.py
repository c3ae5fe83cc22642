"""JSON schemas of strangers: without references, and without Python's regular expressions.

A chain of references multiplies the work, and some keywords evaluate subschemas again and again.
Without them a schema is looked at once for each part of the value.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast

from evalqueue.evaluators.apps.checks import expressions

Path = tuple[str | int, ...]
_MESSAGE_MAX = 300  # characters

_REFUSED = {
    "$ref": "references are not followed: write the schema out",
    "$dynamicRef": "references are not followed: write the schema out",
    "$recursiveRef": "references are not followed: write the schema out",
    "$id": "it is not needed: leave it out",
    "patternProperties": "not supported: name the properties",
    "unevaluatedProperties": "not supported: use additionalProperties",
    "unevaluatedItems": "not supported: use items",
}
_NAMES = {"properties", "$defs", "definitions", "dependentSchemas", "dependentRequired"}
"""Keywords whose keys are names."""
_VALUES = {"const", "enum", "default", "examples"}


def mistakes(schema: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """What is wrong with a schema, each with its path."""
    found = list(_refused(schema, ()))
    yield from found
    if found:
        return
    from jsonschema.exceptions import SchemaError

    try:
        _validator_class().check_schema(schema)
    except SchemaError as error:
        yield error.message[:_MESSAGE_MAX], tuple(error.path)


def violation(schema: Mapping[str, Any], value: object) -> str | None:
    """Where and why a value is not valid. None: it is valid."""
    from jsonschema import exceptions

    best_match: Any = exceptions.best_match  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    try:
        error: Any = best_match(_validator_class()(schema).iter_errors(value))
    except (RecursionError, ArithmeticError) as problem:
        return f"it can't be looked at: {type(problem).__name__}"
    if error is None:
        return None
    where = ".".join(map(str, error.absolute_path))
    message = str(error.message)
    return f"{where}: {message}"[:_MESSAGE_MAX] if where else message[:_MESSAGE_MAX]


def _refused(value: object, path: Path) -> Iterator[tuple[str, Path]]:
    """The keywords in a schema that are not supported."""
    if isinstance(value, list):
        for number, each in enumerate(cast("list[object]", value)):
            yield from _refused(each, (*path, number))
    if isinstance(value, dict):
        for key, each in cast("dict[str, object]", value).items():
            yield from _refused_keyword(key, each, (*path, key))


def _refused_keyword(key: str, value: object, path: Path) -> Iterator[tuple[str, Path]]:
    if key in _REFUSED:
        yield _REFUSED[key], path
    elif key == "pattern" and isinstance(value, str):
        if msg := expressions.mistake(value):
            yield msg, path
    elif key in _NAMES and isinstance(value, dict):
        for name, each in cast("dict[str, object]", value).items():
            yield from _refused(each, (*path, name))
    elif key not in _VALUES:
        yield from _refused(value, path)


@cache
def _validator_class() -> Any:
    from jsonschema import Draft202012Validator, validators

    own = {"pattern": _pattern, "uniqueItems": _unique}
    extend: Any = validators.extend  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return extend(Draft202012Validator, own)


def _pattern(_: Any, pattern: str, value: object, __: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if isinstance(value, str) and expressions.searched(pattern, value) is None:
        yield ValidationError(f"{value[:100]!r} does not match {pattern[:100]!r}")


def _unique(_: Any, is_wanted: bool, value: object, __: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if not is_wanted or not isinstance(value, list):
        return
    items = cast("list[Any]", value)
    if len({json.dumps(each, sort_keys=True) for each in items}) < len(items):
        yield ValidationError("it has an item twice")
