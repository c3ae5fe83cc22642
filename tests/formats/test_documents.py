"""JSON documents: an array, an object that wraps one, or indented objects. Large ones are read as a
stream, a record at a time."""

import io
import json
import tracemalloc
from typing import Any

import pytest

from evalqueue.evaluators.formats import Faults, Message
from evalqueue.evaluators.formats.jsonl import JSONL
from evalqueue.evaluators.formats.raw.documents import RECORD_LIMIT

MEGABYTE = 1024**2


def read(content: bytes) -> tuple[list[Message], Faults]:
    faults = Faults("a file")
    return list(JSONL.messages(io.BytesIO(content), faults)), faults


def chat(number: int, text: str = "hello") -> dict[str, Any]:
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": "hi"}]
    return {"id": f"c{number}", "messages": messages}


def row(number: int) -> dict[str, Any]:
    return {"conversation_id": f"c{number}", "question": "q" * 50, "answer": "a"}


def span(number: int) -> dict[str, Any]:
    said = {
        "gen_ai.input.messages": [{"role": "user", "content": "q" * 200}],
        "gen_ai.output.messages": [{"role": "assistant", "content": "a"}],
    }
    attributes = [
        {"key": key, "value": {"stringValue": json.dumps(each)}} for key, each in said.items()
    ]
    found = {"traceId": f"c{number}", "startTimeUnixNano": "1", "attributes": attributes}
    return {"resource": {}, "scopeSpans": [{"spans": [found]}]}


@pytest.mark.parametrize("count", [3, 2_000], ids=["small", "large"])
@pytest.mark.parametrize("indent", [None, 1], ids=["one line", "indented"])
@pytest.mark.parametrize(
    ("key", "record"),
    [(None, chat), (None, row), ("data", chat), ("data", row), ("runs", chat),
     ("resourceSpans", span)],
)  # fmt: skip
def test_what_wraps_the_records_makes_no_difference(
    key: str | None, record: Any, indent: int | None, count: int
):
    records = [record(number) for number in range(count)]
    whole = records if key is None else {"meta": {"page": 1}, key: records}
    found, faults = read(json.dumps(whole, indent=indent).encode())

    assert faults.rows == ()
    assert [each.thread_id for each in found] == [f"c{number}" for number in range(count)]


def test_a_line_may_be_a_list_of_rows():
    lines = [[row(0), row(1)], [row(2)]]
    found, faults = read("\n".join(map(json.dumps, lines)).encode())

    assert faults.rows == ()
    assert [each.thread_id for each in found] == ["c0", "c1", "c2"]


def test_an_object_on_one_long_line_is_not_held_in_memory():
    records = [chat(number, "hello " * 200) for number in range(2_500)]
    content = json.dumps({"meta": 1, "data": records}).encode()
    del records
    file = io.BytesIO(content)
    tracemalloc.start()
    count = sum(1 for _ in JSONL.messages(file, Faults("a file")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 2_500
    assert len(content) > 3 * MEGABYTE > 1.5 * peak


def test_a_record_that_is_too_long_is_a_fault():
    said = chat(1, "x" * (MEGABYTE // 4))["messages"]
    long = {"id": "c1", "messages": said * (RECORD_LIMIT // MEGABYTE * 4 + 1)}
    found, faults = read(json.dumps([chat(0), long, chat(2)], indent=1).encode())

    assert len(found) == 1
    assert [(each.row, each.reason[:34]) for each in faults.rows] == [
        (2, "it is longer than 67,108,864 bytes")
    ]


def test_records_without_a_message_are_refused():
    chain = {"span_kind": "CHAIN", "context.trace_id": "t", "attributes.input.value": "hi"}
    _, faults = read("\n".join([json.dumps(chain)] * 2).encode())

    assert [str(each)[:51] for each in faults.rows] == [
        "the file: none of its records has messages. Where t"
    ]


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":', '{"data": ['])
def test_a_file_that_is_nested_deeply_is_refused_without_much_memory(opening: str):
    content = (opening * (MEGABYTE // len(opening))).encode()
    tracemalloc.start()
    found, faults = read(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found == []
    assert ["nested too deeply" in row.reason for row in faults.rows] == [True]
    assert peak < 64 * MEGABYTE
