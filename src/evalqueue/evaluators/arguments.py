"""Arguments of tool calls: whether they are those that people expect, equal or by a JSON Schema.

A schema comes with the data, and so from anybody; see `json_schemas`.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, cast

from evalqueue.evaluators.conversation import ExpectedCall, ToolCall
from evalqueue.evaluators.json_schemas import InvalidSchema, JsonSchema

_SCHEMA_KEYS = ("parameters", "input_schema", "inputSchema", "parametersJsonSchema")
_KNOWN_SCHEMAS = 256


class Arguments(StrEnum):
    """How the arguments of calls are compared."""

    EXACT = "exact"
    SUBSET = "subset"
    SUPERSET = "superset"
    SCHEMA = "schema"
    IGNORE = "ignore"


class NoSchema(Exception):
    """Arguments were to be checked by a schema, and there is none, or it can't be read."""


class ArgumentsCheck:
    """Compares calls in one conversation."""

    def __init__(self, how: Arguments, definitions: str | None) -> None:
        """`definitions` are those of the bot's tools, as JSON."""
        self._how = how
        self._definitions = definitions
        self._schemas: Mapping[str, str] | None = None

    def fits(self, expected: ExpectedCall, made: ToolCall) -> bool:
        """Whether a call is the expected one.

        Raises:
            NoSchema: there is none for this tool.
        """
        if expected.name != made.name:
            return False
        is_any = expected.arguments is None and expected.arguments_schema is None
        if self._how is Arguments.IGNORE or (is_any and self._how is not Arguments.SCHEMA):
            return True
        if self._how is Arguments.SCHEMA or expected.arguments is None:
            return self._satisfies(expected, made)
        return self._are_equal(expected.arguments, made.arguments)

    def _are_equal(self, expected: str, made: str) -> bool:
        if self._how is not Arguments.EXACT:
            wanted, given = _by_name(expected), _by_name(made)
            if wanted is not None and given is not None:
                return given <= wanted if self._how is Arguments.SUBSET else wanted <= given
        return _canonical(expected) == _canonical(made)

    def _satisfies(self, expected: ExpectedCall, made: ToolCall) -> bool:
        schema = expected.arguments_schema or self._defined(made.name)
        if schema is None:
            raise NoSchema(
                f"There is no schema for the arguments of {made.name}: neither arguments_schema in "
                "the expected call nor a definition in tools."
            )
        try:
            compiled = compiled_schema(schema)
        except InvalidSchema as error:
            raise NoSchema(f"The schema of {made.name} can't be used: {error}.") from error
        if not compiled.fits(len(made.arguments)):
            raise NoSchema(f"The arguments of {made.name} are too long for its schema.")
        try:
            return compiled.is_valid(json.loads(made.arguments or "{}"))
        except (ValueError, RecursionError):  # it is no JSON, or too deep
            return False

    def _defined(self, name: str) -> str | None:
        if self._schemas is None:
            self._schemas = _schemas_of(self._definitions)
        return self._schemas.get(name)


@lru_cache(_KNOWN_SCHEMAS)
def compiled_schema(schema: str) -> JsonSchema:
    """A schema that is written as JSON.

    Raises:
        InvalidSchema: it can't be used.
    """
    try:
        return JsonSchema(json.loads(schema), size=len(schema))
    except RecursionError as error:
        raise InvalidSchema("it is too deep") from error
    except json.JSONDecodeError as error:
        raise InvalidSchema("it is no JSON") from error


def _schemas_of(definitions: str | None) -> dict[str, str]:
    """The schemas of tools' arguments by the tools' names, as SDKs define them."""
    found: dict[str, str] = {}
    for tool in _objects(_value(definitions or "[]")):
        for each in (tool, *_objects([tool.get("function")]), *_objects(_declarations(tool))):
            schema = next((each[key] for key in _SCHEMA_KEYS if key in each), None)
            if isinstance(each.get("name"), str) and isinstance(schema, dict):
                found[each["name"]] = json.dumps(schema)
    return found


def _declarations(tool: Mapping[str, Any]) -> object:  # Gemini's
    return tool.get("functionDeclarations") or tool.get("function_declarations")


def _objects(value: object) -> list[dict[str, Any]]:
    given = cast("list[Any]", value) if isinstance(value, list) else []
    return [each for each in given if isinstance(each, dict)]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _canonical(arguments: str) -> str:
    """Arguments as text that is the same for equal JSON: 1 and 1.0 are, 1 and "1" are not."""
    try:
        return json.dumps(json.loads(arguments or "{}", parse_float=_number), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments.strip()


def _by_name(arguments: str) -> frozenset[tuple[str, str]] | None:
    """Each argument with its value. None: they are no object."""
    try:
        value: Any = json.loads(arguments or "{}", parse_float=_number)
        if not isinstance(value, dict):
            return None
        named = cast("dict[str, Any]", value)
        return frozenset((key, json.dumps(each, sort_keys=True)) for key, each in named.items())
    except (ValueError, RecursionError):
        return None


def _number(written: str) -> float | int:
    value = float(written)
    return int(value) if value.is_integer() else value
