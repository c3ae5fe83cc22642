"""What holds for any CSV: what was written is read, and nothing but `BadData` is raised."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from whole import read_csv

from evalqueue.evaluators.conversation import Thread, Turn
from evalqueue.evaluators.formats import BadData
from evalqueue.evaluators.formats.csv import COLUMNS
from evalqueue.evaluators.formats.values.cells import is_missing

storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ids = storable.filter(lambda text: not is_missing(text))
values = ids.filter(lambda text: not is_missing(text))
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(datetime(1970, 1, 2), datetime(2099, 12, 30), timezones=st.just(UTC) | zones)  # noqa: DTZ001 - bounds


@st.composite
def written_threads(draw: st.DrawFn) -> list[Thread]:
    turns = st.builds(
        Turn,
        number=st.just(0),
        timestamp=times,
        user_text=storable,
        bot_text=storable,
        routed_intent=st.none() | values,
        routed_query_type=st.none() | values,
        has_image=st.booleans(),
        error=st.none() | values,
        session_id=st.none() | values,
        response_id=st.none() | values,
    )
    threads: list[Thread] = []
    for thread_id in draw(st.lists(ids, min_size=1, max_size=3, unique=True)):
        found = sorted(draw(st.lists(turns, min_size=1, max_size=4)), key=lambda t: t.timestamp)
        threads.append(Thread(thread_id=thread_id, user_id=draw(ids), turns=tuple(found)))
    return threads


def as_row(thread: Thread, turn: Turn) -> list[str]:
    cells = {
        "thread_id": thread.thread_id,
        "user_id": thread.user_id,
        "session_id": turn.session_id,
        "query_text": turn.user_text,
        "final_response_message": turn.bot_text,
        "intent_detected": turn.routed_intent,
        "timestamp": turn.timestamp.isoformat(),
        "has_image": str(int(turn.has_image)),
        "response_id": turn.response_id,
        "intent_query_type": turn.routed_query_type,
        "error_message": turn.error,
    }
    return [cells[column] or "" for column in COLUMNS]


# csv.writer of 3.11 leaves a lone "\r" unquoted unless lines end in it: who could read that?
spellings = st.sampled_from(
    [
        {"lineterminator": "\r\n", "quoting": csv.QUOTE_MINIMAL},
        {"lineterminator": "\n", "quoting": csv.QUOTE_ALL},
        {"lineterminator": "\r", "quoting": csv.QUOTE_ALL},
    ]
)


@settings(deadline=None)
@given(written_threads(), spellings)
def test_what_was_written_is_read(threads: list[Thread], spelling: dict[str, Any]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, **spelling)
    writer.writerow(COLUMNS)
    writer.writerows(as_row(thread, turn) for thread in threads for turn in thread.turns)

    read = read_csv(text.getvalue().encode(), "a.csv").threads

    assert [(thread.thread_id, thread.user_id) for thread in read] == [
        (thread.thread_id, thread.user_id) for thread in threads
    ]
    for thread, written in zip(read, threads, strict=True):
        assert [turn.number for turn in thread.turns] == list(range(1, len(written.turns) + 1))
        assert [as_row(thread, turn) for turn in thread.turns] == [
            as_row(written, turn) for turn in written.turns
        ]


HEADER = ",".join(COLUMNS)
beginnings = st.sampled_from([b"", b"\xef\xbb\xbf", (HEADER + "\n").encode()])
cell_like = st.sampled_from(["a", "1", "2025-01-15", "1/2/25 1:00", '"', '""', "\0", "\ud800", ""])
csv_like = st.lists(cell_like | st.sampled_from([",", ",", "\n", "\r\n", "\r"])).map("".join)


def reads_or_refuses(content: str | bytes) -> None:
    try:
        dataset = read_csv(content, "a.csv")
    except BadData as bad_data:
        refused = bad_data
    else:
        assert dataset.threads
        assert all(thread.turns for thread in dataset.threads)
        return
    assert refused.rows
    assert all(fault.reason for fault in refused.rows)
    assert str(refused).encode()


@settings(deadline=None)
@given(beginnings, st.binary())
@example(b"", b"\xef\xbb")
@example(b"", b"\xed\xa0")
@example((HEADER + "\n").encode(), b"\xed\xa0")
def test_any_bytes_are_read_or_refused(beginning: bytes, rest: bytes) -> None:
    reads_or_refuses(beginning + rest)


@settings(deadline=None)
@given(csv_like)
def test_anything_that_looks_like_a_csv_is_read_or_refused(rest: str) -> None:
    reads_or_refuses(f"{HEADER}\n{rest}")


@pytest.mark.parametrize("hostile", [b"\xed\xa0\x80", b"\xf0\x9f\x99\x82", b"\0", b"\r\n", b"\xff"])
@pytest.mark.parametrize("as_cell", [lambda text: text, lambda text: b'"' + text + b'"'])
def test_what_falls_on_a_border_between_pieces_is_read_as_anywhere(
    hostile: bytes, as_cell: Callable[[bytes], bytes]
) -> None:
    """The text is decoded in pieces of 8 KiB: whatever lies across a border must not be torn."""
    rest = b",s,q,r,i,2025-01-15,0,,,\n"
    outcomes: set[str] = set()
    for padding in range(8_180 - len(HEADER), 8_200 - len(HEADER)):
        cell = as_cell(b"u" + b"x" * padding + hostile)
        try:
            read = read_csv(f"{HEADER}\nt,".encode() + cell + rest, "a.csv").threads[0].user_id
        except BadData as refused:
            read = refused.rows[0].reason.split(" at offset")[0]
        outcomes.add(read.replace("x", ""))

    assert len(outcomes) == 1
