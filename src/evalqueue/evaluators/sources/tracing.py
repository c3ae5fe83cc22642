"""Spans of LLM calls as posted messages.

A span has the conversation so far and an answer. What is posted of it is what came since the answer
before: the user's message or the results of tools, and the answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalqueue.client import Client
from evalqueue.errors import InvalidParams, KeyReused
from evalqueue.evaluators.formats.shapes import ShapeError
from evalqueue.evaluators.formats.shapes.assembly import Conversation, Part
from evalqueue.evaluators.formats.shapes.known import spans
from evalqueue.evaluators.sources.posting import post_messages

_THREADS_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedSpans:
    """Spans that were not stored."""

    spans: int
    """0: all were."""
    reason: str
    """Of the first one."""


async def post_spans(
    client: Client, resource_spans: Sequence[Mapping[str, Any]], *, owner: str
) -> RefusedSpans:
    """Store the messages of spans of OTLP. Spans without messages are none of ours.

    A span is known by its id: repeating it changes nothing.

    Returns:
        What could not be stored.
    """
    posted: list[Mapping[str, Any]] = []
    refused: list[str] = []
    for each in resource_spans:
        try:
            posted += _threads_of(each)
        except (ShapeError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError,
                RecursionError) as error:  # fmt: skip
            # Attributes may be of any type: what was not expected is a fault of the sender.
            refused.append(f"{type(error).__name__}: {error}")
    for start in range(0, len(posted), _THREADS_AT_ONCE):
        refused += await _post(client, posted[start : start + _THREADS_AT_ONCE], owner=owner)
    return RefusedSpans(spans=len(refused), reason="".join(refused[:1])[:300])


async def _post(client: Client, threads: list[Mapping[str, Any]], *, owner: str) -> list[str]:
    """Post them together, or one by one where some are refused. Returns the reasons."""
    try:
        await post_messages(client, threads, owner=owner)
    except (InvalidParams, KeyReused) as error:
        if len(threads) == 1:
            return [str(error)]
        return [reason for each in threads for reason in await _post(client, [each], owner=owner)]
    return []


def _threads_of(resource: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for span_id, found in spans.with_messages({"resourceSpans": [resource]}):
        messages = [
            message for part in _since_the_answer_before(found.parts) for message in _messages(part)
        ]
        at = {} if found.at is None else {"timestamp": found.at.isoformat()}
        if found.error is not None and messages:
            messages[-1]["error"] = found.error
        if messages:
            yield {
                "thread_id": found.thread_id,
                **_user(found),
                "messages": [
                    {**each, **at, "id": f"{span_id}.{number}"}
                    for number, each in enumerate(messages, 1)
                ],
            }


def _user(conversation: Conversation) -> dict[str, str]:
    return {"user_id": conversation.user_id} if conversation.user_id else {}


def _since_the_answer_before(parts: Sequence[Part]) -> Sequence[Part]:
    end = len(parts)
    while end and parts[end - 1].role == "assistant":
        end -= 1
    while end and parts[end - 1].role != "assistant":
        end -= 1
    return parts[end:]


def _messages(part: Part) -> Iterator[dict[str, Any]]:
    """A part as messages: each result of a tool is one of its own."""
    for call_id, result in part.results:
        of_call = {} if call_id is None else {"tool_call_id": call_id}
        yield {"role": "tool", "content": result, **of_call}
    if part.role in ("tool", "context") or not (part.text or part.calls):
        return
    calls = [
        {
            "id": each.id,
            "type": "function",
            "function": {"name": each.name, "arguments": each.arguments},
        }
        for each in part.calls
    ]
    yield {"role": part.role, "content": part.text, **({"tool_calls": calls} if calls else {})}
