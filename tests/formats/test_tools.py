"""Tool calls, definitions of tools and expected calls: in tables, and in JSON of several shapes."""

import csv
import io
import json
from typing import Any

import pytest

from evalqueue.evaluators.conversation import ExpectedCall, Thread, ToolCall
from evalqueue.evaluators.formats import Faults, Message
from evalqueue.evaluators.formats.csv import CSV
from evalqueue.evaluators.formats.jsonl import JSONL
from evalqueue.evaluators.formats.whole_file import grouped

CALLS = [{"name": "get", "arguments": {"id": 1}, "result": {"ok": True}}]
EXPECTED = [{"name": "get", "arguments": {"id": 1}}, "close"]
READ = (ExpectedCall(name="get", arguments='{"id": 1}'), ExpectedCall(name="close"))
SAID = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
TOOLS = [{"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}]


def read(content: str, form: Any) -> tuple[list[Message], Faults]:
    faults = Faults("a file")
    return list(form.messages(io.BytesIO(content.encode()), faults)), faults


def table(*rows: dict[str, Any]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def only_thread(content: str, form: Any) -> Thread:
    found, faults = read(content, form)
    faults.raise_if_any()
    (thread,) = grouped(found)
    return thread


@pytest.mark.parametrize("form", [CSV, JSONL], ids=lambda form: form.name)
def test_a_row_of_a_table_has_calls_tools_and_expected_calls(form: Any):
    row = {"conversation_id": "c", "question": "q", "answer": "a", "tool_calls": CALLS,
           "tools": TOOLS, "reference_tool_calls": EXPECTED}  # fmt: skip
    cells = {key: json.dumps(each) if isinstance(each, list) else each for key, each in row.items()}
    thread = only_thread(table(cells) if form is CSV else json.dumps(row), form)

    (turn,) = thread.turns
    assert turn.tool_calls == (ToolCall(name="get", arguments='{"id": 1}', result='{"ok": true}'),)
    assert turn.expected_tool_calls == thread.expected_tool_calls == READ
    assert json.loads(turn.tools or "") == TOOLS


def test_a_row_of_one_message_has_them_too():
    rows = [
        {"conversation_id": "c", "role": "user", "content": "hi", "tool_calls": "",
         "expected_tool_calls": json.dumps(EXPECTED)},
        {"conversation_id": "c", "role": "assistant", "content": "done",
         "tool_calls": json.dumps(CALLS), "expected_tool_calls": ""},
    ]  # fmt: skip
    (turn,) = only_thread(table(*rows), CSV).turns

    assert [each.name for each in turn.tool_calls] == ["get"]
    assert turn.expected_tool_calls == READ


@pytest.mark.parametrize(
    "record",
    [
        {"messages": SAID, "expected_tool_calls": EXPECTED, "tools": TOOLS},
        {"messages": SAID, "metadata": {"expected_trajectory": EXPECTED, "tools": TOOLS}},
        {"custom_id": "c", "body": {"messages": SAID[:1], "tools": TOOLS},
         "expected_tools": EXPECTED, "response": {"body": {"choices": [{"message": SAID[1]}]}}},
        {"input": {"messages": SAID[:1], "tools": TOOLS}, "output": "hello", "sessionId": "s",
         "reference_trajectory": EXPECTED},
        {"prompt": "hi", "completion": "hello", "expected_calls": EXPECTED, "functions": TOOLS},
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "tools": TOOLS,
         "candidates": [{"content": {"parts": [{"text": "hello"}]}}],
         "expected_tool_calls": EXPECTED},
        {"messages": [SAID[0], {**SAID[1], "expected_tool_calls": EXPECTED}], "tools": TOOLS},
    ],
)  # fmt: skip
def test_they_are_read_beside_the_messages_of_any_shape(record: dict[str, Any]):
    (turn,) = only_thread(json.dumps(record), JSONL).turns

    assert turn.expected_tool_calls == READ
    assert json.loads(turn.tools or "") == TOOLS
    assert (turn.system, turn.user_text, turn.bot_text) == (None, "hi", "hello")


def attribute(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": json.dumps(value)}}


def any_value(value: Any) -> dict[str, Any]:
    """A value of OTLP."""
    match value:
        case dict():
            pairs = [{"key": key, "value": any_value(each)} for key, each in value.items()]
            return {"kvlistValue": {"values": pairs}}
        case list():
            return {"arrayValue": {"values": [any_value(each) for each in value]}}
        case _:
            return {"stringValue": value}


def otel(*attributes: dict[str, Any]) -> dict[str, Any]:
    said = [attribute("gen_ai.input.messages", SAID[:1]),
            attribute("gen_ai.output.messages", SAID[1:])]  # fmt: skip
    span = {"traceId": "t", "startTimeUnixNano": "1", "attributes": [*said, *attributes]}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


def phoenix(**attributes: Any) -> dict[str, Any]:
    return {
        "span_kind": "LLM", "context.trace_id": "t",
        "attributes.llm.input_messages": SAID[:1], "attributes.llm.output_messages": SAID[1:],
    } | attributes  # fmt: skip


FUNCTION = TOOLS[0]["function"]
WRITTEN = json.dumps(TOOLS[0])


@pytest.mark.parametrize(
    ("record", "tools"),
    [
        (otel(attribute("gen_ai.tool.definitions", TOOLS)), TOOLS),
        (otel({"key": "gen_ai.tool.definitions", "value": any_value(TOOLS)}), TOOLS),
        (otel({"key": "gen_ai.tool.definitions", "value": any_value([WRITTEN])}), TOOLS),
        (
            otel(
                {"key": "llm.request.functions.0.name", "value": {"stringValue": "get"}},
                attribute("llm.request.functions.0.parameters", FUNCTION["parameters"]),
            ),
            [FUNCTION],
        ),
        (phoenix(**{"attributes.llm.tools": [{"tool.json_schema": WRITTEN}]}), TOOLS),
        (phoenix(**{"attributes.llm.tools": [{"tool": {"json_schema": WRITTEN}}]}), TOOLS),
        (phoenix(**{"attributes.llm.tools.0.tool.json_schema": WRITTEN}), TOOLS),
        (
            phoenix(**{"attributes.llm.invocation_parameters": json.dumps({"tools": TOOLS})}),
            TOOLS,
        ),
        (phoenix(attributes={"llm": {"tools": [{"tool": {"json_schema": TOOLS[0]}}]}}), TOOLS),
    ],
)
def test_the_definitions_of_tools_in_spans_are_kept(record: dict[str, Any], tools: Any):
    (turn,) = only_thread(json.dumps(record), JSONL).turns

    assert json.loads(turn.tools or "") == tools
    assert (turn.system, turn.user_text, turn.bot_text) == (None, "hi", "hello")


@pytest.mark.parametrize("written", ["", "no JSON", "{}", "[]", "7", "[null]"])
def test_definitions_in_spans_that_are_none_harm_nothing(written: str):
    records = [
        otel({"key": "gen_ai.tool.definitions", "value": {"stringValue": written}}),
        phoenix(**{"attributes.llm.tools": written}),
    ]
    for record in records:
        (turn,) = only_thread(json.dumps(record), JSONL).turns
        assert (turn.user_text, turn.bot_text) == ("hi", "hello")


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ({"name": "f", "args": {"a": 1}}, '{"a": 1}'),
        ({"name": "f", "kwargs": {"a": 1}}, '{"a": 1}'),
        ({"name": "f", "input_parameters": {"a": 1}}, '{"a": 1}'),
        ({"function": {"name": "f", "arguments": '{"a":1}'}}, '{"a":1}'),
        ({"tool_name": "f", "input": {"a": 1}}, '{"a": 1}'),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
         "{}"),
        ({"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {"a": 1}}]},
         '{"a": 1}'),
        ("f", None),
    ],
)  # fmt: skip
def test_an_expected_call_is_read_as_sdks_write_it(written: Any, arguments: str | None):
    for value in ([written], {"messages": [written]}, json.dumps([written])):
        row = {"thread_id": "c", "question": "q", "answer": "a", "expected_tool_calls": value}
        (turn,) = only_thread(json.dumps(row), JSONL).turns

        assert turn.expected_tool_calls == (ExpectedCall(name="f", arguments=arguments),)


def test_tau_bench_has_the_actions_of_its_task():
    actions = [{"name": "cancel", "kwargs": {"id": "X1"}}]
    record = {"task_id": 1, "traj": SAID, "info": {"task": {"actions": actions}}}

    assert only_thread(json.dumps(record), JSONL).expected_tool_calls == (
        ExpectedCall(name="cancel", arguments='{"id": "X1"}'),
    )


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("get, then close", "is no JSON"),
        ("7", "is no call"),
        ('[{"arguments": {}}]', "is no call"),
        ('[{"name": "f", "arguments": "{"}]', "is no JSON"),
        ('[{"name": "f", "arguments_schema": {"type": "objekt"}}]', "is no JSON Schema"),
        ('[{"name": "f", "arguments_schema": {"$ref": "file:///etc/passwd"}}]', "outside"),
        ("[" * 3_000, "is no JSON"),
    ],
)
def test_a_bad_reference_is_refused_with_its_place(cell: str, reason: str):
    row = {"thread_id": "c", "question": "q", "answer": "a", "expected_tool_calls": cell}
    found, faults = read(table(row), CSV)

    assert not found
    ((bad),) = faults.rows
    assert bad.row == 2
    assert (bad.column or "").startswith("expected_tool_calls")
    assert reason in bad.reason


@pytest.mark.parametrize("cell", ["2", "get, close", '["get"]', "{}"])
def test_a_column_of_tool_calls_that_has_none_is_remarked(cell: str):
    found, faults = read(
        table({"thread_id": "c", "question": "q", "answer": "a", "tool_calls": cell}), CSV
    )

    assert found[0].tool_calls == ()
    assert [each.kind for each in faults.notices] == ["unread_tool_calls"]


def test_missing_cells_are_no_reference():
    row = {"thread_id": "c", "question": "q", "answer": "a", "expected_tool_calls": "N/A",
           "tool_calls": "", "tools": "null"}  # fmt: skip
    (turn,) = only_thread(table(row), CSV).turns

    assert (turn.expected_tool_calls, turn.tool_calls, turn.tools) == (None, (), None)


def test_text_in_cells_can_be_stored():
    calls = '[{"name": "f", "arguments": {"a": "\\u0000\\ud800"}}]'
    row = {"thread_id": "c", "question": "q", "answer": "a", "tool_calls": calls,
           "expected_tool_calls": calls}  # fmt: skip
    (turn,) = only_thread(table(row), CSV).turns

    for each in (*turn.tool_calls, *(turn.expected_tool_calls or ())):
        each.arguments.encode() if each.arguments else None
        assert "\0" not in (each.arguments or "")
