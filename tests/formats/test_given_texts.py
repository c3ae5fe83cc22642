"""What a bot was given is read whole: every part of the question, instructions, context, history.

One row is a record as some tool writes it, and the question, the system prompt and the context that
are read from it.
"""

import csv
import io
import json
from typing import Any

import pytest

from evalqueue.evaluators.conversation import Turn
from evalqueue.evaluators.formats import Faults
from evalqueue.evaluators.formats.csv import CSV
from evalqueue.evaluators.formats.jsonl import JSONL
from evalqueue.evaluators.formats.whole_file import grouped

HI = {"role": "user", "content": "hi"}
HELLO = {"role": "assistant", "content": "hello"}
ASKED = {"role": "user", "content": "q"}
SHORTEN = {"instruction": "Shorten it.", "input": "A long text.", "output": "A text."}
JOINED = "Shorten it.\n\nA long text."
Read = tuple[str, str | None, str | None]

TABLES: list[tuple[dict[str, str], Read]] = [
    ({**SHORTEN}, (JOINED, None, None)),
    ({**SHORTEN, "input": ""}, ("Shorten it.", None, None)),
    ({**SHORTEN, "input": "nan"}, ("Shorten it.", None, None)),
    ({**SHORTEN, "input": "<noinput>"}, ("Shorten it.", None, None)),
    ({**SHORTEN, "system": "Be brief."}, (JOINED, "Be brief.", None)),
    (
        {"Instruction": "Shorten it.", "Input": "A long text.", "Response": "A"},
        (JOINED, None, None),
    ),
    ({"query_text": "q", "query_input": "t", "answer": "a"}, ("q\n\nt", None, None)),
    ({"question": "q", "choices": '["x", "y"]', "answer": "x"}, ('q\n\n["x", "y"]', None, None)),
    ({"question": "q", "options": "A) x B) y", "answer": "A"}, ("q\n\nA) x B) y", None, None)),
    ({"instruction": "q", "context": "c", "response": "a"}, ("q", None, "c")),
    ({"instruction": "s", "question": "q", "answer": "a"}, ("q", "s", None)),
    ({"instructions": "s", "question": "q", "answer": "a"}, ("q", "s", None)),
    ({"developer_message": "s", "question": "q", "answer": "a"}, ("q", "s", None)),
    ({"document": "c", "question": "q", "answer": "a"}, ("q", None, "c")),
    ({"passage": "c", "question": "q", "answer": "a"}, ("q", None, "c")),
    ({"Source Documents": "c", "question": "q", "answer": "a"}, ("q", None, "c")),
    ({"retrieved_chunks": "c", "question": "q", "answer": "a"}, ("q", None, "c")),
]
RECORDS: list[tuple[dict[str, Any], Read]] = [
    ({"question": "q", "contexts": ["c", "d"], "answer": "a"}, ("q", None, "c\nd")),
    (
        {"question": "q", "answer": "a", "source_documents": [{"page_content": "c"}]},
        ("q", None, "c"),
    ),
    ({"question": "q", "answer": "a", "documents": [{"n": 1}]}, ("q", None, '{"n": 1}')),
    (
        {"input": "q", "actual_output": "a", "context": ["c"], "retrieval_context": ["d"]},
        ("q", None, "c\n\nd"),
    ),
    ({"prompt": "q", "completion": "a", "systemPrompt": "s"}, ("q", "s", None)),
    ({"messages": [ASKED, HELLO], "system_message": "s"}, ("q", "s", None)),
    ({"messages": [ASKED, HELLO], "passage": "c"}, ("q", None, "c")),
    ({"messages": [{**ASKED, "documents": [{"text": "c"}]}, HELLO]}, ("q", None, "c")),
    (
        {"messages": [ASKED, {**HELLO, "context": {"citations": [{"content": "c"}]}}]},
        ("q", None, '{"citations": [{"content": "c"}]}'),
    ),
    (
        {"turns": [{"user": "q", "assistant": "a", "contexts": ["c"], "system": "s"}]},
        ("q", "s", "c"),
    ),
    ({"turns": [{**SHORTEN}]}, (JOINED, None, None)),
    ({"input": {"instruction": "q", "input": "t"}, "output": "a"}, ("q\n\nt", None, None)),
    ({"inputs": {"question": "q", "language": "German"}, "outputs": {"answer": "a"}},
     ("q", None, "language: German")),
    ({"inputs": {"question": "q", "text": "t"}, "outputs": "a"}, ("q", None, "text: t")),
    ({"inputs": {"query": "q", "passage": "c", "system": "s"}, "outputs": "a"}, ("q", "s", "c")),
    ({"input": {"args": ["q", "t"], "kwargs": {"context": "c"}}, "output": "a"},
     ("q", None, "c\n\nargs[1]: t")),
    ({"request": {"model": "m", "messages": [ASKED], "service_tier": "flex"}, "response": "a"},
     ("q", None, None)),
    ({"contents": [{"role": "user", "parts": [{"text": "q"}]}],
      "config": {"system_instruction": "s"},
      "candidates": [{"content": {"parts": [{"text": "a"}]}}]}, ("q", "s", None)),
    ({"custom_id": "c", "body": {"input": "q", "instructions": "s"},
      "response": {"body": {"output": [{"type": "message", **HELLO}]}}}, ("q", "s", None)),
    ({"id": "i", "epoch": 1, "messages": [{"role": "system", "content": "s"}, ASKED, HELLO],
      "target": "x"}, ("q", "s", None)),
    ({"question": "q", "answer": "a", "chat_history": "Human: hi"}, ("q", None, "Human: hi")),
]  # fmt: skip
HISTORIES: list[dict[str, Any]] = [
    {"question": "q", "chat_history": [HI, HELLO], "answer": "a"},
    {"question": "q", "chat_history": [["hi", "hello"]], "answer": "a"},
    {"instruction": "q", "input": "", "output": "a", "history": [["hi", "hello"]]},
    {"conversation_id": "t", "question": "q", "answer": "a", "history": [HI, HELLO]},
    {"inputs": {"question": "q", "chat_history": [HI, HELLO]}, "outputs": {"answer": "a"}},
    {"input": "q", "output": "a", "sessionId": "t", "chatHistory": [HI, HELLO]},
    {"user_input": [HI, HELLO, ASKED], "response": "a"},
]


def read(content: str, form: Any) -> tuple[list[Turn], Faults]:
    faults = Faults("a file")
    found = list(form.messages(io.BytesIO(content.encode()), faults))
    faults.raise_if_any()
    return [turn for thread in grouped(found) for turn in thread.turns], faults


def of_csv(*rows: dict[str, str]) -> tuple[list[Turn], Faults]:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return read(text.getvalue(), CSV)


def of_json(record: dict[str, Any]) -> list[Turn]:
    return read(json.dumps(record), JSONL)[0]


def given(turn: Turn) -> Read:
    return turn.user_text, turn.system, turn.context


@pytest.mark.parametrize(("row", "expected"), TABLES, ids=lambda each: str(each)[:60])
def test_a_row_of_a_table_is_read_whole(row: dict[str, str], expected: Read):
    (turn,), _ = of_csv({"conversation_id": "t", **row})

    assert given(turn) == expected


@pytest.mark.parametrize(("row", "expected"), TABLES, ids=lambda each: str(each)[:60])
@pytest.mark.parametrize("beside", [{}, {"id": 7}, {"conversation_id": "t"}], ids=str)
def test_so_is_a_json_object(row: dict[str, str], expected: Read, beside: dict[str, Any]):
    (turn,) = of_json({**beside, **row})

    assert given(turn) == expected


@pytest.mark.parametrize(("record", "expected"), RECORDS, ids=lambda each: str(each)[:60])
def test_so_is_a_record_of_any_shape(record: dict[str, Any], expected: Read):
    (turn,) = of_json(record)

    assert given(turn) == expected


@pytest.mark.parametrize("record", HISTORIES, ids=lambda each: str(each)[:60])
def test_earlier_turns_beside_a_question_are_turns(record: dict[str, Any]):
    assert [(turn.user_text, turn.bot_text) for turn in of_json(record)] == [
        ("hi", "hello"), ("q", "a")
    ]  # fmt: skip


def test_what_is_not_read_of_a_table_and_sounds_like_it_is_remarked():
    row = {"thread_id": "t", "question": "q", "answer": "a", "chat_history": "h", "prompt": "p",
           "note": "n"}  # fmt: skip
    _, faults = of_csv(row)
    (notice,) = faults.notices

    assert (notice.kind, notice.count) == ("unread_columns", 2)
    assert "'chat_history', 'prompt'" in notice.message
    assert of_csv({"thread_id": "t", "question": "q", "answer": "a"})[1].notices == ()


def test_definitions_of_tools_may_be_json_in_a_text():
    tools = '[{"name": "get"}]'

    assert [turn.tools for turn in of_json({"messages": [HI, HELLO], "tools": tools})] == [tools]


def test_a_role_may_say_that_its_text_is_a_call():
    said = [
        {"from": "human", "value": "hi"},
        {"from": "function_call", "value": '{"name": "get", "arguments": {"id": 1}}'},
        {"from": "observation", "value": "found"},
        {"from": "gpt", "value": "hello"},
    ]
    (turn,) = of_json({"conversations": said})
    (call,) = turn.tool_calls

    assert (call.name, call.arguments, call.result) == ("get", '{"id": 1}', "found")
    assert (turn.user_text, turn.bot_text) == ("hi", "hello")
