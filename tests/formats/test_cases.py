"""Files as people have them: each is read rightly, or refused with its shape and a remedy."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from evalqueue.evaluators.conversation import Thread
from evalqueue.evaluators.formats import BadData, DateOrder, Faults, FormatError
from evalqueue.evaluators.formats.registry import format_of
from evalqueue.evaluators.formats.shapes.assembly import EMPTY_ANSWER
from evalqueue.evaluators.formats.whole_file import grouped, read_threads

CASES = Path(__file__).parent / "cases"
BUS = ("Book a bus", "Booked.")
HI = ("hi", "there")
YO = ("good morning", "what can I do?")
MORNING = datetime(2025, 1, 15, 10, 30, tzinfo=UTC)

READ: dict[str, dict[str, list[tuple[str, str]]]] = {
    "array.json": {"a1": [YO]},
    "array_in.jsonl": {"a1": [YO]},
    "backslash.csv": {"t-1": [('He said "two seats", ok?', "Yes")]},
    "claude_blocks.jsonl": {"cl1": [("Book a bus", "Booking.\n\nBooked.")]},
    "cumulative.jsonl": {
        "c-1": [
            ("Book a bus", "Booked the bus."),
            ("And a train", "Booked a train."),
            ("A taxi too", "Booked a taxi."),
        ]
    },
    "empty_assistant.jsonl": {"e1": [("Book a bus", ""), ("Hello??", ""), ("anyone?", "")]},
    "error_turn.jsonl": {"e1": [("Book a bus", ""), BUS], "e2": [("Book a hotel", "")]},
    "excel_sci_ids.csv": {
        "2.0251E+17": [
            ("Book a bus", "Booked the bus."),
            ("Where is my ticket?", "In your inbox."),
            ("Cancel everything", "I cannot."),
        ]
    },
    "excel_trailing.csv": {"t-0": [BUS], "t-1": [BUS], "t-16": [BUS], "t-17": [BUS]},
    "gemini_contents.jsonl": {"line-1": [BUS]},
    "german_utf8.csv": {"t-1": [("Größe?", "Mittel")]},
    "greeting_first.jsonl": {
        "g1": [("", "Hi, how can I help?"), ("Book a bus", "Booked.\n\nAnything else?")]
    },
    "header_nbsp.csv": {"t-1": [HI]},
    "langfuse.jsonl": {"s-9": [BUS]},
    "message_rows.csv": {"c1": [("Where is my bus?", "At the stop.")]},
    "minimal.csv": {"t1": [("lights on", "The lights are on.")]},
    "na_values.csv": {"t-1": [HI, ("NaN", "none")], "t-2": [HI]},
    "pretty.jsonl": {"a1": [YO]},
    "responses_api.jsonl": {"ra": [BUS]},
    "roles_case.jsonl": {"h1": [BUS]},
    "sharegpt.jsonl": {"sg1": [BUS]},
    "true_false_excel.csv": {"t-1": [HI, HI]},
    "utf16.csv": {"t-1": [HI]},
    "wildchat.jsonl": {"ab12": [BUS]},
    **{path.name: {"t-1": [HI]} for path in sorted(CASES.glob("ts_*.csv"))},
}
REFUSED = {
    "dup_header.csv": "row 1, column user_id: 2 columns have this name. Keep one of them.",
    "openai_batch.jsonl": "the request of an OpenAI batch, without its answer. Join the two files",
    "us_dates.csv": "'1/2/2025 10:30' may have the day first or the month first, and no date of",
}


def only(name: str) -> Thread:
    (thread,) = read_threads(CASES / name)
    return thread


def notices(path: Path) -> dict[str, tuple[int, int | None]]:
    faults = Faults(path.name)
    with path.open("rb") as file:
        list(format_of(file, name=path.name).messages(file, faults))
    return {each.kind: (each.count, each.row) for each in faults.notices}


def test_every_file_is_expected_to_be_read_or_refused():
    assert READ.keys() | REFUSED.keys() == {path.name for path in CASES.iterdir()}


@pytest.mark.parametrize("name", READ)
def test_it_is_read(name: str):
    assert {
        thread.thread_id: [(turn.user_text, turn.bot_text) for turn in thread.turns]
        for thread in read_threads(CASES / name)
    } == READ[name]


@pytest.mark.parametrize("name", READ)
def test_its_name_is_not_needed(name: str, tmp_path: Path):
    shutil.copy(CASES / name, tmp_path / "upload")

    assert read_threads(tmp_path / "upload") == read_threads(CASES / name)


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_it_is_refused(name: str, reason: str):
    with pytest.raises(BadData, match="refused|.") as refused:
        read_threads(CASES / name)

    assert reason in str(refused.value)


@pytest.mark.parametrize("path", sorted(CASES.glob("ts_*.csv")), ids=lambda path: path.stem)
def test_a_time_is_the_moment_it_means(path: Path):
    evening = MORNING.replace(hour=22)
    expected = evening if path.stem == "ts_ampm_iso" else MORNING

    assert only(path.name).started_at.replace(microsecond=0) == expected


@pytest.mark.parametrize(
    ("order", "texts"),
    [
        (DateOrder.DAY_FIRST, ["Now remove the seat", "Add a seat"]),
        (DateOrder.MONTH_FIRST, ["Add a seat", "Now remove the seat"]),
    ],
)
def test_a_date_order_decides_the_order_of_turns(order: DateOrder, texts: list[str]):
    threads = read_threads(CASES / "us_dates.csv", date_order=order)

    assert [turn.user_text for turn in threads[0].turns] == texts


@pytest.mark.parametrize(("deciding", "month"), [("13/3/2025 11:00", 2), ("3/13/2025 11:00 PM", 1)])
def test_one_date_of_the_column_decides_for_all(tmp_path: Path, deciding: str, month: int):
    path = tmp_path / "dates.csv"
    text = (CASES / "us_dates.csv").read_text().replace("3/4/2025 11:00 PM", deciding)
    path.write_text(text)

    first = next(t for t in read_threads(path)[0].turns if t.user_text == "Add a seat")
    assert first.timestamp.month == month


def test_dates_that_contradict_each_other_are_refused(tmp_path: Path):
    path = tmp_path / "dates.csv"
    text = (CASES / "us_dates.csv").read_text().replace("1/2/2025", "13/2/2025")
    path.write_text(text.replace("3/4/2025 11:00 PM", "3/14/2025 11:00"))

    with pytest.raises(BadData, match=r"row 4, column timestamp: '3/14/2025 11:00' is not a time"):
        read_threads(path)


def test_failed_and_empty_answers_stay_turns_with_their_error():
    failed = read_threads(CASES / "error_turn.jsonl")
    empty = only("empty_assistant.jsonl")

    assert [[turn.error for turn in thread.turns] for thread in failed] == [
        ["upstream timeout", None], ["500"],
    ]  # fmt: skip
    assert [turn.error for turn in empty.turns] == [EMPTY_ANSWER, EMPTY_ANSWER, None]


def test_what_means_that_there_is_no_value_is_none():
    turns = [turn for thread in read_threads(CASES / "na_values.csv") for turn in thread.turns]

    assert {turn.error for turn in turns} == {turn.routed_intent for turn in turns} == {None}


def test_the_first_record_of_a_turn_has_its_time():
    assert [turn.timestamp.minute for turn in only("cumulative.jsonl").turns] == [1, 2, 3]


def test_tools_instructions_and_what_was_shown_are_kept():
    (call,) = only("claude_blocks.jsonl").turns[0].tool_calls
    (gemini,) = only("gemini_contents.jsonl").turns
    (sharegpt,) = only("sharegpt.jsonl").turns

    assert (call.name, call.arguments, call.result) == ("log", "{}", "ok")
    assert (gemini.system, sharegpt.system) == ("x", "Be brief")
    assert only("responses_api.jsonl").turns[0].has_image
    assert [turn.has_image for turn in only("true_false_excel.csv").turns] == [True, True]


def test_shortened_ids_are_remarked():
    assert notices(CASES / "excel_sci_ids.csv") == {"shortened_ids": (3, 2)}
    assert notices(CASES / "minimal.csv") == {}


@pytest.mark.parametrize("kind", ["gz", "zst"])
@pytest.mark.parametrize("name", ["minimal.csv", "utf16.csv", "array.json", "cumulative.jsonl"])
def test_a_compressed_file_is_what_is_in_it(kind: str, name: str, tmp_path: Path):
    import gzip

    from evalqueue.evaluators.formats.raw import compression

    data = (CASES / name).read_bytes()
    path = tmp_path / f"{name}.{kind}"
    zstd = compression._zstd  # pyright: ignore[reportPrivateUsage]  of this Python version
    path.write_bytes(gzip.compress(data) if kind == "gz" else zstd.compress(data))

    assert read_threads(path) == read_threads(CASES / name)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(FormatError, match="damaged or incomplete"):
        read_threads(path)


def test_grouping_needs_no_order():
    assert grouped([]) == ()
