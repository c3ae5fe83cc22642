"""What every file format keeps to. A new one is one more entry of `CASES`.

Third parties run this suite with their format: add it to `FORMATS`, and a `Case` to `CASES`.
"""

import io
import json
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from whole import read_whole

from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.evaluators.formats import BadData, DateOrder, Faults, Message
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


def document(count: int, text: str = "hello") -> bytes:
    return json.dumps([json.loads(line) for line in chats(count, text).splitlines()]).encode()


def workbook(count: int, text: str = "hello") -> bytes:
    openpyxl: Any = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("chats")
    for line in table(count, text).decode().splitlines():
        sheet.append(line.split(","))
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def parquet(count: int, text: str = "hello") -> bytes:
    pyarrow: Any = pytest.importorskip("pyarrow")
    written: Any = pytest.importorskip("pyarrow.parquet")
    rows = [json.loads(line) for line in chats(count, text).splitlines()]
    file = io.BytesIO()
    written.write_table(pyarrow.Table.from_pylist(rows), file)
    return file.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a format is tried with."""

    good: Sequence[bytes]
    """Files, each with several conversations."""
    bad: Sequence[bytes]
    many: Callable[..., bytes]
    """A file of so many conversations, with this text in each."""
    two_faults: bytes
    """A good row, a bad one, another bad one and a good one."""
    cuts: bytes | None
    """Where a file may be cut off: after these bytes. None: what is cut off can't be read."""
    peak_bytes: int = 500_000
    """Of Python's memory, for a file of 8 MB."""


CASES: Mapping[str, Case] = {
    "csv": Case(
        good=[kaira_csv().read_bytes(), table(20)],
        bad=[b"thread_id\nt1\n", b"", b"PK\x03\x04", b"\xff\xff", table(2) + b"\nx,y"],
        many=table,
        two_faults=table(1) + b"\nx\nx\n" + table(1).splitlines()[-1],
        cuts=b"\n",
    ),
    "jsonl": Case(
        good=[chats(20)],
        bad=[b"{}", b"", b"nonsense", b"\xff\xff", chats(2) + b"\n[]", b'{"messages": [1]}'],
        many=chats,
        two_faults=chats(1) + b"\n{}\n{}\n" + chats(1),
        cuts=b"\n",
    ),
    "json_document": Case(
        good=[
            document(20),
            json.dumps(json.loads(document(20)), indent=1).encode(),
            b"[" + b"\n,".join(chats(20).splitlines()) + b"]",
        ],
        bad=[b"[{]", b"[1]", b'{\n"a": 1}', document(2)[:-40], b'[{"messages": [1]}]'],
        many=document,
        two_faults=json.dumps([json.loads(chats(1)), {}, {"a": 1}, json.loads(chats(1))]).encode(),
        cuts=b"}",
    ),
    "xlsx": Case(
        good=[workbook(20)],
        bad=[b"PK\x03\x04", b"", workbook(3)[:-50]],
        many=workbook,
        two_faults=b"",
        cuts=None,
        peak_bytes=30_000_000,  # a workbook's texts are in one list, beside its cells
    ),
    "parquet": Case(
        good=[parquet(20)],
        bad=[b"PAR1", b"", parquet(3)[:-50]],
        many=parquet,
        two_faults=b"",
        cuts=None,
        peak_bytes=8_000_000,  # 500 rows at a time
    ),
}
"""One entry for each format: a new format is one more."""

GOOD = [(name, content) for name, case in CASES.items() for content in case.good]
BROKEN = [(name, content) for name, case in CASES.items() for content in case.bad]
CUT = [(name, content) for name, content in GOOD if CASES[name].cuts is not None]


def read(name: str, content: bytes, faults: Faults | None = None) -> list[Message]:
    faults = faults or Faults("a file")
    found = list(FORMATS[name].messages(io.BytesIO(content), faults))
    faults.raise_if_any()
    return found


def test_every_format_is_tried_here():
    assert set(CASES) == set(FORMATS)


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


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.two_faults])
def test_after_a_fault_there_are_no_more_messages_but_further_faults(name: str):
    faults = Faults("a file")
    content = CASES[name].two_faults
    found = list(FORMATS[name].messages(io.BytesIO(content), faults))

    assert found == read(name, CASES[name].many(1))
    assert len(faults.rows) == 2


@pytest.mark.parametrize(("name", "content"), CUT)
def test_a_file_that_is_cut_off_anywhere_is_read_as_far_as_it_goes(name: str, content: bytes):
    whole = read(name, content)
    cuts = CASES[name].cuts or b""
    for end in range(len(content) // 2, len(content), max(1, len(content) // 40)):
        cut = content[: content[:end].rfind(cuts) + 1]
        faults = Faults("a file")
        found = list(FORMATS[name].messages(io.BytesIO(cut), faults, is_cut=True))
        assert found
        assert found == whole[: len(found)]
        assert not faults


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.cuts is None])
def test_a_file_that_can_t_be_read_in_part_is_no_fault_when_it_is_cut_off(name: str):
    faults = Faults("a file")
    cut = CASES[name].good[0][:-100]

    assert list(FORMATS[name].messages(io.BytesIO(cut), faults, is_cut=True)) == []
    assert not faults
    assert FORMATS[name].head(io.BytesIO(cut)).missing == ()


@pytest.mark.parametrize(("name", "content"), GOOD)
@pytest.mark.parametrize("order", DateOrder)
def test_an_order_of_dates_changes_nothing_where_no_date_needs_it(
    name: str, content: bytes, order: DateOrder
):
    found = FORMATS[name].messages(io.BytesIO(content), Faults("a file"), date_order=order)

    assert list(found) == read(name, content)


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
    content = CASES[name].many(4_000, "x" * 2_000)
    file = io.BytesIO(content)
    tracemalloc.start()
    try:
        consume(FORMATS[name].messages(file, Faults("a file")))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert CASES[name].cuts is None or len(content) > 8_000_000  # others are compressed
    assert peak < CASES[name].peak_bytes


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
