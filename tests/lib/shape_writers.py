"""Conversations written in the shapes that tools write, to be read again.

A conversation is its id and its turns; a turn is a question and its answer.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Turns = Sequence[tuple[str, str]]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A conversation to write."""

    id: str
    turns: Turns


def messages(turns: Turns, *, names: tuple[str, str] = ("user", "assistant")) -> list[Json]:
    return [
        {"role": role, "content": text}
        for turn in turns
        for role, text in zip(names, turn, strict=True)
    ]


def chat(conversation: Written) -> list[Json]:
    return [{"id": conversation.id, "messages": messages(conversation.turns)}]


def chat_in_parts(conversation: Written) -> list[Json]:
    found = [
        {"role": each["role"], "content": [{"type": "text", "text": each["content"]}]}
        for each in messages(conversation.turns)
    ]
    return [{"conversation_id": conversation.id, "messages": found}]


def request_and_response(conversation: Written) -> list[Json]:
    *history, last = messages(conversation.turns)
    return [
        {
            "conversation_id": conversation.id,
            "request": {"model": "m", "messages": history},
            "response": {"id": "r", "choices": [{"index": 0, "message": last}]},
        }
    ]


def openai_batch(conversation: Written) -> list[Json]:
    *history, last = messages(conversation.turns)
    return [
        {
            "custom_id": conversation.id,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": history},
            "response": {"status_code": 200, "body": {"choices": [{"message": last}]}},
            "error": None,
        }
    ]


def openai_responses(conversation: Written) -> list[Json]:
    *history, last = messages(conversation.turns)
    output = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": last["content"]}],
    }
    reasoning = {"type": "reasoning", "id": "rs", "summary": []}
    return [
        {
            "object": "response",
            "conversation": {"id": conversation.id},
            "id": "resp",
            "input": history,
            "output": [reasoning, output],
        }
    ]


def anthropic(conversation: Written) -> list[Json]:
    found = [
        {"role": each["role"], "content": [{"type": "text", "text": each["content"]}]}
        for each in messages(conversation.turns)
    ]
    found[1]["content"].insert(0, {"type": "thinking", "thinking": "hidden", "signature": "x"})
    return [{"thread_id": conversation.id, "system": "Be brief", "messages": found}]


def gemini(conversation: Written) -> list[Json]:
    found = [
        {"role": each["role"], "parts": [{"text": each["content"]}]}
        for each in messages(conversation.turns, names=("user", "model"))
    ]
    return [{"conversation_id": conversation.id, "contents": found}]


def share_gpt(conversation: Written) -> list[Json]:
    found = [
        {"from": each["role"], "value": each["content"]}
        for each in messages(conversation.turns, names=("human", "gpt"))
    ]
    return [{"id": conversation.id, "conversations": found}]


def wild_chat(conversation: Written) -> list[Json]:
    found = messages(conversation.turns)
    return [{"conversation_hash": conversation.id, "conversation": found, "turn": 1}]


def pairs(conversation: Written) -> list[Json]:
    found = [{"user": asked, "assistant": answered} for asked, answered in conversation.turns]
    return [{"conversation_id": conversation.id, "turns": found}]


def langchain(conversation: Written) -> list[Json]:
    found = [
        {"type": each["role"], "data": {"content": each["content"], "additional_kwargs": {}}}
        for each in messages(conversation.turns, names=("human", "ai"))
    ]
    return [{"session_id": conversation.id, "id": conversation.id, "messages": found}]


def langchain_objects(conversation: Written) -> list[Json]:
    found = [
        {
            "lc": 1,
            "type": "constructor",
            "id": ["langchain", "schema", "messages", each["role"]],
            "kwargs": {"content": each["content"]},
        }
        for each in messages(conversation.turns, names=("HumanMessage", "AIMessage"))
    ]
    return [{"thread_id": conversation.id, "messages": found}]


def langfuse(conversation: Written) -> list[Json]:
    """A trace for each turn, with the conversation so far."""
    return [
        {
            "id": f"trace-{number}",
            "sessionId": conversation.id,
            "timestamp": f"2025-01-15T10:30:{number:02}.000Z",
            "input": {"messages": messages(conversation.turns[: number + 1])[:-1]},
            "output": {"role": "assistant", "content": answered},
        }
        for number, (_, answered) in enumerate(conversation.turns)
    ]


def langsmith(conversation: Written) -> list[Json]:
    *history, last = messages(conversation.turns)
    return [
        {
            "id": "run",
            "trace_id": "trace",
            "extra": {"metadata": {"thread_id": conversation.id}},
            "inputs": {"messages": [history]},
            "outputs": {"generations": [[{"text": last["content"], "message": last}]]},
        }
    ]


def inspect_log(conversation: Written) -> list[Json]:
    sample = {
        "id": conversation.id,
        "epoch": 1,
        "input": "x",
        "messages": messages(conversation.turns),
        "output": {"model": "m", "choices": []},
    }
    return [{"version": 2, "eval": {"created": "2025-01-15T10:30:00Z"}, "samples": [sample]}]


def oasst_tree(conversation: Written) -> list[Json]:
    said = messages(conversation.turns, names=("prompter", "assistant"))
    node: Json | None = None
    for each in reversed(said):
        worse = {"role": each["role"], "text": "another branch", "rank": 2, "replies": []}
        inner = [] if node is None else [worse | {"role": node["role"]}, node]
        node = {"role": each["role"], "text": each["content"], "rank": 0, "replies": inner}
    return [{"message_tree_id": conversation.id, "prompt": node}]


def oasst_messages(conversation: Written) -> list[Json]:
    said = messages(conversation.turns, names=("prompter", "assistant"))
    return [
        {
            "message_tree_id": conversation.id,
            "message_id": f"{conversation.id}/{place}",
            "parent_id": f"{conversation.id}/{place - 1}" if place else None,
            "role": each["role"],
            "text": each["content"],
        }
        for place, each in enumerate(said)
    ]


def chat_gpt(conversation: Written) -> list[Json]:
    nodes: Json = {"root": {"id": "root", "message": None, "parent": None}}
    parent = "root"
    for place, each in enumerate(messages(conversation.turns)):
        content = {"content_type": "text", "parts": [each["content"]]}
        message = {"author": {"role": each["role"]}, "content": content, "create_time": None}
        nodes[f"n{place}"] = {"id": f"n{place}", "message": message, "parent": parent}
        nodes[f"m{place}"] = {"id": f"m{place}", "message": message, "parent": parent}
        parent = f"n{place}"
    return [{"conversation_id": conversation.id, "mapping": nodes, "current_node": parent}]


def open_telemetry(conversation: Written) -> list[Json]:
    """A span for each turn, with the conversation so far."""
    spans = [
        {
            "traceId": f"trace-{number}",
            "spanId": f"span-{number}",
            "startTimeUnixNano": str(1_736_937_000_000_000_000 + number * 10**9),
            "attributes": [
                {"key": "gen_ai.conversation.id", "value": {"stringValue": conversation.id}},
                _messages_attribute("gen_ai.input.messages", said[:-1]),
                _messages_attribute("gen_ai.output.messages", said[-1:]),
            ],
        }
        for number in range(len(conversation.turns))
        for said in [messages(conversation.turns[: number + 1])]
    ]
    return [{"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}]


def _messages_attribute(key: str, said: list[Json]) -> Json:
    parts = [
        {"role": each["role"], "parts": [{"type": "text", "content": each["content"]}]}
        for each in said
    ]
    return {"key": key, "value": {"stringValue": json.dumps(parts)}}


def phoenix(conversation: Written) -> list[Json]:
    *history, last = messages(conversation.turns)
    return [
        {
            "context.trace_id": "trace",
            "context.span_id": "span",
            "span_kind": "LLM",
            "start_time": "2025-01-15T10:30:00+00:00",
            "attributes.session.id": conversation.id,
            "attributes.llm.input_messages": [
                {f"message.{key}": each for key, each in message.items()} for message in history
            ],
            "attributes.llm.output_messages": [{"message": last}],
        }
    ]


def rows_of_turns(conversation: Written) -> list[Json]:
    return [
        {"conversationId": conversation.id, "question": asked, "answer": answered}
        for asked, answered in conversation.turns
    ]


def rows_of_messages(conversation: Written) -> list[Json]:
    said = messages(conversation.turns, names=("end-user", "agent"))
    return [
        {"ticket_id": conversation.id, "author_role": each["role"], "body": each["content"]}
        for each in said
    ]


WRITERS: dict[str, Callable[[Written], list[Json]]] = {
    each.__name__: each
    for each in (
        chat, chat_in_parts, request_and_response, openai_batch, openai_responses, anthropic,
        gemini, share_gpt, wild_chat, pairs, langchain, langchain_objects, langfuse, langsmith,
        inspect_log, oasst_tree, oasst_messages, chat_gpt, open_telemetry, phoenix, rows_of_turns,
        rows_of_messages,
    )
}  # fmt: skip
"""By name: the records of a conversation."""
