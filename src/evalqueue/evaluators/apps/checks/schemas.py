"""JSON schemas of strangers: without references, and without Python's regular expressions.

A chain of references multiplies the work, and some keywords evaluate subschemas again and again.
Without them a schema is looked at once for each part of the value.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

from evalqueue.evaluators import expressions
from evalqueue.evaluators.json_schemas import InvalidSchema, JsonSchema, Path

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
    try:
        _compiled(json.dumps(schema))
    except InvalidSchema as error:
        yield str(error), error.path


def violation(schema: Mapping[str, Any], value: object) -> str | None:
    """Where and why a value is not valid. None: it is valid."""
    return _compiled(json.dumps(schema)).violation(value)


@lru_cache(maxsize=256)
def _compiled(schema: str) -> JsonSchema:
    return JsonSchema(json.loads(schema), size=len(schema))


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
