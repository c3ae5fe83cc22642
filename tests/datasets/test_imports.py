"""A file becomes a dataset: read as a stream, put together by Postgres, all of it or nothing."""

import asyncio
import hashlib
import io
import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whole import read_csv, statistics_of

from evalqueue.evaluators.conversation import ExpectedCall, Thread, ToolCall
from evalqueue.evaluators.datasets import imports, staging
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.imports import Added
from evalqueue.evaluators.datasets.incoming import Identified, Incoming, identified
from evalqueue.evaluators.formats import BadData, FormatError, Head, Message
from evalqueue.evaluators.formats.csv import COLUMNS
from evalqueue.evaluators.formats.registry import format_of
from evalqueue.evaluators.formats.whole_file import grouped
from evalqueue.evaluators.simulated.conversations import kaira_csv
from evalqueue.postgres.database import Database

HEADER = ",".join(COLUMNS[:8])
GOOD = "t1,u1,s1,2 idli,Noted,FoodAgent,2025-11-01T08:00:00Z,0"
TABLES = ("datasets", "dataset_threads", "dataset_owners")


def csv(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


async def add(
    database: Database, content: bytes, *, owner: str = "default", kept: bool = True, **file: Any
) -> Added:
    incoming = Incoming(**{"file": io.BytesIO(content), "name": "a.csv"} | file)
    return await imports.add(database, incoming, owner=owner, kept=kept)


async def counted(database: Database) -> dict[str, int]:
    found: dict[str, int] = {}
    async with database.connection() as connection:
        for table in TABLES:
            cursor = await connection.execute(f"SELECT count(*) FROM {table}".encode())
            found[table] = (await cursor.fetchone() or (0,))[0]
    return found


async def threads(database: Database, dataset_id: str) -> list[Thread]:
    async with database.connection() as connection:
        ids = await datasets.thread_ids(connection, dataset_id)
        found = [await datasets.thread(connection, dataset_id, each) for each in ids]
    return [each for each in found if each is not None]


async def test_what_was_written_is_kept_thread_by_thread(database: Database):
    whole = read_csv(kaira_csv(), "kaira.csv")
    added = await add(database, kaira_csv().read_bytes(), name="kaira.csv", owner="ann")

    assert added.is_new
    assert added.dataset_id == f"sha256:{whole.sha256}"
    assert await threads(database, added.dataset_id) == list(whole.threads)
    async with database.connection() as connection:
        assert await datasets.statistics(connection, added.dataset_id) == whole.statistics
        found = await datasets.get(connection, added.dataset_id, owner="ann")
        rows = await datasets.threads_of(connection, added.dataset_id, after=3, limit=2)
        counts = await datasets.counts(connection, added.dataset_id, ["none", rows[0].thread_id])
        assert await datasets.thread(connection, added.dataset_id, "none") is None
    assert found is not None
    assert (found.name, found.format, found.owner) == ("kaira.csv", "csv", "ann")
    assert found.size_bytes == len(kaira_csv().read_bytes())
    assert list(found.intents.items()) == list(whole.statistics.intents.items())
    fourth = whole.threads[3]
    assert [row.position for row in rows] == [4, 5]
    assert rows[0].opening == fourth.turns[0].user_text[:200]
    assert (rows[0].first_at, rows[0].last_at) == (fourth.started_at, fourth.ended_at)
    assert rows[0].has_errors is fourth.has_errors
    assert (counts.threads, counts.messages) == (1, len(fourth.turns))


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
zones = st.integers(-20 * 60, 20 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(
    datetime(2025, 1, 1),  # noqa: DTZ001  bounds
    datetime(2025, 1, 2),  # noqa: DTZ001  bounds
    timezones=st.just(UTC) | zones,
).map(lambda moment: moment.replace(minute=0, second=0, microsecond=0))
tool_calls = st.builds(ToolCall, name=text, arguments=text, result=st.none() | text)
expected_calls = st.builds(
    ExpectedCall, name=text, arguments=st.none() | text, arguments_schema=st.none() | text
)
messages = st.builds(
    Message,
    row=st.integers(2, 99),
    thread_id=text.filter(bool),
    user_id=text,
    timestamp=times,
    user_text=text,
    bot_text=text,
    routed_intent=st.none() | st.sampled_from(["a", "b", "B", "é"]),
    routed_query_type=st.none() | text,
    has_image=st.booleans(),
    error=st.none() | text,
    session_id=st.none() | text,
    response_id=st.none() | text,
    system=st.none() | text,
    alternative=st.none() | text,
    context=st.none() | text,
    tool_calls=st.just(()) | st.tuples(tool_calls),
    record=st.just(0),
    expected=st.none() | text,
    tools=st.none() | text,
    expected_tool_calls=st.none() | st.just(()) | st.tuples(expected_calls),
    latency_seconds=st.none() | st.floats(0, 1e9),
    wait_seconds=st.none() | st.floats(0, 1e9),
    other_users=st.lists(text, max_size=2).map(tuple),
)
few_ids = st.lists(
    st.sampled_from(["t", "T", "\\N", "\\.", "a\tb", "ß\n"]).flatmap(
        lambda thread_id: messages.map(lambda message: message._replace(thread_id=thread_id))
    ),
    min_size=1,
    max_size=12,
)


numbers = itertools.count(1)
EMPTY = hashlib.sha256().digest()


class _Given:
    """A format whose files say nothing: the messages are there already."""

    name = "given"
    suffixes = ()

    def recognises(self, start: bytes) -> bool:
        return False

    def __init__(self, given_messages: list[Message]) -> None:
        self._messages = given_messages

    def messages(self, *_: Any, **__: Any) -> Iterator[Message]:
        return iter(self._messages)

    def effective(self, *_: Any) -> dict[str, str]:
        return {}

    def head(self, *_: Any) -> Head:
        return Head(mapping={})


def test_putting_together_in_sql_is_the_same_as_the_naive_way(dsn: str):
    database = Database(dsn)

    async def compare(given_messages: list[Message]) -> None:
        file = _Given(given_messages)
        found = Identified(
            file=io.BytesIO(), name="", format=file, mapping={}, size_bytes=0,
            dataset_id="sha256:" + f"{next(numbers):064x}", file_sha256=EMPTY,
        )  # fmt: skip
        async with database.transaction() as connection:
            await imports._keep(connection, found)  # pyright: ignore[reportPrivateUsage]  past the formats
        naive = grouped(given_messages)
        assert await threads(database, found.dataset_id) == list(naive)
        async with database.connection() as connection:
            assert await datasets.statistics(connection, found.dataset_id) == statistics_of(naive)

    @settings(max_examples=60)
    @given(few_ids | st.lists(messages, min_size=1, max_size=12), st.integers(1, 4))
    def holds(given_messages: list[Message], size: int) -> None:
        records = [each._replace(record=n // size + 1) for n, each in enumerate(given_messages)]
        runner.run(compare(records))

    with asyncio.Runner() as runner:  # in one thread: Hypothesis minds when others draw at random
        runner.run(database.open())
        try:
            holds()
        finally:
            runner.run(database.close())


# The same file, and another.


async def test_the_same_file_twice_is_one_dataset_and_each_owner_has_it_under_a_name_of_theirs(
    database: Database,
):
    first = await add(database, csv(GOOD), owner="ann", name="june.csv")
    second = await add(database, csv(GOOD), owner="bob", name="juni.csv")
    again = await add(database, csv(GOOD), owner="ann", name="June, at last.csv")

    assert (first.is_new, second.is_new, again.is_new) == (True, True, False)
    assert first.dataset_id == second.dataset_id == again.dataset_id
    assert await counted(database) == {"datasets": 1, "dataset_threads": 1, "dataset_owners": 2}
    async with database.connection() as connection:
        of_bob = await datasets.list_datasets(connection, owner="bob", limit=9, offset=0)
        of_all = await datasets.list_datasets(connection, owner=None, limit=9, offset=0)
        assert await datasets.get(connection, first.dataset_id, owner="eve") is None
    assert [(each.name, each.owner) for each in of_bob] == [("juni.csv", "bob")]
    assert [(each.name, each.owner) for each in of_all] == [("June, at last.csv", "ann")]


async def test_the_same_file_at_the_same_moment_is_one_dataset(dsn: str):
    content = kaira_csv().read_bytes()
    first, second = Database(dsn), Database(dsn)
    for each in (first, second):
        await each.open()
    try:
        found = await asyncio.gather(
            *(add(each, content, owner=f"{n}") for n in range(4) for each in (first, second))
        )
        assert sum(each.is_new for each in found) == 4, "once for each owner"
        assert await counted(first) == {"datasets": 1, "dataset_threads": 48, "dataset_owners": 4}
    finally:
        for each in (first, second):
            await each.close()


async def test_a_job_does_not_rename_what_its_owner_has_nor_is_it_kept_for_it(database: Database):
    await add(database, csv(GOOD), name="june.csv")
    added = await add(database, csv(GOOD), name="csv_content", kept=False)
    other = await add(database, csv(GOOD), name="csv_content", kept=False, owner="bob")

    async with database.connection() as connection:
        cursor = await connection.execute("SELECT owner, name, kept FROM dataset_owners ORDER BY 1")
        assert await cursor.fetchall() == [
            ("bob", "csv_content", False),
            ("default", "june.csv", True),
        ]
    assert added.dataset_id == other.dataset_id
    assert (added.is_new, other.is_new) == (False, True)


# Mappings.

THEIRS = HEADER.replace("thread_id", "Chat").replace("query_text", "Said by the user")


async def test_a_mapping_says_which_header_stands_for_a_column(database: Database):
    mapping = {"thread_id": "chat", "query_text": " Said by the user"}
    mapped = await add(database, csv(GOOD, header=THEIRS), mapping=mapping)
    plain = await add(database, csv(GOOD))

    assert mapped.dataset_id != plain.dataset_id
    assert await threads(database, mapped.dataset_id) == await threads(database, plain.dataset_id)
    async with database.connection() as connection:
        found = await datasets.get(connection, mapped.dataset_id, owner=None)
        unmapped = await datasets.get(connection, plain.dataset_id, owner=None)
    assert found is not None
    assert found.mapping == mapping
    assert unmapped is not None
    assert unmapped.mapping is None


async def test_a_mapping_that_changes_nothing_is_none(database: Database):
    plain = await add(database, csv(GOOD))
    mapped = await add(database, csv(GOOD), mapping={"user_id": "USER_ID "})

    assert mapped == Added(dataset_id=plain.dataset_id, is_new=False)


async def test_another_mapping_of_the_same_file_is_another_dataset(database: Database):
    a = await add(database, csv(GOOD), mapping={"session_id": "user_id"})
    b = await add(database, csv(GOOD), mapping={"session_id": "thread_id"})
    again = await add(database, csv(GOOD), mapping={"session_id": "user_id", "user_id": "user_id"})

    assert a.dataset_id != b.dataset_id
    assert again == Added(dataset_id=a.dataset_id, is_new=False)


@pytest.mark.parametrize(
    ("mapping", "column", "says"),
    [
        ({"thread_id": "chat"}, "thread_id", "'chat', which it is mapped to: 'thread_id'"),
        ({"threads": "thread_id"}, "threads", "there is no such column. Known: thread_id, user_id"),
    ],
)
async def test_a_mapping_that_names_what_is_not_there_is_refused(
    database: Database, mapping: dict[str, str], column: str, says: str
):
    with pytest.raises(BadData) as refused:
        await add(database, csv(GOOD), mapping=mapping)

    (fault,) = refused.value.rows
    assert fault.column == column
    assert says in fault.reason
    assert not any((await counted(database)).values())


# Refusals.


@pytest.mark.parametrize("late", [0, 5_000])
async def test_a_bad_row_leaves_nothing_however_late_it_comes(database: Database, late: int):
    rows = [GOOD] * late + [GOOD.replace("2025", "never"), GOOD, GOOD.replace("t1", "")]
    with pytest.raises(BadData) as refused:
        await add(database, csv(*rows))

    assert [(each.row, each.column) for each in refused.value.rows] == [
        (late + 2, "timestamp"),
        (late + 4, "thread_id"),
    ]
    assert not any((await counted(database)).values())


async def test_a_conversation_that_is_too_large_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(staging, "THREAD_MAX_BYTES", 5_000)
    long = GOOD.replace("t1", "t2").replace("2 idli", "idli" * 500)
    with pytest.raises(BadData) as refused:
        await add(database, csv(GOOD, long, GOOD, long, long))

    (fault,) = refused.value.rows
    assert (fault.row, fault.column) == (3, "thread_id")
    assert "'t2'" in fault.reason
    assert not any((await counted(database)).values())


async def test_a_thread_id_that_no_table_takes_is_a_bad_row(database: Database):
    with pytest.raises(BadData, match="row 2, column thread_id: .* longer than 500"):
        await add(database, csv(GOOD.replace("t1", "t" * 501)))


async def test_a_file_that_is_written_to_while_it_is_read_is_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "a.csv"
    path.write_bytes(csv(GOOD))
    identify: Callable[[Incoming], Identified] = identified

    def and_then_write(incoming: Incoming) -> Identified:
        found = identify(incoming)
        path.write_bytes(csv(GOOD, GOOD))
        return found

    monkeypatch.setattr(imports, "identified", and_then_write)
    with path.open("rb") as file, pytest.raises(FormatError, match="written to while it was read"):
        await imports.add(database, Incoming(file=file, name="a.csv"), owner="a", kept=True)

    assert not any((await counted(database)).values())


async def test_an_import_that_is_cancelled_leaves_nothing(database: Database):
    started = asyncio.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            loop.call_soon_threadsafe(started.set)
            return super().read(size)

    loop = asyncio.get_running_loop()
    importing = asyncio.create_task(add(database, b"", file=Slow(csv(*[GOOD] * 50_000))))
    await started.wait()
    importing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await importing

    assert not any((await counted(database)).values())


@pytest.mark.parametrize(
    ("content", "name", "given_format", "expected"),
    [
        (b"thread_id\n", "a.csv", None, "csv"),
        (b"{}", "a.JSONL", None, "jsonl"),
        (b"{}", "a.ndjson", None, "jsonl"),
        (b' \n{"messages": []}', "a.txt", None, "jsonl"),
        (b"thread_id,x\n", "upload", None, "csv"),
        (b"", "", None, "csv"),
        (b"{}", "a.csv", "jsonl", "jsonl"),
    ],
)
def test_a_format_is_the_given_one_or_the_one_of_the_name_or_what_it_looks_like(
    content: bytes, name: str, given_format: str | None, expected: str
):
    file = io.BytesIO(content)

    assert format_of(file, name=name, given=given_format).name == expected
    assert file.tell() == 0


async def test_what_lists_show_of_a_dataset_is_bounded(database: Database):
    """Whatever is in a file and its name: whoever lists datasets is not flooded with it."""
    rows = [GOOD.replace("FoodAgent", "x" * 300 + f"{n}") for n in range(3)]
    rows += [GOOD.replace("FoodAgent", f"label {n}") for n in range(2000)]
    added = await add(database, csv(*rows), name=" June,\r\nat\tlast ")

    async with database.connection() as connection:
        found = await datasets.get(connection, added.dataset_id, owner=None)
    assert found is not None
    assert found.name == "June, at last"
    assert len(found.intents) == 1000
    assert next(iter(found.intents.items())) == ("x" * 200, 3)
