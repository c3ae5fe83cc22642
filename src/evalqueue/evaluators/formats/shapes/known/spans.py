"""Spans of LLM calls: OpenTelemetry's GenAI conventions, and OpenInference (Arize Phoenix).

A span has the conversation so far and one answer. Spans of a conversation (else of a session, else
of a trace) are one conversation; what they repeat is read once.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from evalqueue import codec
from evalqueue.evaluators.formats import DateOrder
from evalqueue.evaluators.formats.shapes import Object, ShapeError, content, fields
from evalqueue.evaluators.formats.shapes.assembly import Conversation, Part
from evalqueue.evaluators.formats.shapes.fields import (
    dumped,
    inside,
    list_of,
    object_of,
    objects,
)
from evalqueue.evaluators.formats.shapes.tools import definitions_of

_THREAD = ("gen_ai.conversation.id", "session.id", "conversation.id", "langfuse.session.id",
           "traceloop.association.properties.session_id")  # fmt: skip
_USER = ("user.id", "enduser.id", "langfuse.user.id")
_ASKED = ("gen_ai.input.messages", "llm.input_messages", "gen_ai.prompt")
_ANSWERED = ("gen_ai.output.messages", "llm.output_messages", "gen_ai.completion")
_SYSTEM = ("gen_ai.system_instructions",)
_TOOLS = ("gen_ai.tool.definitions", "gen_ai.request.tools", "llm.tools")
_NUMBERED_TOOLS = ("llm.tools", "llm.request.functions")
"""Of OpenInference, and of OpenLLMetry."""
_PARAMETERS = ("llm.invocation_parameters",)
_SCHEMAS = ("tool.json_schema", "json_schema")
_EVENT = re.compile(r"gen_ai\.(user|assistant|system|tool)\.message")
_STATUS_ERROR = (2, "STATUS_CODE_ERROR", "ERROR")


class _Otlp:
    """OTLP JSON of a collector: `{"resourceSpans": [{"scopeSpans": [{"spans": […]}]}]}`. Of a large
    document, each resource is a record."""

    name = "OpenTelemetry spans"

    def recognises(self, record: Object) -> bool:
        return "resourceSpans" in record or _has_scopes(record) or _is_otlp_span(record)

    def conversations(self, record: Object, order: DateOrder | None) -> Iterator[Conversation]:
        found = [each for _, each in with_messages(record, order)]
        if not found:
            reason = (
                "none of its spans has messages. Let the instrumentation capture content "
                "(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT)."
            )
            raise ShapeError("resourceSpans", reason)
        yield from found


def with_messages(
    record: Object, order: DateOrder | None = None
) -> Iterator[tuple[str, Conversation]]:
    """The spans of OTLP that have messages, each with its id, in the order of their starts.

    Raises:
        ShapeError: one of them can't be read.
    """
    spans = [record] if _is_otlp_span(record) else list(_spans(record))
    for span in sorted(spans, key=_start):
        if (found := _of_span(_flat_span(span), order)) is not None:
            yield str(span.get("spanId") or ""), found


class _OpenInference:
    """Spans that Arize Phoenix exports, with nested or dotted attributes."""

    name = "OpenInference spans (Phoenix)"

    def recognises(self, record: Object) -> bool:
        return (
            "span_kind" in record
            or "openinference.span.kind" in record
            or any(key.startswith(("attributes.", "context.")) for key in record)
            or (object_of(record.get("attributes")) is not None and "start_time" in record)
        )

    def conversations(self, record: Object, order: DateOrder | None) -> Iterator[Conversation]:
        flat = dict(_flattened(record))
        attributes = {
            key.removeprefix("attributes."): value
            for key, value in flat.items()
            if key.startswith("attributes.")
        }
        span = {
            "id": flat.get("context.span_id") or flat.get("span_id"),
            "trace": flat.get("context.trace_id") or flat.get("trace_id"),
            "at": flat.get("start_time"),
            "error": flat.get("status_message") or "error"
            if flat.get("status_code") in _STATUS_ERROR
            else None,
            "attributes": attributes,
        }
        found = _of_span(span, order)
        if found is not None:
            yield found


OTLP = _Otlp()
OPEN_INFERENCE = _OpenInference()


def _is_otlp_span(record: Object) -> bool:
    return "traceId" in record and "startTimeUnixNano" in record


def _start(span: Object) -> int:
    """The start of a span in nanoseconds. 0: it is not known."""
    given = str(span.get("startTimeUnixNano"))
    return int(given) if given.isdecimal() else 0


def _has_scopes(record: Object) -> bool:
    return list_of(record.get("scopeSpans")) is not None


def _spans(record: Object) -> Iterator[Object]:
    for _, resource in objects([record] if _has_scopes(record) else record["resourceSpans"]):
        scopes = resource.get("scopeSpans") or resource.get("instrumentationLibrarySpans")
        for _, scope in objects(scopes):
            for _, span in objects(scope.get("spans")):
                yield span


def _flat_span(span: Object) -> Mapping[str, Any]:
    """A span of OTLP with its attributes as an object."""
    attributes = _attributes(span)
    for _, event in objects(span.get("events")):
        _add_event(attributes, str(event.get("name")), _attributes(event))
    status = object_of(span.get("status")) or {}
    return {
        "id": span.get("spanId"),
        "trace": span.get("traceId"),
        "at": _start(span) or None,
        "error": (status.get("message") or "error")
        if status.get("code") in _STATUS_ERROR
        else None,
        "attributes": attributes,
    }


def _attributes(holder: Object) -> dict[str, Any]:
    return {
        str(each.get("key")): _any_value(each.get("value"))
        for _, each in objects(holder.get("attributes"))
    }


def _any_value(value: object) -> Any:
    """OTLP's AnyValue."""
    known = object_of(value)
    if known is None:
        return value
    if (listed := inside(known, "arrayValue", "values")) is not None:
        return [_any_value(each) for each in list_of(listed) or []]
    if (pairs := inside(known, "kvlistValue", "values")) is not None:
        return {str(each.get("key")): _any_value(each.get("value")) for _, each in objects(pairs)}
    return next(iter(known.values()), None)


def _add_event(attributes: dict[str, Any], name: str, found: dict[str, Any]) -> None:
    """Earlier conventions put each message into an event."""
    if (match := _EVENT.fullmatch(name)) is not None:
        message = {"role": match[1], **found}
        attributes.setdefault("gen_ai.input.messages", []).append(message)
    elif name == "gen_ai.choice":
        message = {"role": "assistant", **(object_of(_parsed(found.get("message"))) or found)}
        attributes.setdefault("gen_ai.output.messages", []).append(message)
    elif name == "gen_ai.client.inference.operation.details":
        attributes.update({key: each for key, each in found.items() if key not in attributes})
    elif name in ("gen_ai.content.prompt", "gen_ai.content.completion"):
        key = name.replace("content.", "")
        if (value := found.get(key)) is not None:
            attributes.setdefault(key, value)


def _of_span(span: Mapping[str, Any], order: DateOrder | None) -> Conversation | None:
    attributes: dict[str, Any] = span["attributes"]
    asked = _messages(attributes, _ASKED, "user", order)
    answered = _messages(attributes, _ANSWERED, "assistant", order)
    if not asked and not answered:
        return None
    system = [
        Part(role="system", text=content.text_in(_parsed(attributes[key])))
        for key in _SYSTEM
        if key in attributes
    ]
    if (tools := _tools(attributes)) is not None:
        system.append(Part(role="system", text="", tools=tools))
    if answered and span["id"] is not None:
        answered[-1].response_id = answered[-1].response_id or str(span["id"])
    error = fields.error_text(span["error"])
    if error is not None and not answered:
        answered = [Part(role="assistant", text="", error=error)]
    return Conversation(
        thread_id=fields.text_of(attributes, _THREAD) or str(span["trace"] or ""),
        user_id=fields.text_of(attributes, _USER) or "",
        session_id=fields.text_of(attributes, ("session.id",)),
        at=content.moment_in(span["at"], order),
        error=error,
        parts=[*system, *asked, *answered],
    )


def _messages(
    attributes: Mapping[str, Any], keys: tuple[str, ...], role: str, order: DateOrder | None
) -> list[Part]:
    for key in keys:
        given = _parsed(attributes.get(key)) or _numbered(attributes, key)
        if isinstance(given, str):
            return [Part(role="user" if role == "user" else "assistant", text=given)]
        if list_of(given):
            messages = [
                {"role": role, **(content.unwrapped(each) or {})} for each in list_of(given) or []
            ]
            return content.parts_of(messages, key, order)
    return []


def _tools(attributes: Mapping[str, Any]) -> str | None:
    """The definitions of the tools that a call could use, as JSON. None: there are none."""
    for key in _TOOLS:
        given = list_of(_parsed(attributes.get(key))) or []
        if known := [each for each in map(_definition, given) if each]:
            return dumped(known)
    for key in _NUMBERED_TOOLS:
        if found := _by_number(attributes, key):
            return dumped([_definition(found[number]) for number in sorted(found)])
    for key in _PARAMETERS:
        asked = object_of(_parsed(attributes.get(key)))
        if asked is not None and (found := definitions_of(asked)) is not None:
            return found
    return None


def _definition(given: object) -> Any:
    """One definition: the object itself, or what an attribute holds as JSON."""
    tool = object_of(_parsed(given))
    if tool is None:
        return _parsed(given)
    tool = object_of(tool.get("tool")) or tool
    schema = next((_parsed(tool[key]) for key in _SCHEMAS if key in tool), None)
    return schema or {key: _parsed(each) for key, each in tool.items()}


def _parsed(value: object) -> Any:
    """The value of an attribute that holds JSON as text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return codec.clean_json(json.loads(value))  # escapes in it may stand for NUL
        except (ValueError, RecursionError):
            return value
    return value


def _numbered(attributes: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Messages in attributes such as `gen_ai.prompt.0.content`."""
    found = _by_number(attributes, prefix)
    return [
        {key: each for key, each in found[number].items() if key in ("role", "content")}
        | ({"tool_calls": calls} if (calls := _numbered_calls(found[number])) else {})
        for number in sorted(found)
    ]


def _by_number(attributes: Mapping[str, Any], prefix: str) -> dict[int, dict[str, Any]]:
    """The attributes below `prefix.0.`, `prefix.1.` and so on."""
    found: dict[int, dict[str, Any]] = {}
    for key, value in attributes.items():
        if not key.startswith(f"{prefix}."):
            continue
        number, _, name = key.removeprefix(f"{prefix}.").partition(".")
        if number.isdecimal() and name:
            found.setdefault(int(number), {})[name.removeprefix("message.")] = value
    return found


def _numbered_calls(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for key, value in message.items():
        match = re.fullmatch(r"(?:message\.)?tool_calls\.([0-9]+)\.(?:tool_call\.)?(.+)", key)
        if match is not None:
            found.setdefault(match[1], {})[match[2].removeprefix("function.")] = value
    return [found[number] for number in sorted(found, key=int)]


def _flattened(value: object, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Nested objects by dotted keys. Lists stay lists."""
    known = object_of(value)
    if known is None or depth > 20:  # noqa: PLR2004  levels
        yield prefix, value
        return
    for key, each in known.items():
        yield from _flattened(each, f"{prefix}.{key}" if prefix else key, depth + 1)
