"""What a line of chat messages has to be, what becomes of it, and how its faults are reported."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from evalqueue.evaluators.conversation import UNKNOWN_TIME, Thread
from evalqueue.evaluators.formats import UNKNOWN_USER, BadData, Faults, jsonl
from evalqueue.evaluators.formats.jsonl import JSONL
from evalqueue.evaluators.formats.whole_file import grouped

HI = {"role": "user", "content": "hi"}
HELLO = {"role": "assistant", "content": "hello"}
NOON = datetime(2025, 1, 15, 12, tzinfo=UTC)


def threads(*lines: Any) -> list[Thread]:
    return of_bytes(b"\n".join(json.dumps(line).encode() for line in lines))


def of_bytes(content: bytes) -> list[Thread]:
    faults = Faults("a.jsonl")
    found = list(JSONL.messages(io.BytesIO(content), faults))
    faults.raise_if_any()
    return list(grouped(found))


def chat(*messages: Any, **beside: Any) -> Thread:
    (thread,) = threads({"messages": messages, **beside})
    return thread


def said(thread: Thread) -> list[tuple[str, str]]:
    return [(turn.user_text, turn.bot_text) for turn in thread.turns]


def faults(content: bytes) -> list[tuple[int | None, str | None]]:
    with pytest.raises(BadData) as refused:
        of_bytes(content)
    return [(fault.row, fault.column) for fault in refused.value.rows]


def faults_of(*messages: Any, **beside: Any) -> list[str | None]:
    line = json.dumps({"messages": messages, **beside}).encode()
    return [column for _, column in faults(line)]


# Turns.


def test_a_question_and_its_answer_are_a_turn() -> None:
    thread = chat(HI, HELLO, {"role": "user", "content": "2 idli"}, HELLO)

    assert said(thread) == [("hi", "hello"), ("2 idli", "hello")]


@pytest.mark.parametrize("role", ["system", "developer", "tool", "function"])
def test_what_neither_user_nor_assistant_says_is_no_part_of_it(role: str) -> None:
    other = {"role": role, "content": "secret", "tool_call_id": "1"}

    assert said(chat(other, HI, other, HELLO, other)) == [("hi", "hello")]


def test_an_assistant_that_only_calls_a_tool_says_nothing() -> None:
    calls = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    empty = {"role": "assistant", "content": "", "tool_calls": [{"id": "2"}]}

    assert said(chat(HI, calls, empty, HELLO)) == [("hi", "hello")]


def test_several_messages_of_one_side_are_one_text() -> None:
    assert said(chat(HI, HI, HELLO, HELLO, HI)) == [("hi\n\nhi", "hello\n\nhello"), ("hi", "")]


def test_an_assistant_may_begin() -> None:
    assert said(chat(HELLO, HI, HELLO)) == [("", "hello"), ("hi", "hello")]


def test_content_may_come_in_parts_and_a_picture_is_seen() -> None:
    parts = [
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {"url": "data:…"}},
        {"type": "input_text", "text": "this?"},
    ]
    (first, second) = chat({"role": "user", "content": parts}, HELLO, HI, HELLO).turns

    assert (first.user_text, first.has_image) == ("what is\nthis?", True)
    assert second.has_image is False


def test_a_refusal_is_what_the_assistant_said() -> None:
    refusal = {"role": "assistant", "content": None, "refusal": "I can't"}

    assert said(chat(HI, refusal)) == [("hi", "I can't")]


# What is known besides.


def test_ids_intents_and_errors_stand_beside_a_message_or_in_its_metadata() -> None:
    answer = HELLO | {
        "id": "resp_1",
        "metadata": {"intent": "FoodAgent", "query_type": "logging", "error": "slow"},
    }
    (turn,) = chat(HI | {"intent": "ignored"}, answer, session_id="s1").turns

    assert (turn.routed_intent, turn.routed_query_type) == ("FoodAgent", "logging")
    assert (turn.error, turn.response_id, turn.session_id) == ("slow", "resp_1", "s1")


def test_an_intent_may_also_stand_beside_the_question() -> None:
    (turn,) = chat(HI | {"intent": "FoodAgent"}, HELLO).turns

    assert turn.routed_intent == "FoodAgent"


@pytest.mark.parametrize(
    ("beside", "thread_id", "user_id"),
    [
        ({}, "line-1", UNKNOWN_USER),
        ({"id": "c1"}, "c1", UNKNOWN_USER),
        ({"id": "c1", "thread_id": 7, "user": "u"}, "7", "u"),
        ({"metadata": {"conversation_id": "007", "user_id": "u"}}, "007", "u"),
        ({"id": "nan", "user_id": ""}, "line-1", UNKNOWN_USER),
    ],
)
def test_the_conversation_is_called_as_it_says(
    beside: dict[str, Any], thread_id: str, user_id: str
) -> None:
    thread = chat(HI, HELLO, **beside)

    assert (thread.thread_id, thread.user_id) == (thread_id, user_id)


def test_lines_of_one_id_are_one_conversation_in_order() -> None:
    lines = [
        {"id": name, "messages": [HI | {"content": text}]} for name, text in ("a1", "b2", "a3")
    ]

    assert [[turn.user_text for turn in thread.turns] for thread in threads(*lines)] == [
        ["1", "3"],
        ["2"],
    ]


@pytest.mark.parametrize(
    "written", ["2025-01-15T12:00:00Z", 1736942400, 1736942400.0, 1736942400000, "15/01/2025 12:00"]
)
def test_a_time_is_iso_8601_or_a_unix_time(written: Any) -> None:
    assert chat(HI | {"timestamp": written}, HELLO).turns[0].timestamp == NOON
    assert chat(HI, HELLO, metadata={"created_at": written}).turns[0].timestamp == NOON


def test_times_that_are_missing_keep_the_order_of_the_file() -> None:
    unknown = chat(HI, HELLO, HI, HELLO)
    later = chat(HI, HELLO, HI | {"created_at": "2025-01-15T12:00:00Z"}, HELLO, HI)

    assert [turn.timestamp for turn in unknown.turns] == [UNKNOWN_TIME] * 2
    assert [turn.timestamp for turn in later.turns] == [NOON] * 3
    assert said(later)[-1] == ("hi", "")


# Faults.


def test_every_bad_line_is_named_by_its_number() -> None:
    good = json.dumps({"messages": [HI]}).encode()
    lines = [
        good,
        b"nonsense",
        b"",
        good,
        b"[]",
        b'{"messages": 7}',
        b"\xff{}",
        b'{"messages": []}',
    ]

    assert faults(b"\n".join(lines)) == [
        (2, None), (5, None), (6, "messages"), (7, None), (8, "messages"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "column"),
    [
        ("hi", "messages[1]"),
        ({"role": "robot", "content": "hi"}, "messages[1].role"),
        ({"content": "hi"}, "messages[1].role"),
        ({"role": ["user"], "content": "hi"}, "messages[1].role"),
        ({"role": "user", "content": 7}, "messages[1].content"),
        (HI | {"timestamp": "yesterday"}, "messages[1].timestamp"),
        (HI | {"metadata": {"created": 10**30}}, "messages[1].created"),
        (HI | {"time": True}, "messages[1].time"),
    ],
)
def test_what_is_wrong_with_a_message_is_named_by_its_place(message: Any, column: str) -> None:
    assert faults_of(HI, message) == [column]


def test_the_other_faults_of_a_line() -> None:
    assert faults_of(HI, id="x" * 501) == ["thread_id"]
    assert faults_of(HI, created="soon") == ["created"]
    assert faults_of({"role": "system", "content": "x"}) == ["messages"]
    assert faults(b'{"messages": ' + b"[" * 100_000) == [(1, None)]
    assert faults(b'{"messages": [], "n": 1' + b"0" * 5_000 + b"}") == [(1, None)]
    assert faults(b"") == [(None, None)]
    assert faults(b"\n \n") == [(None, None)]


def test_a_line_that_is_too_long_is_named_and_the_next_are_still_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jsonl, "LINE_LIMIT", 1_000)
    long = json.dumps({"messages": [HI | {"content": "x" * 5_000}]}).encode()

    assert faults(b"\n".join([long, b"nonsense"])) == [(1, None), (2, None)]


def test_there_is_nothing_to_map() -> None:
    found = Faults("a.jsonl")
    line = json.dumps({"messages": [HI]}).encode()

    assert list(JSONL.messages(io.BytesIO(line), found, mapping={"thread_id": "id"})) == []
    assert "nothing to map" in found.rows[0].reason


@pytest.mark.parametrize(
    "written", [b'"\\u0000"', b'"\\ud83d"', b'"\\ud83d\\ude42"', '"🙂"'.encode()]
)
def test_what_postgres_cannot_store_is_replaced(written: bytes) -> None:
    content = b'\xef\xbb\xbf{"messages": [{"role": "user", "content": ' + written + b"}]}\r\n"
    ((turn,),) = [thread.turns for thread in of_bytes(content)]

    assert turn.user_text in ("\ufffd", "🙂")


@pytest.mark.parametrize("levels", [300, 900, 100_000])
def test_a_line_that_is_nested_too_deeply_to_be_walked_is_a_fault(levels: int) -> None:
    line = b'{"messages": [{"role": "user", "content": "\\u0041"}], "x": %b%b}'
    deep = line % (b"[" * levels, b"]" * levels)
    try:
        (thread,) = of_bytes(deep)
    except BadData as refused:
        (fault,) = refused.rows
        assert (fault.row, fault.reason) == (1, "it is nested too deeply.")
    else:
        assert (levels, said(thread)) == (300, [("A", "")])


@pytest.mark.parametrize("column", ["thread_id", "user_id"])
def test_an_id_above_the_limit_is_a_fault(column: str) -> None:
    line = json.dumps({"messages": [HI, HELLO], column: "x" * 501}).encode()

    assert faults(line) == [(1, column)]
