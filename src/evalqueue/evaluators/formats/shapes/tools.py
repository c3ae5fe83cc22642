"""Tools: calls of any SDK, the definitions of tools, and the calls that people expect."""

import json
from collections.abc import Iterator

from evalqueue.evaluators.arguments import compiled_schema
from evalqueue.evaluators.conversation import ExpectedCall
from evalqueue.evaluators.formats import shown
from evalqueue.evaluators.formats.shapes import Object, ShapeError, fields
from evalqueue.evaluators.formats.shapes.assembly import Call
from evalqueue.evaluators.formats.shapes.fields import dumped, inside, list_of, object_of
from evalqueue.evaluators.json_schemas import InvalidSchema

IDS_OF_CALLS = ("tool_call_id", "tool_use_id", "call_id", "toolCallId", "id")
RESULTS = ("content", "response", "result", "output")
RESULT_TYPES = ("tool_result", "tool_call_response", "tool-result", "function_call_output",
                "web_search_tool_result")  # fmt: skip
EXPECTED = ("expected_tool_calls", "reference_tool_calls", "expected_tools", "expected_calls",
            "expected_trajectory", "reference_trajectory")  # fmt: skip
DEFINITIONS = ("tools", "functions", "tool_definitions", "available_tools")
_TAU_BENCH = ("info", "task", "actions")
_CALL_TYPES = ("tool_use", "tool_call", "tool-call", "function_call", "server_tool_use")
_NAMES = ("name", "toolName", "tool_name", "tool", "function")
_ARGUMENTS = ("arguments", "args", "input", "parameters", "kwargs", "input_parameters")
_SCHEMAS = ("arguments_schema", "args_schema")
_LISTS = ("messages", "tool_calls", "actions")


def call_in(piece: Object, kind: str) -> Call | None:
    """The call that a part of a content is. None: it is none."""
    gemini = object_of(piece.get("functionCall")) or object_of(piece.get("function_call"))
    return call_of(gemini or piece) if gemini or kind in _CALL_TYPES else None


def calls_beside(message: Object) -> list[Call]:
    """The calls that a message has beside its content."""
    for holder in (message, object_of(message.get("additional_kwargs")) or {}):
        given = list_of(holder.get("tool_calls")) or []
        if single := object_of(holder.get("function_call")):
            given = [*given, single]
        if given:
            return [call_of(known) for each in given if (known := object_of(each)) is not None]
    return []


def call_of(value: Object) -> Call:
    """A tool call of OpenAI, Anthropic, Gemini, LangChain, Inspect or OpenTelemetry."""
    value = object_of(value.get("tool_call")) or value  # OpenInference
    holder = object_of(value.get("function")) or value
    name = next((holder[key] for key in _NAMES if holder.get(key)), "tool")
    arguments = next((holder[key] for key in _ARGUMENTS if holder.get(key) is not None), "")
    return Call(
        id=fields.text_of(value, ("id", "tool_call_id", "call_id", "toolCallId")),
        name=str(name),
        arguments=dumped(arguments),
    )


def recorded(value: object) -> list[Call] | None:
    """The calls of a list, each with its result if it has one. None: it is no list of calls."""
    given = list_of(value)
    if given is None:
        return None
    found: list[Call] = []
    for each in given:
        known = object_of(each)
        if known is None or not any(known.get(key) for key in _NAMES):
            return None
        call = call_of(known)
        result = next((known[key] for key in RESULTS if known.get(key) is not None), None)
        call.result = None if result is None else dumped(result)
        found.append(call)
    return found


def called_in(text: str) -> list[Call]:
    """The calls that a text is, as JSON. Empty: it is something else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return recorded([value] if object_of(value) is not None else value) or []


def definitions_of(record: Object) -> str | None:
    """The definitions of the bot's tools, as JSON. None: there are none."""
    found = fields.first(record, DEFINITIONS)
    if found is not None and isinstance(found[1], str):  # JSON in a text
        return found[1] if found[1].strip()[:1] == "[" and json_list(found[1]) else None
    given = None if found is None else list_of(found[1])
    return dumped(given) if given else None


def json_list(text: str) -> list[object] | None:
    """The list that a text is as JSON. None: it is none."""
    try:
        return list_of(json.loads(text))
    except (ValueError, RecursionError):
        return None


# What people expect.


def expected_beside(holder: Object, place: str = "") -> tuple[ExpectedCall, ...] | None:
    """The calls that are expected of a conversation or a turn. None: not given.

    Raises:
        ShapeError: they can't be read.
    """
    found = fields.first(holder, EXPECTED)
    if found is not None:
        return expected_calls(found[1], f"{place}{found[0]}")
    actions = list_of(inside(holder, *_TAU_BENCH))
    return None if actions is None else expected_calls(actions, ".".join(_TAU_BENCH))


def expected_calls(value: object, column: str) -> tuple[ExpectedCall, ...]:
    """Expected calls: names, calls as SDKs write them, or messages that have calls.

    Raises:
        ShapeError: they can't be read.
    """
    return tuple(_expected(value, column))


def _expected(value: object, column: str) -> Iterator[ExpectedCall]:
    given = list_of(value)
    if given is not None:
        for place, each in enumerate(given):
            yield from _expected_item(each, f"{column}[{place}]")
        return
    known = object_of(value)
    key = None if known is None else next((key for key in _LISTS if key in known), None)
    if known is None or key is None:
        yield from _expected_item(value, column)
    else:
        yield from _expected(known[key], f"{column}.{key}")


def _expected_item(value: object, column: str) -> Iterator[ExpectedCall]:
    if isinstance(value, str) and value.strip():
        yield ExpectedCall(name=value.strip())
        return
    known = object_of(value)
    if known is not None and isinstance(known.get("role"), str):
        pieces = [piece for _, piece in fields.objects(known.get("content"))]
        calls = [call for piece in pieces if (call := call_in(piece, str(piece.get("type", ""))))]
        for call in calls or calls_beside(known):
            arguments = _json(call.arguments, column) if call.arguments else None
            yield ExpectedCall(name=call.name, arguments=arguments)
        return
    holder = None if known is None else object_of(known.get("function")) or known
    name = None if holder is None else next((holder[key] for key in _NAMES if holder.get(key)), "")
    if known is None or holder is None or not isinstance(name, str) or not name:
        raise ShapeError(column, f"{shown(dumped(value))} is no call: write {_EXAMPLE}.")
    arguments = next((holder[key] for key in _ARGUMENTS if holder.get(key) is not None), None)
    schema = next((known[key] for key in _SCHEMAS if known.get(key) is not None), None)
    yield ExpectedCall(
        name=name,
        arguments=None if arguments is None else _json(arguments, f"{column}.arguments"),
        arguments_schema=None if schema is None else _schema(schema, f"{column}.arguments_schema"),
    )


_EXAMPLE = '{"name": "get_order", "arguments": {"id": "A1"}}'


def _json(value: object, column: str) -> str:
    """The arguments of a call as JSON; SDKs write them as text that is JSON."""
    if not isinstance(value, str):
        return dumped(value)
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        reason = f"{shown(value)} is no JSON. Write an object: {_EXAMPLE}."
        raise ShapeError(column, reason) from None
    return value


def _schema(value: object, column: str) -> str:
    written = _json(value, column)
    try:
        compiled_schema(written)
    except InvalidSchema as error:
        raise ShapeError(column, f"it is no JSON Schema: {error}") from None
    return written
