"""Reference answers: read under their usual names, and never mistaken for a label."""

import io
import json
from typing import Any

import pytest
from whole import read_csv

from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.formats import Faults
from evalqueue.evaluators.formats.jsonl import JSONL
from evalqueue.evaluators.formats.whole_file import grouped

HI = {"role": "user", "content": "hi"}
HELLO = {"role": "assistant", "content": "hello"}


def of_csv(header: str, *rows: str) -> list[list[str | None]]:
    threads = read_csv("\n".join([header, *rows]) + "\n", "a.csv").threads
    return [[turn.expected for turn in thread.turns] for thread in threads]


def of_jsonl(*records: Any) -> list[Thread]:
    content = "\n".join(map(json.dumps, records)).encode()
    faults = Faults("a.jsonl")
    found = list(JSONL.messages(io.BytesIO(content), faults))
    faults.raise_if_any()
    return list(grouped(found))


@pytest.mark.parametrize(
    "header",
    [
        "expected", "Expected answer", "expected_output", "ExpectedResponse", "reference",
        "reference_answer", "Ground Truth", "groundTruth", "ground_truths", "ideal",
        "gold_answer", "correct-answer",
    ],
)  # fmt: skip
def test_a_column_of_reference_answers_is_found_by_its_name(header: str):
    rows = ("t1,When?,On Monday.,On Friday.", "t1,Sure?,Yes.,", "t2,How much?,20,N/A")

    assert of_csv(f"thread_id,question,answer,{header}", *rows) == [["On Friday.", None], [None]]


@pytest.mark.parametrize(
    "header",
    ["intent", "expected_intent", "intent_expected", "label", "gold_label", "gold_intent",
     "expected_agent", "target", "reference_id", "expected_label"],
)  # fmt: skip
def test_a_column_of_labels_or_of_something_else_is_not_taken_for_it(header: str):
    assert of_csv(f"thread_id,question,answer,{header}", "t1,When?,Monday.,Billing") == [[None]]


def test_a_column_of_expected_tool_calls_is_not_taken_for_it():
    calls = '"[{""name"": ""get_order""}]"'
    header = "thread_id,question,answer,expected_tool_calls"

    assert of_csv(header, f"t1,When?,Monday.,{calls}") == [[None]]


def test_a_recorded_intent_stands_beside_the_reference_answer():
    text = "thread_id,question,answer,intent,expected\nt1,When?,Monday.,Delivery,Friday.\n"
    ((turn,),) = [thread.turns for thread in read_csv(text, "a.csv").threads]

    assert (turn.routed_intent, turn.expected, turn.bot_text) == ("Delivery", "Friday.", "Monday.")


def test_rows_of_messages_have_it_beside_the_question_or_the_answer():
    rows = ("t1,user,When?,Friday.", "t1,assistant,Monday.,", "t1,user,Sure?,",
            "t1,assistant,Yes.,No.")  # fmt: skip

    assert of_csv("thread_id,role,content,expected", *rows) == [["Friday.", "No."]]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("It is Friday.", "It is Friday."),
        (20, "20"),
        (["Friday.", "On Friday."], "Friday.\nOn Friday."),
        ({"role": "assistant", "content": "Friday."}, "Friday."),
        ([{"role": "assistant", "content": "Friday."}], "Friday."),
        ({"eta": "Friday"}, '{"eta": "Friday"}'),
        ("", None), ("N/A", None), (None, None), ([], None), ({}, None), (True, None),
    ],
)  # fmt: skip
def test_a_record_has_it_for_its_last_answer(given: object, expected: str | None):
    for beside in ({"expected": given}, {"metadata": {"ground_truth": given}}):
        (thread,) = of_jsonl({"messages": [HI, HELLO, HI, HELLO], **beside})

        assert [turn.expected for turn in thread.turns] == [None, expected]


def test_a_message_has_its_own():
    (thread,) = of_jsonl(
        {
            "messages": [HI, HELLO | {"reference": "Good day."}, HI, HELLO],
            "expectedOutput": "At the end.",
        }
    )

    assert [turn.expected for turn in thread.turns] == ["Good day.", "At the end."]


def test_a_question_and_an_answer_without_an_id_have_it():
    (thread,) = of_jsonl({"user_input": "When?", "response": "Monday.", "reference": "Friday."})

    assert thread.turns[0].expected == "Friday."
