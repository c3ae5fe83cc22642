"""A log that repeats its history is one conversation; what was said twice stays twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from evalqueue.evaluators.formats.whole_file import read_threads

A, B, C, D = (("a", "A"), ("b", "B"), ("c", "C"), ("d", "D"))
OPEN = ("b", None)


def read(tmp_path: Path, *records: list[Any], times: bool = True) -> list[tuple[str, str]]:
    path = tmp_path / "log.jsonl"
    lines = [
        {
            "id": "c-1",
            "messages": [
                {"role": role, "content": text}
                for turn in record
                for role, text in zip(("user", "assistant"), turn, strict=True)
                if text is not None
            ],
            **({"timestamp": f"2025-01-15T10:30:{number:02}Z"} if times else {}),
        }
        for number, record in enumerate(records)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    (thread,) = read_threads(path)
    return [(turn.user_text, turn.bot_text) for turn in thread.turns]


@pytest.mark.parametrize("times", [True, False])
@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([[A], [A, B], [A, B, C]], [A, B, C]),  # the conversation so far
        ([[A, B], [B, C], [C, D]], [A, B, C, D]),  # its last turns
        ([[A, B], [A, B]], [A, B]),  # the same record twice
        ([[A, B, C], [A, B]], [A, B, C]),  # an earlier state, later
        ([[A, OPEN], [A, B, OPEN]], [A, B, ("b", "")]),  # requests, answered in the next one
        ([[OPEN], [B, C]], [B, C]),
        ([[A, B], [A, C]], [A, B, C]),  # edited, and continued
        ([[A, A], [A, A, B]], [A, A, B]),  # the user repeats themselves
        ([[A], [B], [C]], [A, B, C]),  # nothing is repeated
        ([[A], [B], [A]], [A, B, A]),  # a row for each turn: it was said again
        ([[A, B], [C, D]], [A, B, C, D]),
        ([[A], [A, B], [A]], [A, B, A] ),  # after a history, said again
    ],
)  # fmt: skip
def test_what_is_repeated_is_left_out(
    tmp_path: Path, records: Any, expected: list[tuple[str, str]], times: bool
) -> None:
    assert read(tmp_path, *records, times=times) == expected


def test_a_failed_turn_and_its_second_try_are_two(tmp_path: Path) -> None:
    failed = ("b", "")
    assert read(tmp_path, [A, failed], [A, failed, B]) == [A, failed, B]
    assert read(tmp_path, [failed], [B]) == [failed, B]


def test_spans_of_one_answer_are_one_turn(tmp_path: Path) -> None:
    """An agent asks its model again after each tool: each request has the same question."""
    call = {"role": "assistant", "content": None, "tool_calls": [
        {"id": "1", "function": {"name": "find", "arguments": "{}"}},
    ]}  # fmt: skip
    result = {"role": "tool", "tool_call_id": "1", "content": "found"}
    user = {"role": "user", "content": "q"}
    answer = {"role": "assistant", "content": "answer"}
    path = tmp_path / "log.jsonl"
    lines = [
        {"id": "c-1", "messages": [user, call]},
        {"id": "c-1", "messages": [user, call, result, answer]},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    (thread,) = read_threads(path)
    (turn,) = thread.turns

    assert (turn.bot_text, turn.tool_calls[0].result) == ("answer", "found")
