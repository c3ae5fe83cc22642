"""What a CSV has to be, what becomes of its cells, and how its faults are reported."""

import csv
import io
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from whole import read_csv

from evalqueue.evaluators.conversation import UNKNOWN_TIME, Thread, Turn
from evalqueue.evaluators.formats import BAD_ROWS_KEPT, UNKNOWN_USER, BadData, BadRow, Faults
from evalqueue.evaluators.formats.csv import COLUMNS, CSV, MAX_COLUMNS, OPTIONAL_COLUMNS
from evalqueue.evaluators.formats.raw import rows
from evalqueue.evaluators.formats.raw.rows import CELL_LIMIT

GOOD = {
    "thread_id": "thr_1",
    "user_id": "usr_1",
    "session_id": "sess_1",
    "query_text": "Log 2 eggs",
    "final_response_message": "Logged: 2 eggs (140 kcal)",
    "intent_detected": "FoodAgent",
    "timestamp": "2025-01-15T10:30:00Z",
    "has_image": "0",
    "response_id": "resp_1",
    "intent_query_type": "logging",
    "error_message": "",
}
HEADER = ",".join(COLUMNS)
LINE = ",".join(GOOD[column] for column in COLUMNS)


def table(*rows: dict[str, str], header: tuple[str, ...] = COLUMNS) -> str:
    """A CSV of rows that say only how they differ from a good one."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(
        [(GOOD | row).get(name.strip().lower(), "") for name in header] for row in rows
    )
    return text.getvalue()


def only_turn(**cells: str) -> Turn:
    (thread,) = read_csv(table(cells), "a.csv").threads
    (turn,) = thread.turns
    return turn


def faults(content: str | bytes) -> list[tuple[int | None, str | None]]:
    with pytest.raises(BadData) as refused:
        read_csv(content, "a.csv")
    return [(fault.row, fault.column) for fault in refused.value.rows]


def only_fault(content: str | bytes) -> BadRow:
    with pytest.raises(BadData) as refused:
        read_csv(content, "a.csv")
    (fault,) = refused.value.rows
    return fault


# Threads and turns.


def test_a_row_becomes_a_turn() -> None:
    (thread,) = read_csv(table({"has_image": "1", "error_message": "timeout"}), "a.csv").threads

    assert thread == Thread(
        thread_id="thr_1",
        user_id="usr_1",
        turns=(
            Turn(
                number=1,
                timestamp=datetime(2025, 1, 15, 10, 30, tzinfo=UTC),
                user_text="Log 2 eggs",
                bot_text="Logged: 2 eggs (140 kcal)",
                routed_intent="FoodAgent",
                routed_query_type="logging",
                has_image=True,
                error="timeout",
                session_id="sess_1",
                response_id="resp_1",
            ),
        ),
    )


def test_threads_stand_in_order_of_first_appearance_and_turns_in_order_of_time() -> None:
    rows = (
        {"thread_id": "b", "query_text": "second", "timestamp": "2025-01-15T10:31:00Z"},
        {"thread_id": "a", "query_text": "other"},
        {"thread_id": "b", "query_text": "first", "timestamp": "2025-01-15T10:30:00Z"},
    )

    threads = read_csv(table(*rows), "a.csv").threads

    assert [thread.thread_id for thread in threads] == ["b", "a"]
    assert [(turn.number, turn.user_text) for turn in threads[0].turns] == [
        (1, "first"),
        (2, "second"),
    ]


def test_rows_of_one_moment_keep_the_order_of_the_file() -> None:
    texts = [str(number) for number in range(20)]

    (thread,) = read_csv(table(*({"query_text": text} for text in texts)), "a.csv").threads

    assert [turn.user_text for turn in thread.turns] == texts


def test_times_with_different_offsets_are_ordered_by_the_moment_they_mean() -> None:
    rows = (
        {"query_text": "later", "timestamp": "2025-01-15T10:00:00Z"},
        {"query_text": "earlier", "timestamp": "2025-01-15T15:00:00+05:30"},
    )

    (thread,) = read_csv(table(*rows), "a.csv").threads

    assert [turn.user_text for turn in thread.turns] == ["earlier", "later"]


def test_the_user_of_a_thread_is_its_first_turns() -> None:
    rows = (
        {"user_id": "late", "timestamp": "2025-01-15T11:00:00Z"},
        {"user_id": "early", "timestamp": "2025-01-15T10:00:00Z"},
    )

    assert read_csv(table(*rows), "a.csv").threads[0].user_id == "early"


def test_the_statistics_count_what_is_there() -> None:
    rows = (
        {"thread_id": "a", "user_id": "u", "has_image": "1"},
        {"thread_id": "a", "user_id": "u", "timestamp": "2025-01-16T10:30:00Z"},
        {"thread_id": "b", "user_id": "u", "intent_detected": "BCAAgent", "error_message": "boom"},
        {"thread_id": "c", "user_id": "v", "intent_detected": "CgmAgent"},
        {"thread_id": "c", "user_id": "v", "intent_detected": ""},
    )

    dataset = read_csv(table(*rows), "a.csv")

    found = dataset.statistics
    assert (found.messages, found.threads, found.users) == (5, 3, 2)
    assert (found.messages_with_images, found.messages_with_errors) == (1, 1)
    assert found.first_at == datetime(2025, 1, 15, 10, 30, tzinfo=UTC)
    assert found.last_at == datetime(2025, 1, 16, 10, 30, tzinfo=UTC)
    assert list(found.intents.items()) == [("FoodAgent", 2), ("BCAAgent", 1), ("CgmAgent", 1)]


def test_the_hash_is_the_contents_whichever_way_it_came(tmp_path: Path) -> None:
    text = table({"query_text": "दो इडली 🙂"})
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())

    hashes = {read_csv(content, "a.csv").sha256 for content in (text, text.encode(), path)}

    assert len(hashes) == 1
    assert read_csv(text + "\n", "a.csv").sha256 not in hashes


# Cells.


@pytest.mark.parametrize("written", ["007", "1e5", "12.0", "nano", " padded ", "9" * 40])
def test_ids_stay_as_they_are_written(written: str) -> None:
    cells = {"thread_id": written, "user_id": written, "response_id": written + "x"}

    (thread,) = read_csv(table(cells), "a.csv").threads

    assert (thread.thread_id, thread.user_id) == (written, written)
    assert thread.turns[0].response_id == written + "x"


@pytest.mark.parametrize(
    "written", ["", "  ", "nan", "NaN", "null", "None", "N/A", "NULL", "#N/A", "\\N"]
)
def test_a_missing_value_is_none_and_not_a_word(written: str) -> None:
    turn = only_turn(
        intent_detected=written,
        intent_query_type=written,
        response_id=written,
        session_id=written,
        error_message=written,
    )

    assert turn.routed_intent is None
    assert turn.routed_query_type is None
    assert turn.response_id is None
    assert turn.session_id is None
    assert turn.error is None


def test_an_empty_message_is_an_empty_text_and_nan_is_somebodys_bread() -> None:
    assert only_turn(query_text="", final_response_message="nan").user_text == ""
    assert only_turn(query_text="", final_response_message="nan").bot_text == "nan"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *((word, True) for word in ("1", "true", "TRUE", "Yes", "1.0", " 1 ")),
        *((word, False) for word in ("0", "false", "False", "no", "0.0", "")),
    ],
)
def test_has_image_understands_what_exports_write(written: str, meant: bool) -> None:
    assert only_turn(has_image=written).has_image is meant


@pytest.mark.parametrize("written", ["2", "maybe", "-1", "image.png"])
def test_any_other_has_image_is_a_bad_row(written: str) -> None:
    fault = only_fault(table({}, {"has_image": written}))

    assert (fault.row, fault.column) == (3, "has_image")
    assert repr(written) in fault.reason


@pytest.mark.parametrize("written", ["", "   ", "NaN", "None"])
def test_a_message_without_thread_is_a_bad_row(written: str) -> None:
    assert faults(table({"thread_id": written})) == [(2, "thread_id")]


@pytest.mark.parametrize("written", ["", "   ", "NaN"])
def test_a_message_without_a_user_is_an_unknown_user_s(written: str) -> None:
    assert read_csv(table({"user_id": written}), "a.csv").threads[0].user_id == UNKNOWN_USER


@pytest.mark.parametrize("written", ["", "   ", "NaN"])
def test_without_times_rows_stay_in_the_order_of_the_file(written: str) -> None:
    rows = ({"query_text": text, "timestamp": written} for text in "cab")
    (thread,) = read_csv(table(*rows), "a.csv").threads

    assert [turn.user_text for turn in thread.turns] == ["c", "a", "b"]
    assert {turn.timestamp for turn in thread.turns} == {UNKNOWN_TIME}


def test_a_row_without_a_time_among_others_with_one_is_a_bad_row() -> None:
    """Nothing says where it belongs, and the turns of a conversation are not to change places."""
    assert faults(table({}, {"timestamp": ""}, {})) == [(3, "timestamp")]
    assert faults(table({"timestamp": ""}, {}, {"timestamp": ""})) == [(3, "timestamp")]
    rows = table({}, {"timestamp": ""})
    assert read_csv(rows, "a.csv", {"timestamp": ""}).statistics.messages == 2


def test_line_breaks_commas_and_quotes_in_a_quoted_cell_are_its_text() -> None:
    text = '| item | kcal |\r\n|---|---|\n| "idli", 2 | 78 |\r'

    assert only_turn(final_response_message=text).bot_text == text


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_on_any_system(newline: str) -> None:
    content = newline.join([HEADER, LINE, LINE]) + newline

    assert read_csv(content, "a.csv").statistics.messages == 2


def test_a_cell_of_five_million_characters_is_read_whole() -> None:
    text = "kcal " * 1_000_000

    assert only_turn(final_response_message=text).bot_text == text


def test_a_row_of_commas_is_no_header() -> None:
    """Whatever is in the first row: it is not looked through for minutes, nor kept many times."""
    header = ("thread_id",) + ("",) * MAX_COLUMNS
    fault = only_fault(",".join(header) + "\n1\n")
    head = CSV.head(io.BytesIO(",".join(header).encode()))

    assert (fault.row, fault.column) == (1, None)
    assert fault.reason == "it names 5,001 columns. There may be 5,000."
    assert len(head.columns) == MAX_COLUMNS


@pytest.mark.parametrize("column", ["thread_id", "user_id"])
def test_an_id_above_the_limit_is_a_bad_row(column: str) -> None:
    assert faults(table({column: "x" * 501}, {column: "x" * 500})) == [(2, column)]


def test_a_cell_above_the_limit_is_a_bad_row() -> None:
    fault = only_fault(table({}, {"query_text": "x" * (CELL_LIMIT + 1)}, {}))

    assert fault.row == 3
    assert "longer than" in fault.reason


@pytest.mark.parametrize("row", ["x," * 2_000, '"' + "x\n" * 2_000, f'{LINE},"{"y" * 5_000}"'])
def test_a_row_that_nobody_could_hold_is_the_last_that_is_read(
    monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    monkeypatch.setattr(rows, "ROW_LIMIT", 3_000)

    fault = only_fault("\n".join([HEADER, LINE, row, "short", LINE]))

    assert fault.row == 3
    assert "longer than 3,000 characters" in fault.reason


def test_long_cells_are_read_without_touching_the_limit_of_the_whole_process() -> None:
    before = csv.field_size_limit()

    read_csv(table({"query_text": "x" * (before + 1)}), "a.csv")

    assert csv.field_size_limit() == before
    with pytest.raises(csv.Error, match="field limit"):
        next(csv.reader(["x" * (before + 1)]))


@pytest.mark.parametrize("hostile", ["\0", "\ud800", "\0\udfff\ud800"])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_what_postgres_cannot_store_is_replaced(hostile: str, as_bytes: bool) -> None:
    text = table({"query_text": f"{hostile}a{hostile} 🙂"})
    content = text.encode("utf-8", "surrogatepass") if as_bytes else text

    (thread,) = read_csv(content, "a.csv").threads

    replaced = "\ufffd" * len(hostile)
    assert thread.turns[0].user_text == f"{replaced}a{replaced} 🙂"


def test_a_split_surrogate_pair_is_joined() -> None:
    assert only_turn(query_text="\ud83d\ude42").user_text == "🙂"


# Times.


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2025-01-15T10:30:00Z", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("2025-01-15T10:30:00", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("2025-01-15 10:30:00", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("2025-01-15 10:30:00 UTC", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("2025-01-15 10:30", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("2025-01-15", datetime(2025, 1, 15, tzinfo=UTC)),
        ("20250115T103000Z", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        (" 2025-01-15T10:30:00.5Z ", datetime(2025, 1, 15, 10, 30, 0, 500_000, tzinfo=UTC)),
        ("2025-01-15T10:30:00.123456789", datetime(2025, 1, 15, 10, 30, 0, 123_456, tzinfo=UTC)),
        ("2025-01-15 10:30:00+00", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("2025-01-15T10:30:00+05:30", datetime(2025, 1, 15, 5, 0, tzinfo=UTC)),
        ("15/01/2025 10:30", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("15/01/25 9:30", datetime(2025, 1, 15, 9, 30, tzinfo=UTC)),
        ("25-1-2025 10:30:59", datetime(2025, 1, 25, 10, 30, 59, tzinfo=UTC)),
        ("01/15/2025 10:30", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("02/02/2025 10:30", datetime(2025, 2, 2, 10, 30, tzinfo=UTC)),
        ("02.03.2025 10:30", datetime(2025, 3, 2, 10, 30, tzinfo=UTC)),
        ("2025/01/15 10:30:00", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("2025-01-15 10:30:00 +0000", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("2025-01-15 10:30 PM", datetime(2025, 1, 15, 22, 30, tzinfo=UTC)),
        ("1736937000", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("1736937000.5", datetime(2025, 1, 15, 10, 30, 0, 500_000, tzinfo=UTC)),
        ("1736937000123", datetime(2025, 1, 15, 10, 30, 0, 123_000, tzinfo=UTC)),
        ("1736937000123456", datetime(2025, 1, 15, 10, 30, 0, 123_456, tzinfo=UTC)),
        ("1736937000123456789", datetime(2025, 1, 15, 10, 30, 0, 123_457, tzinfo=UTC)),
        ("20250115", datetime(2025, 1, 15, tzinfo=UTC)),
        ("20250115103000", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("Jan 15, 2025, 10:30 AM", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("January 15th, 2025 at 10:30 pm", datetime(2025, 1, 15, 22, 30, tzinfo=UTC)),
        ("15-Jan-25 10:30", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("15. März 2025, 10:30", datetime(2025, 3, 15, 10, 30, tzinfo=UTC)),
        ("15 août 2025 10:30", datetime(2025, 8, 15, 10, 30, tzinfo=UTC)),
        ("15 de enero de 2025", datetime(2025, 1, 15, tzinfo=UTC)),
        ("2025年1月15日 10:30", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        ("Wed, 15 Jan 2025 10:30:00 +0000", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
        (
            "Wed Jan 15 2025 16:00:00 GMT+0530 (India Standard Time)",
            datetime(2025, 1, 15, 10, 30, tzinfo=UTC),
        ),
        ("15/01/2025", datetime(2025, 1, 15, tzinfo=UTC)),
        ("15/01/2025 1:05 PM", datetime(2025, 1, 15, 13, 5, tzinfo=UTC)),
        ("15/01/2025 12:05am", datetime(2025, 1, 15, 0, 5, tzinfo=UTC)),
        ("15/01/2025 12:05:09 p.m.", datetime(2025, 1, 15, 12, 5, 9, tzinfo=UTC)),
        ("15/1/2025, 10:30:00\u202fam", datetime(2025, 1, 15, 10, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_people_and_programs_write_it(written: str, meant: datetime) -> None:
    assert only_turn(timestamp=written).timestamp == meant


def test_the_offset_of_a_time_is_kept() -> None:
    """What "later today" means in a conversation depends on the local time."""
    india = timezone(timedelta(hours=5, minutes=30))

    assert only_turn(timestamp="2025-01-15T22:00:00+05:30").timestamp.tzinfo == india


@pytest.mark.parametrize(
    "written",
    [
        "31/02/2025 10:30",
        "2025-02-30T10:30:00Z",
        "2025-01-15T25:00:00Z",
        "15/01/2025 13:05 PM",
        "15/01/2025 0:05 AM",
        "15/01-2025 10:30",
        "2025-01-15x10:30",
        "5200000000",
        "1.73694E+12",
        "15 jui 2025",
        "15/1 2025",
        "45672.4375",
        "0205-01-15T10:30:00Z",
        "9999-12-31T23:59:59-12:00",
        "١٥/٠١/٢٠٢٥ 10:30",
        "yesterday",
    ],
)
def test_anything_else_is_no_time(written: str) -> None:
    fault = only_fault(table({"timestamp": written}))

    assert (fault.row, fault.column) == (2, "timestamp")
    assert "2025-01-15T10:30:00Z" in fault.reason


# Headers.


def test_header_names_may_be_spaced_in_any_case_and_after_a_byte_order_mark() -> None:
    header = tuple(f" {name.upper()} " for name in COLUMNS)

    dataset = read_csv(b"\xef\xbb\xbf" + table({}, header=header).encode(), "a.csv")

    assert dataset.threads == read_csv(table({}), "a.csv").threads


def test_optional_columns_may_be_absent_and_others_are_ignored() -> None:
    kept = tuple(name for name in COLUMNS if name not in OPTIONAL_COLUMNS)

    dataset = read_csv(table({}, header=("notes", "", *reversed(kept), "", "notes")), "a.csv")

    (turn,) = dataset.threads[0].turns
    assert kept == ("thread_id", "query_text", "final_response_message")
    assert (turn.user_text, turn.routed_intent) == ("Log 2 eggs", None)
    assert (turn.response_id, turn.routed_query_type, turn.error) == (None, None, None)
    assert (dataset.threads[0].user_id, turn.timestamp) == (UNKNOWN_USER, UNKNOWN_TIME)


def test_every_missing_column_is_named() -> None:
    header = tuple(name for name in COLUMNS if name in OPTIONAL_COLUMNS and "session" not in name)

    assert faults(table({}, header=header)) == [
        (1, "thread_id"), (1, "query_text"), (1, "final_response_message"),
    ]  # fmt: skip


def test_a_column_that_stands_twice_is_refused() -> None:
    fault = only_fault(table({}, header=(*COLUMNS, "Timestamp ")))

    assert (fault.row, fault.column) == (1, "timestamp")
    assert "2 columns" in fault.reason


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("first_line", ["", "sep=SEPARATOR\n"])
def test_another_separator_is_recognised(separator: str, first_line: str) -> None:
    rows = table({}, {"query_text": "a, b, c"}).replace('"a, b, c"', "A").replace(",", separator)
    content = first_line.replace("SEPARATOR", separator) + rows.replace(
        "A" + separator, f"a, b{separator}", 1
    )

    assert read_csv(content, "a.csv").statistics.messages == 2


@pytest.mark.parametrize("content", ["", "\n\r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(content: str | bytes) -> None:
    fault = only_fault(content)

    assert (fault.row, fault.column) == (None, None)
    assert "empty" in fault.reason


@pytest.mark.parametrize("rows", ["", "\n\n", ",,,,,,,,,,\n"])
def test_a_header_without_rows_is_refused(rows: str) -> None:
    fault = only_fault(f"{HEADER}\n{rows}")

    assert (fault.row, fault.column) == (None, None)
    assert "no rows" in fault.reason


# Faults.


def test_every_fault_is_reported_with_the_row_a_spreadsheet_shows() -> None:
    good, short = LINE, LINE.rsplit(",", 7)[0]
    broken = LINE.replace("Log 2 eggs", '"two\nlines"').replace("2025", "never")
    content = "\n".join(
        [HEADER, good, broken, "", short, ",,,,,,,,,,", good + ",x", good, "x" + short]
    )

    assert faults(content) == [(3, "timestamp"), (5, None), (7, None), (9, None)]


def test_all_faults_of_one_row_are_reported() -> None:
    content = table({"thread_id": "", "timestamp": "soon", "has_image": "?"})

    assert faults(content) == [(2, name) for name in ("thread_id", "timestamp", "has_image")]


def test_cells_that_a_spreadsheet_leaves_out_or_adds_at_the_end_are_empty() -> None:
    content = "\n".join([HEADER, LINE.removesuffix(","), LINE + ",,", LINE])

    turns = [turn for thread in read_csv(content, "a.csv").threads for turn in thread.turns]

    assert [turn.error for turn in turns] == [None, None, None]


def test_an_unclosed_quote_names_the_line_its_row_began_on() -> None:
    tall = LINE.replace("Log 2 eggs", '"two\nlines"')
    open_quote = LINE.replace("Log 2 eggs", '"Log 2 eggs')

    fault = only_fault("\n".join([HEADER, tall, open_quote, LINE, LINE]))

    assert fault.row == 3
    assert "begins on line 4 of the file" in fault.reason
    assert "never closed" in fault.reason


def test_a_quote_inside_quotes_names_its_line_and_the_rows_below_are_still_read() -> None:
    stray = LINE.replace("Log 2 eggs", '"Log "2" eggs"')

    with pytest.raises(BadData) as refused:
        read_csv("\n".join([HEADER, stray, LINE, LINE.replace("2025", "never")]), "a.csv")

    first, second = refused.value.rows
    assert first.row == 2
    assert "on line 2" in first.reason
    assert 'as ""' in first.reason
    assert (second.row, second.column) == (4, "timestamp")


def test_an_unreadable_header_is_one_fault_and_no_row_is_taken_for_it() -> None:
    assert faults(f'"thread_id"x,{HEADER}\n{LINE}\n{LINE}\n') == [(1, None)]


@pytest.mark.parametrize("before", [b"", b"x" * 100_000])
def test_bytes_that_are_not_utf_8_name_their_offset_and_row(before: bytes) -> None:
    """Where other text of the file is UTF-8: two encodings in one file can't be distinguished."""
    tall = LINE.replace("Log 2 eggs", '"zwei\nZeilen für"').encode()
    start = b"\n".join([HEADER.encode(), tall, b"", before and LINE.encode() + before]) + b"\n"

    fault = only_fault(start + b"\x92" + LINE.encode() + b"\n")

    assert fault.row == 5
    assert f"0x92 at offset {len(start)}" in fault.reason
    assert "UTF-8" in fault.reason


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_unicode_is_read_in_each_of_its_encodings(encoding: str) -> None:
    content = table({"query_text": "Größe? 🙂 " + "x" * 100_000}).encode(encoding)

    assert read_csv(content, "a.csv").threads[0].turns[0].user_text.startswith("Größe? 🙂 x")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "Größe? It’s “fine” – café"),
        ("cp1251", "Привет, сколько калорий в завтраке?"),
        ("cp1250", "Dzień dobry, ile kosztuje śniadanie? Zażółć gęślą jaźń"),
        ("cp932", "こんにちは、朝食は何ですか。カロリーを教えてください"),
    ],
)
def test_older_encodings_are_detected_and_remarked(encoding: str, text: str) -> None:
    found = Faults("a.csv")
    content = table({}, {"query_text": text}).encode(encoding)
    messages = list(CSV.messages(io.BytesIO(content), found))

    assert messages[1].user_text == text
    assert [each.kind for each in found.notices] == ["encoding"]


def test_a_workbook_is_recognised_and_refused() -> None:
    assert "Excel workbook" in only_fault(b"PK\x03\x04\x14\x00\x06\x00" + b"x" * 50).reason


def test_the_list_of_faults_has_an_end_and_the_rest_is_counted() -> None:
    with pytest.raises(BadData) as refused:
        read_csv(table(*({"thread_id": ""} for _ in range(BAD_ROWS_KEPT + 7))), "a.csv")

    found = refused.value
    assert (len(found.rows), found.more) == (BAD_ROWS_KEPT, 7)
    assert "1,007 faults" in str(found)
    assert len(str(found)) < 1_000
    assert found.as_json()["more"] == 7


def test_a_fault_shows_the_start_of_a_monstrous_cell_only() -> None:
    fault = only_fault(table({"timestamp": "<b>\n" + "x" * 1_000_000}))

    assert len(fault.reason) < 300
    assert r"<b>\n" in fault.reason


def test_bad_data_says_where_and_what_in_words_and_in_json() -> None:
    with pytest.raises(BadData) as refused:
        read_csv(table({"thread_id": ""}), "meals.csv")

    reason = "it is empty. Every message needs one."
    assert str(refused.value) == (
        "meals.csv: 1 fault, so nothing was read.\n"
        "  row 2, column thread_id: it is empty. Every message needs one."
    )
    assert refused.value.as_json() == {
        "message": str(refused.value),
        "bad_rows": [{"file": "meals.csv", "row": 2, "column": "thread_id", "reason": reason}],
        "more": 0,
    }
