"""How long answers took: read where the unit is certain, and nowhere else."""

import io

import pytest
from tests.formats.test_expected import HELLO, HI, of_jsonl

from evalqueue.evaluators.conversation import Turn
from evalqueue.evaluators.formats import Faults
from evalqueue.evaluators.formats.csv import CSV
from evalqueue.evaluators.formats.whole_file import grouped


def read(
    header: str, *rows: str, mapping: dict[str, str] | None = None
) -> tuple[list[Turn], list[str]]:
    """The turns of a table, and the remarks about it."""
    faults = Faults("a.csv")
    content = io.BytesIO("\n".join([header, *rows, ""]).encode())
    found = list(CSV.messages(content, faults, mapping=mapping))
    faults.raise_if_any()
    turns = [turn for thread in grouped(found) for turn in thread.turns]
    return turns, [each.message for each in faults.notices]


@pytest.mark.parametrize(
    "header",
    ["latency_ms", "Latency (ms)", "latencyMs", "response_time_ms", "Response time [ms]",
     "responseTimeMs", "latency_milliseconds", "response_latency_in_ms"],
)  # fmt: skip
def test_a_column_in_milliseconds_is_found_by_its_name(header: str):
    turns, _ = read(f"thread_id,question,answer,{header}", "t,a,b,350", "t,c,d,1250.5", "t,e,f,N/A")

    assert [each.latency_seconds for each in turns] == [0.35, 1.2505, None]


@pytest.mark.parametrize(
    "header",
    ["latency_seconds", "latency_s", "Latency (s)", "latencySeconds", "response_time_sec",
     "Response time [seconds]", "answer_time_in_s"],
)  # fmt: skip
def test_a_column_in_seconds_is_found_by_its_name(header: str):
    turns, _ = read(f"thread_id,question,answer,{header}", "t,a,b,0.35", "t,c,d,0", "t,e,f,")

    assert [each.latency_seconds for each in turns] == [0.35, 0, None]


@pytest.mark.parametrize("header", ["latency", "Response Time", "responseLatency"])
def test_a_column_without_a_unit_is_not_read_and_asked_for(header: str):
    (turn,), (notice,) = read(f"thread_id,question,answer,{header}", "t,a,b,350")
    (mapped,), none = read(
        f"thread_id,question,answer,{header}", "t,a,b,350", mapping={"latency_ms": header}
    )

    assert (turn.latency_seconds, mapped.latency_seconds) == (None, 0.35)
    assert "its unit is not known" in notice
    assert header in notice
    assert not none


@pytest.mark.parametrize("header", ["duration_ms", "latency_budget_ms", "time", "sla_seconds"])
def test_other_times_are_not_taken_for_it(header: str):
    (turn,), notices = read(f"thread_id,question,answer,{header}", "t,a,b,2025-01-15")

    assert turn.latency_seconds is None
    assert not notices


@pytest.mark.parametrize("cell", ["fast", "-1", "inf", "1e999", "12:30", "350 ms"])
def test_a_cell_that_is_no_number_is_left_out_and_reported(cell: str):
    turns, (notice,) = read("thread_id,question,answer,latency_ms", f"t,a,b,{cell}", "t,c,d,20")

    assert [each.latency_seconds for each in turns] == [None, 0.02]
    assert "no number were left out" in notice


def test_rows_of_messages_have_it_beside_the_answer_and_the_times_of_both():
    (turn,), _ = read(
        "thread_id,role,content,timestamp,latency_ms",
        "t,user,a,2025-01-15T10:00:00Z,",
        "t,user,b,2025-01-15T10:00:10Z,",
        "t,assistant,c,2025-01-15T10:00:12.5Z,900",
        "t,assistant,d,2025-01-15T10:00:30Z,",
    )

    assert (turn.latency_seconds, turn.wait_seconds) == (0.9, 2.5)


def test_messages_without_times_or_in_another_order_have_no_time_between_them():
    (without,), _ = read("thread_id,role,content", "t,user,a", "t,assistant,b")
    (thread,) = of_jsonl(
        {"messages": [HI | {"timestamp": "2025-01-15T10:00:05Z"},
                      HELLO | {"timestamp": "2025-01-15T10:00:00Z"}, HI,
                      HELLO | {"timestamp": "2025-01-15T10:00:09Z"}]}
    )  # fmt: skip

    assert without.wait_seconds is None
    assert [each.wait_seconds for each in thread.turns] == [None, None]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"latency_ms": 350}, 0.35), ({"latencyMs": "350"}, 0.35), ({"response_time_s": 2}, 2.0),
        ({"metadata": {"latency_seconds": 1.5}}, 1.5), ({"latency": 350}, None),
        ({"latency_ms": True}, None), ({"latency_ms": [1]}, None), ({"latency_ms": 10**400}, None),
    ],
)  # fmt: skip
def test_a_message_has_its_own_and_a_record_that_of_its_only_answer(
    given: dict[str, object], seconds: float | None
):
    (of_message,) = of_jsonl({"messages": [HI, HELLO | given]})
    (of_record,) = of_jsonl({"messages": [HI, HELLO], **given})
    (question,) = of_jsonl({"question": "When?", "answer": "Monday.", **given})
    (of_all,) = of_jsonl({"messages": [HI, HELLO, HI, HELLO], **given})

    found = [thread.turns[0].latency_seconds for thread in (of_message, of_record, question)]
    assert found == [seconds] * 3
    assert [turn.latency_seconds for turn in of_all.turns] == [None, None]


def test_of_several_messages_of_one_answer_it_is_not_clear_what_they_include():
    (thread,) = of_jsonl(
        {"messages": [HI, HELLO | {"latency_ms": 300}, HELLO | {"latency_ms": 500}]}
    )

    assert [turn.latency_seconds for turn in thread.turns] == [None]
