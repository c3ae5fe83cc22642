"""Two answers to the same message: read under their usual names, in tables and records."""

import pytest
from tests.formats.test_expected import HELLO, HI, of_jsonl
from whole import read_csv

from evalqueue.evaluators.conversation import Turn


def turns_of(header: str, *rows: str) -> list[Turn]:
    threads = read_csv("\n".join([header, *rows]) + "\n", "a.csv").threads
    return [turn for thread in threads for turn in thread.turns]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("answer", "alternative"), ("answer", "Alternative answer"), ("answer_a", "answer_b"),
        ("Response A", "Response B"), ("output_1", "output_2"), ("completionA", "completionB"),
        ("response_1", "response_2"), ("output", "output_2"),
    ],
)  # fmt: skip
def test_the_columns_of_two_answers_are_found_by_their_names(first: str, second: str):
    rows = turns_of(f"thread_id,question,{first},{second}", "t1,When?,Monday.,Friday.", "t2,a,b,")

    assert [(each.bot_text, each.alternative) for each in rows] == [
        ("Monday.", "Friday."), ("b", None)
    ]  # fmt: skip


def test_rows_of_messages_have_it_beside_the_answer():
    rows = turns_of(
        "thread_id,role,content,alternative", "t1,user,When?,", "t1,assistant,Monday.,Friday."
    )

    assert [each.alternative for each in rows] == ["Friday."]


def test_a_record_has_it_for_its_last_answer_and_a_message_its_own():
    record = {"messages": [HI, HELLO | {"alternative": "Good day."}, HI, HELLO]}
    (thread,) = of_jsonl(record | {"response_b": "Hey."})

    assert [turn.alternative for turn in thread.turns] == ["Good day.", "Hey."]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Friday.", "Friday."), ("", ""), ("None", "None"), (None, None), (20, "20"),
        (True, "true"), ({"role": "assistant", "content": "Friday."}, "Friday."),
    ],
)  # fmt: skip
def test_what_a_record_has_is_what_was_said(given: object, expected: str | None):
    (thread,) = of_jsonl({"question": "When?", "answer_a": "Monday.", "answer_b": given})

    assert [turn.alternative for turn in thread.turns] == [expected]


def test_a_cell_is_what_was_said_unless_it_is_empty():
    rows = turns_of("thread_id,question,answer_a,answer_b", "t1,a,b,None", "t2,a,b, ")

    assert [each.alternative for each in rows] == ["None", None]


@pytest.mark.parametrize(("given", "expected"), [("", ""), (None, None), ("None", "None")])
def test_an_empty_answer_in_rows_of_json_is_an_answer(given: object, expected: str | None):
    record = {"id": 7, "question": "When?", "answer_a": "Monday.", "answer_b": given}
    (thread, _) = of_jsonl(record, record | {"id": 8, "answer_b": "Friday."})

    assert [turn.alternative for turn in thread.turns] == [expected]


def test_records_of_llmbar_and_pandalm_are_read_as_they_are():
    (llmbar,) = of_jsonl({"input": "When?", "output_1": "Monday.", "output_2": "Friday."})
    (pandalm,) = of_jsonl(
        {"id": 7, "instruction": "Shorten it.", "input": "A long text.", "response_1": "A text.",
         "response_2": "A.", "annotators": [1, 2, 2]}
    )  # fmt: skip
    one, other = (thread.turns[0] for thread in (llmbar, pandalm))

    assert (one.user_text, one.bot_text, one.alternative) == ("When?", "Monday.", "Friday.")
    assert other.user_text == "Shorten it.\n\nA long text."
    assert (other.bot_text, other.alternative) == ("A text.", "A.")
