"""What every format keeps to, whichever it is. A new one is one more line in `FILES` and `BAD`."""

import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from whole import read_whole

from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.imports import Incoming
from evalqueue.evaluators.formats import BadData, Faults, Message
from evalqueue.evaluators.formats.csv import COLUMNS
from evalqueue.evaluators.formats.registry import FORMATS, format_of
from evalqueue.evaluators.formats.whole_file import grouped
from evalqueue.evaluators.simulated.conversations import kaira_csv
from evalqueue.http.models.datasets import PreviewJson
from evalqueue.postgres.database import Database


def chats(count: int, text: str = "hello") -> bytes:
    lines = [
        {
            "id": f"c{n}",
            "user_id": f"u{n % 3}",
            "metadata": {"created_at": 1_750_000_000 + n},
            "messages": [
                {"role": "system", "content": "Be kind"},
                {"role": "user", "content": f"{text} {n}"},
                {"role": "assistant", "content": "two idli", "metadata": {"intent": "FoodAgent"}},
                {"role": "user", "content": "thanks"},
                {"role": "assistant", "content": "ok"},
            ],
        }
        for n in range(count)
    ]
    return "\n".join(map(json.dumps, lines)).encode()


def table(count: int, text: str = "hello") -> bytes:
    row = "t{n},u,s,{text} {n},two idli,FoodAgent,2025-01-01T00:00:00Z,0"
    rows = [row.format(n=n, text=text) for n in range(count)]
    return "\n".join([",".join(COLUMNS[:8]), *rows]).encode()


FILES: dict[str, list[bytes]] = {
    "csv": [kaira_csv().read_bytes(), table(20)],
    "jsonl": [chats(20)],
}
BAD: dict[str, list[bytes]] = {
    "csv": [b"thread_id\nt1\n", b"", b"PK\x03\x04", b"\xff\xff", table(2) + b"\nx,y"],
    "jsonl": [b"{}", b"", b"nonsense", b"\xff\xff", chats(2) + b"\n[]", b'{"messages": [1]}'],
}
MANY = {"csv": table, "jsonl": chats}
GOOD = [(name, content) for name, contents in FILES.items() for content in contents]
BROKEN = [(name, content) for name, contents in BAD.items() for content in contents]


def read(name: str, content: bytes, faults: Faults | None = None) -> list[Message]:
    faults = faults or Faults("a file")
    found = list(FORMATS[name].messages(io.BytesIO(content), faults))
    faults.raise_if_any()
    return found


def test_every_format_is_tried_here():
    assert set(FILES) == set(BAD) == set(MANY) == set(FORMATS)


@pytest.mark.parametrize(("name", "content"), GOOD)
def test_it_gives_the_same_messages_in_the_same_order_each_time(name: str, content: bytes):
    first, second = read(name, content), read(name, content)

    assert first
    assert first == second


@pytest.mark.parametrize(("name", "content"), GOOD)
def test_turns_are_numbered_from_one_in_the_order_they_happened(name: str, content: bytes):
    for thread in grouped(read(name, content)):
        assert [turn.number for turn in thread.turns] == list(range(1, len(thread.turns) + 1))
        times = [turn.timestamp for turn in thread.turns]
        assert times == sorted(times)
        assert all(time.tzinfo is not None for time in times)


@pytest.mark.parametrize(("name", "content"), GOOD)
def test_a_missing_value_is_none(name: str, content: bytes):
    for message in read(name, content):
        optional = (message.routed_intent, message.error, message.session_id, message.response_id)
        assert "" not in optional


@pytest.mark.parametrize(("name", "content"), BROKEN)
def test_bad_data_is_refused_whole_and_says_where(name: str, content: bytes):
    with pytest.raises(BadData) as refused:
        read(name, content)

    assert all(row.file and row.reason for row in refused.value.rows)


@pytest.mark.parametrize("name", FORMATS)
def test_after_a_fault_there_are_no_more_messages_but_further_faults(name: str):
    faults = Faults("a file")
    bad_line = b"\nx" if name == "csv" else b"\n{}"
    content = bad_line.join([MANY[name](2), b"", b""]) + b"\n" + MANY[name](1).splitlines()[-1]
    found = list(FORMATS[name].messages(io.BytesIO(content), faults))

    assert {message.row for message in found} <= {1, 2, 3}
    assert len(faults.rows) == 2


@pytest.mark.parametrize(("name", "content"), GOOD)
def test_a_file_that_is_cut_off_anywhere_is_read_as_far_as_it_goes(name: str, content: bytes):
    whole = read(name, content)
    for end in range(len(content) // 2, len(content), max(1, len(content) // 40)):
        cut = content[: content[:end].rfind(b"\n") + 1]
        faults = Faults("a file")
        found = list(FORMATS[name].messages(io.BytesIO(cut), faults, is_cut=True))
        assert found == whole[: len(found)]
        assert not faults


@pytest.mark.parametrize(("name", "content"), GOOD)
def test_its_head_fits_what_is_told_about_it(name: str, content: bytes):
    head = FORMATS[name].head(io.BytesIO(content))

    assert PreviewJson.model_fields["columns"]
    assert set(head.mapping) <= set(COLUMNS)
    assert head.missing == ()
    assert all(len(column.samples) <= 3 for column in head.columns)


@pytest.mark.parametrize(("name", "content"), GOOD)
def test_it_is_recognised_by_its_names_and_by_its_content(name: str, content: bytes):
    for suffix in FORMATS[name].suffixes:
        assert format_of(io.BytesIO(b""), name=f"A{suffix.upper()}").name == name
    assert format_of(io.BytesIO(content), name="upload").name == name


@pytest.mark.parametrize("name", FORMATS)
def test_no_more_of_a_file_is_held_than_a_little(name: str):
    content = MANY[name](4_000, "x" * 2_000)
    tracemalloc.start()
    try:
        consume(FORMATS[name].messages(io.BytesIO(content), Faults("a file")))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(content) > 8_000_000
    assert peak < 500_000


def consume(messages: Iterator[Message]) -> None:
    for _ in messages:
        pass


@pytest.mark.parametrize(("name", "content"), GOOD)
async def test_the_dataset_is_what_the_naive_way_makes_of_it(
    database: Database, name: str, content: bytes
):
    whole: Any = read_whole(FORMATS[name], content, "a file")
    incoming = Incoming(file=io.BytesIO(content), name="a file", format=name)
    added = await imports.add(database, incoming, owner="a", kept=True)

    async with database.connection() as connection:
        ids = await datasets.thread_ids(connection, added.dataset_id)
        assert [
            await datasets.thread(connection, added.dataset_id, thread_id) for thread_id in ids
        ] == list(whole.threads)
        assert await datasets.statistics(connection, added.dataset_id) == whole.statistics
