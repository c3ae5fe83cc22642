"""Responses of endpoints that speak OpenAI's protocol.

Nothing but the answer's text is required. What else a response holds, or holds in another form,
never voids an answer that was paid for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from evalqueue.evaluators.providers.chat_completions.faults import ErrorBody
from evalqueue.evaluators.providers.errors import CallOutcome
from evalqueue.evaluators.providers.json_values import fields, items, name, parsed, string, tokens
from evalqueue.evaluators.providers.provider import Usage

_OK = 200
_REASONING_PARTS = frozenset({"thinking", "reasoning", "redacted_thinking", "reasoning_content"})
_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
_BY_FINISH = {
    "length": CallOutcome.TRUNCATED,
    "max_tokens": CallOutcome.TRUNCATED,
    "max_output_tokens": CallOutcome.TRUNCATED,
    "model_length": CallOutcome.TRUNCATED,
    "content_filter": CallOutcome.CONTENT_FILTER,
    "content-filter": CallOutcome.CONTENT_FILTER,
    "safety": CallOutcome.CONTENT_FILTER,
    "sensitive": CallOutcome.CONTENT_FILTER,
    "recitation": CallOutcome.CONTENT_FILTER,
    "prohibited_content": CallOutcome.CONTENT_FILTER,
    "blocklist": CallOutcome.CONTENT_FILTER,
    "guardrail_intervened": CallOutcome.CONTENT_FILTER,
    "refusal": CallOutcome.JUDGE_REFUSED,
    "error": CallOutcome.TRANSIENT,
    "abort": CallOutcome.TRANSIENT,
    "network_error": CallOutcome.TRANSIENT,
    "insufficient_system_resource": CallOutcome.TRANSIENT,
    "malformed_function_call": CallOutcome.TRANSIENT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatAnswer:
    """One response with status 200."""

    outcome: CallOutcome
    text: str = ""
    """The answer, or the part of it that came."""
    reason: str = ""
    """Why there is no whole answer."""
    fault: ErrorBody | None = None
    """The error that came instead of an answer."""
    model: str | None = None
    request_id: str | None = None
    usage: Usage
    is_billed: bool = False
    """Whether a model wrote it, however unusable it is."""


def read(body: str) -> ChatAnswer:
    """Read a response with status 200."""
    value = _parse(body)
    if not isinstance(value, dict):
        text = f"the answer is not a chat completion: {body}"
        return ChatAnswer(outcome=CallOutcome.TRANSIENT, reason=text, usage=Usage())
    answer = cast("Mapping[str, Any]", value)
    usage = _usage(fields(answer.get("usage")))
    model, request_id = name(answer.get("model")), name(answer.get("id"))
    choice = fields(next(iter(items(answer.get("choices"))), None))
    message = fields(choice.get("message")) or fields(choice.get("delta"))
    error = _error(answer, choice)
    if error is not None:
        fault = ErrorBody.of(_OK, error)
        return ChatAnswer(
            outcome=fault.outcome, fault=fault, model=model, request_id=request_id, usage=usage
        )
    text = _text(message) or string(choice.get("text"))
    outcome, reason = _outcome(choice, message, text)
    if not choice:
        reason = f"the answer holds no choice: {body}"
    return ChatAnswer(
        outcome=outcome,
        text=text or string(message.get("refusal")),
        reason=reason,
        model=model,
        request_id=request_id,
        usage=usage,
        is_billed=bool(choice) or usage.input_tokens is not None,
    )


def _error(answer: Mapping[str, Any], choice: Mapping[str, Any]) -> Any:
    """An error that came with status 200."""
    if error := choice.get("error"):
        return {"error": error}
    if error := answer.get("error"):
        return {"error": error}
    if answer.get("object") == "error" or (not choice and answer.get("message")):
        return answer
    return None


def _outcome(
    choice: Mapping[str, Any], message: Mapping[str, Any], text: str
) -> tuple[CallOutcome, str]:
    if refusal := string(message.get("refusal")):
        return CallOutcome.JUDGE_REFUSED, refusal
    finish = string(choice.get("finish_reason"))
    outcome = _BY_FINISH.get(finish.lower(), CallOutcome.OK)
    if outcome is CallOutcome.OK and not text.strip():
        reasoned = any(message.get(field) for field in _REASONING_FIELDS)
        after = " after its reasoning" if reasoned else ""
        return CallOutcome.TRANSIENT, f"the answer is empty{after} ({finish or 'no finish_reason'})"
    return outcome, f"no whole answer: {finish}"


def _text(message: Mapping[str, Any]) -> str:
    """The answer: the content, else the arguments of a tool call, else an object that came as
    reasoning."""
    content = _content(message.get("content"))
    if "{" in content:
        return content
    if arguments := _arguments(message):
        return arguments
    if content.strip():
        return content
    for field in _REASONING_FIELDS:
        # A server that parses reasoning may take an answer without a block for it. A text that has
        # more than the object is reasoning indeed, and may hold a draft.
        text = _content(message.get(field)).strip()
        if text.startswith("{") and isinstance(parsed(text), dict):
            return text
    return content


def _content(value: Any) -> str:
    """Content as a text, as parts, or as the object itself."""
    match value:
        case str():
            return value
        case list():
            return "".join(map(_part, cast("list[Any]", value)))
        case dict():
            content = fields(value)  # pyright: ignore[reportUnknownArgumentType]  # JSON
            if "parts" in content:
                return _content(content["parts"])
            return _part(content) if {"type", "text"} <= content.keys() else json.dumps(content)
        case _:
            return ""


def _part(value: Any) -> str:
    if isinstance(value, str):
        return value
    part = fields(value)
    if part.get("type") in _REASONING_PARTS or part.get("thought") is True:
        return ""
    text = part.get("text")
    return string(text) or string(fields(text).get("value"))


def _arguments(message: Mapping[str, Any]) -> str:
    calls = [fields(call).get("function") for call in items(message.get("tool_calls"))]
    arguments = [fields(each).get("arguments") for each in (*calls, message.get("function_call"))]
    return "\n".join(
        each if isinstance(each, str) else json.dumps(each) for each in arguments if each
    )


def _usage(counts: Mapping[str, Any]) -> Usage:
    inputs = fields(counts.get("prompt_tokens_details"))
    outputs = fields(counts.get("completion_tokens_details"))
    return Usage(
        input_tokens=tokens(counts.get("prompt_tokens", counts.get("input_tokens"))),
        output_tokens=tokens(counts.get("completion_tokens", counts.get("output_tokens"))),
        cached_tokens=tokens(inputs.get("cached_tokens")),
        reasoning_tokens=tokens(outputs.get("reasoning_tokens")),
    )


def _parse(body: str) -> Any:
    value = parsed(body)
    return _streamed(body) if value is None else value


def _streamed(body: str) -> Any:
    """The response in a stream that was not asked for: one event, or one for each piece."""
    events = [
        fields(parsed(line.removeprefix("data:").strip()))
        for line in body.split("\n")  # not splitlines: strings may hold other separators
        if line.startswith("data:")
    ]
    if not any(events):
        return None
    merged: dict[str, Any] = {}
    choice: dict[str, Any] = {}
    message: dict[str, Any] = {}
    for event in events:
        merged |= {field: value for field, value in event.items() if value is not None}
        for each in map(fields, items(event.get("choices"))):
            if each.get("index") not in (None, 0):
                continue
            choice |= {field: value for field, value in each.items() if value is not None}
            if whole := fields(each.get("message")):
                message = dict(whole)
            _add(message, fields(each.get("delta")))
    if choice:
        merged["choices"] = [choice | {"message": message}]
    return merged


def _add(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    for field in ("content", "refusal", *_REASONING_FIELDS):
        if piece := _content(delta.get(field)):
            message[field] = _content(message.get(field)) + piece
    for call in map(fields, items(delta.get("tool_calls"))):
        calls: list[dict[str, Any]] = message.setdefault("tool_calls", [])
        number = call.get("index")
        if not any(each["index"] == number for each in calls):
            calls.append({"index": number, "function": {"arguments": ""}})
        piece = string(fields(call.get("function")).get("arguments"))
        for each in calls:
            if each["index"] == number:
                each["function"]["arguments"] += piece
