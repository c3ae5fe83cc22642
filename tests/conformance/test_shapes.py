"""What every shape of JSON records keeps to. A new one is one more entry of `SHAPE_CASES`.

Third parties run this suite with their shape: add it to `SHAPES`, and its records to `SHAPE_CASES`.
"""

import io
import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from shape_writers import WRITERS, Written

from evalqueue.evaluators.formats import Faults, Message
from evalqueue.evaluators.formats.jsonl import JSONL
from evalqueue.evaluators.formats.shapes import Shape
from evalqueue.evaluators.formats.shapes.registry import SHAPES, shape_of
from evalqueue.evaluators.formats.whole_file import grouped

CONVERSATIONS = (
    Written(id="c-1", turns=[("two seats", "Booked."), ("and a bicycle", "Added.")]),
    Written(id="c-2", turns=[("hello", "Hi there")]),
)
ARENA = {
    "question_id": "q",
    "conversation_a": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "A"}],
    "conversation_b": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "B"}],
}
SAMPLE = WRITERS["inspect_log"](CONVERSATIONS[0])[0]["samples"][0]


def written(name: str) -> list[dict[str, Any]]:
    return [record for each in CONVERSATIONS for record in WRITERS[name](each)]


SHAPE_CASES: Mapping[str, list[dict[str, Any]]] = {
    "OpenAI batch": written("openai_batch"),
    "OpenTelemetry spans": written("open_telemetry"),
    "Inspect log": written("inspect_log"),
    "Inspect sample": [SAMPLE],
    "OpenInference spans (Phoenix)": written("phoenix"),
    "OpenAssistant tree": written("oasst_tree"),
    "OpenAssistant messages": written("oasst_messages"),
    "ChatGPT export": written("chat_gpt"),
    "Chatbot Arena": [ARENA],
    "Gemini contents": written("gemini"),
    "OpenAI responses": written("openai_responses"),
    "chat messages": written("chat"),
    "input and output (Langfuse, LangSmith, gateways)": written("langfuse"),
    "question and answer": [{"prompt": "hi", "completion": "hello"}],
}
"""Records of each shape, by its name."""


def read(records: list[Any], **given: Any) -> list[Message]:
    faults = Faults("a file")
    content = "\n".join(map(json.dumps, records)).encode()
    found = list(JSONL.messages(io.BytesIO(content), faults, **given))
    faults.raise_if_any()
    return found


def test_every_shape_is_tried_here():
    assert set(SHAPE_CASES) == {shape.name for shape in SHAPES}


@pytest.mark.parametrize("name", SHAPE_CASES)
def test_its_records_are_recognised_as_it_and_as_no_other(name: str):
    for record in SHAPE_CASES[name]:
        shape = shape_of(record)
        assert shape is not None
        assert shape.name == name


@pytest.mark.parametrize("name", SHAPE_CASES)
def test_its_conversations_are_read(name: str):
    threads = grouped(read(SHAPE_CASES[name]))

    assert threads
    for thread in threads:
        assert thread.thread_id
        assert thread.user_id
        assert all(turn.user_text and turn.bot_text for turn in thread.turns)


@pytest.mark.parametrize("name", SHAPE_CASES)
def test_no_record_is_changed_by_reading_it(name: str):
    before = json.dumps(SHAPE_CASES[name])
    read(SHAPE_CASES[name])
    for record in SHAPE_CASES[name]:
        shape = shape_of(record)
        if shape is not None and hasattr(shape, "conversations"):
            list(cast("Shape", shape).conversations(record, None))

    assert json.dumps(SHAPE_CASES[name]) == before


@pytest.mark.parametrize("name", SHAPE_CASES)
def test_a_broken_record_is_a_fault_and_nothing_else(name: str):
    """Each value of a record is replaced by one of another type, at every depth."""
    for broken in variants(SHAPE_CASES[name][0]):
        faults = Faults("a file")
        content = json.dumps(broken).encode()
        for each in JSONL.messages(io.BytesIO(content), faults):
            assert isinstance(each.user_text, str)
            assert isinstance(each.error, str | None)
        assert all(row.reason and "Error: " not in row.reason for row in faults.rows)


def variants(value: Any) -> list[Any]:
    """The value with each of its parts replaced by a number, a list, an object, text or null."""
    found: list[Any] = [7, [], {}, "x", None, [None]]
    if isinstance(value, dict):
        found += [{**value, key: other} for key, each in value.items() for other in variants(each)]
    elif isinstance(value, list):
        found += [
            [*value[:place], other, *value[place + 1 :]]
            for place, each in enumerate(value)
            for other in variants(each)
        ]
    return found
