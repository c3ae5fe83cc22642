"""Conversations of another database are evaluated once, when they have ended."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sources.conftest import Chat, ago

from evalqueue import JobStatus
from evalqueue.evaluators.sources import reader
from evalqueue.evaluators.sources.reader import EndedConversation, Position
from evalqueue.evaluators.sources.settings import Source
from evalqueue.postgres import schedules
from evalqueue.postgres.schedules import Schedule

START = datetime(2026, 1, 1, tzinfo=UTC)


async def test_each_conversation_is_evaluated_once_and_again_when_it_goes_on(chat: Chat) -> None:
    for number in range(5):
        await chat.say(f"c{number}", ago(hours=5, minutes=-number))
        await chat.say(f"c{number}", ago(hours=4, minutes=-number), question="And a dosa")

    first = await chat.read(evaluation={"evaluators": ["intent"]})
    assert (first["read"], first["evaluated"], first["skipped"]) == (5, 5, 0)
    assert await chat.evaluated() == [["c0", "c1", "c2", "c3", "c4"]]
    assert len(await chat.turns("c3")) == 2
    (batch,) = first["jobs"]
    async with chat.client() as client:
        job = await client.get(UUID(batch))
    assert job.status is JobStatus.COMPLETED
    assert job.params["evaluators"] == ["intent"]
    assert job.progress.total == 5

    again = await chat.read()
    assert (again["read"], again["jobs"]) == (0, [])

    await chat.say("c1", ago(hours=1), question="One more idli")
    third = await chat.read()
    assert third["read"] == 1
    assert [turn["user_text"] for turn in await chat.turns("c1")] == [
        "Had two rotis", "And a dosa", "One more idli",
    ]  # fmt: skip


async def test_a_conversation_that_may_go_on_waits(chat: Chat) -> None:
    chat.name_source(settle_minutes=60)
    await chat.say("open", ago(hours=3))
    await chat.say("open", ago(minutes=10))
    await chat.say("over", ago(hours=2))

    await chat.read()
    assert await chat.evaluated() == [["over"]]

    chat.name_source(settle_minutes=5)
    await chat.read()
    assert await chat.evaluated() == [["over"], ["open"]]


async def test_the_first_reading_starts_a_day_ago_or_where_it_is_told(chat: Chat) -> None:
    await chat.say("old", ago(days=3))
    await chat.say("new", ago(hours=3))

    assert (await chat.read())["read"] == 1
    assert (await chat.read(position="all", since=ago(days=9).isoformat()))["read"] == 2
    assert (await chat.read(since=ago(days=9).isoformat()))["read"] == 0, "it was read before"


async def test_a_range_is_read_under_a_position_of_its_own(chat: Chat) -> None:
    for day in range(1, 7):
        await chat.say(f"c{day}", ago(days=day))
    days = {"since": ago(days=5.5).isoformat(), "until": ago(days=2.5).isoformat()}
    job = await chat.submit(**days, position="backfill", batch_size=2)
    await chat.work()
    async with chat.client() as client:
        found = await client.get(job.id)

    assert await chat.evaluated() == [["c4", "c5"], ["c3"]]
    assert (found.progress.current, found.progress.total) == (3, 3)
    assert (await chat.read(**days, position="backfill"))["read"] == 0
    rule = await chat.rule("backfill")
    assert (rule.matched, rule.sampled, rule.judged, rule.waiting) == (3, 3, 3, 0)


async def test_only_the_columns_that_mean_something_are_read(chat: Chat) -> None:
    await chat.say("c1", ago(hours=1), error="", user_id="ann@example.org")
    chat.name_source(masks=["emails"], mask_names=["Rotis"], settle_minutes=0)

    await chat.read()
    (stored,) = await chat.run("SELECT user_id, turns::text FROM dataset_threads")
    assert "not for judges" not in stored[1]
    assert stored[0].startswith("masked-")
    assert "rotis" not in stored[1].lower()
    assert "[name]" in stored[1]


@pytest.mark.parametrize("type_name", ["text", "uuid", "bigint"])
async def test_rows_of_messages_and_ids_of_any_type_are_read(chat: Chat, type_name: str) -> None:
    await chat.run(
        f"CREATE TABLE chat.lines (ticket {type_name}, role text, body text, sent_at timestamp)"
    )
    ids: dict[str, Sequence[object]] = {
        "text": ["a", "B"], "uuid": [UUID(int=1), UUID(int=2)], "bigint": [7, 10],
    }  # fmt: skip
    for thread in ids[type_name]:
        said = [("user", "Two rotis"), ("assistant", "Noted"), ("user", "Thanks")]
        for second, (role, body) in enumerate(said):
            sent_at = (ago(hours=2) + timedelta(seconds=second)).replace(tzinfo=None)
            await chat.run(
                "INSERT INTO chat.lines VALUES (%s, %s, %s, %s)", thread, role, body, sent_at
            )
    chat.name_source(relation="chat.lines", mapping={"thread_id": "ticket"}, settle_minutes=0)

    assert (await chat.read(batch_size=1))["read"] == 2
    assert sorted(await chat.evaluated()) == sorted([str(each)] for each in ids[type_name])
    turns = await chat.turns(str(ids[type_name][0]))
    assert [(turn["user_text"], turn["bot_text"]) for turn in turns] == [
        ("Two rotis", "Noted"), ("Thanks", ""),
    ]  # fmt: skip


async def test_a_conversation_with_a_bad_row_is_left_out_and_named(chat: Chat) -> None:
    await chat.say("good", ago(hours=3))
    await chat.say("x" * 600, ago(hours=2))
    await chat.say(None, ago(hours=2))
    await chat.say("", ago(hours=2))
    await chat.run("INSERT INTO chat.messages (conversation_id, created_at)"
                   " VALUES ('never', 'infinity'), ('no time', NULL)")  # fmt: skip
    await chat.say("also good", ago(hours=1))

    found = await chat.read()
    assert (found["read"], found["evaluated"], found["skipped"]) == (3, 2, 1)
    ((thread, reason),) = found["skipped_conversations"].items()
    assert thread == "x" * 600
    assert "500" in reason
    assert [sorted(each) for each in await chat.evaluated()] == [["also good", "good"]]
    assert (await chat.read())["read"] == 0, "the position moved past it"


async def test_two_jobs_at_once_evaluate_each_conversation_once(chat: Chat) -> None:
    for number in range(12):
        await chat.say(f"c{number:02}", ago(hours=5, minutes=-number))
    jobs = [await chat.submit(batch_size=2) for _ in range(3)]

    async with asyncio.timeout(60):
        while True:  # a job that met another one tries again later
            await chat.work()
            async with chat.client() as client:
                found = [await client.get(each.id) for each in jobs]
            if all(each.completed_at for each in found):
                break
            await asyncio.sleep(0.5)

    assert {each.status for each in found} == {JobStatus.COMPLETED}
    evaluated = [thread for threads in await chat.evaluated() for thread in threads]
    assert sorted(evaluated) == [f"c{number:02}" for number in range(12)]


async def test_a_schedule_evaluates_what_is_new(chat: Chat) -> None:
    async with chat.database.connection() as connection:
        now = await schedules.now(connection)
        nightly = Schedule(
            name="nightly", cron="@daily", timezone="UTC", job_type="evaluate-source",
            params={"source": "support"}, owner="default", queue="evalqueue", priority=0,
            max_attempts=3, next_at=now,
        )  # fmt: skip
        for number in range(2):
            await chat.say(f"night {number}", ago(hours=2, minutes=-number))
            await schedules.put(connection, nightly)
            await schedules.fire_due(connection)
            await chat.work()

    assert await chat.evaluated() == [["night 0"], ["night 1"]]


@asynccontextmanager
async def stranger(chat: Chat, *, may_read: bool) -> AsyncGenerator[str]:
    """The address of a role that may only log in, or also read the table."""
    name = f"reader_{may_read}".lower()
    await chat.run(f"CREATE ROLE {name} LOGIN; GRANT USAGE ON SCHEMA chat TO {name}")
    if may_read:
        await chat.run(f"GRANT SELECT ON chat.messages TO {name}")
    parts = psycopg.conninfo.conninfo_to_dict(chat.dsn)
    yield f"postgresql://{name}@/{parts['dbname']}?host={parts['host']}"
    await chat.run(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_a_role_needs_nothing_but_select(chat: Chat) -> None:
    await chat.say("c1", ago(hours=1))
    async with stranger(chat, may_read=True) as address:
        chat.name_source(address=address)
        assert (await chat.read())["read"] == 1
    async with stranger(chat, may_read=False) as address:
        chat.name_source(address=address)
        assert "permission denied" in await chat.failed()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"relation": "chat.nowhere"}, 'relation "chat.nowhere" does not exist'),
        ({"relation": 'chat.messages" x'}, "does not exist"),
        ({"mapping": {"query_text": "asked"}}, "no column for asked"),
        ({"mapping": {"timestamp": ""}}, "no column for timestamp"),
        ({"mapping": {"timestamp": "intent"}}, "no time in 'intent'"),
    ],
)
async def test_what_can_not_be_read_says_what_to_change(
    chat: Chat, options: dict[str, Any], reason: str
) -> None:
    chat.name_source(**options)

    assert reason in await chat.failed()


async def test_a_database_that_is_away_is_tried_again(chat: Chat) -> None:
    chat.name_source(address="postgresql://reader:secret-word@127.0.0.1:1/chat")
    job = await chat.submit()
    await chat.work()
    async with chat.client() as client:
        found = await client.get(job.id)
        attempts = await client.attempts(job.id)

    assert found.status is JobStatus.QUEUED
    assert "does not answer" in (attempts[0].error or "")
    assert "secret-word" not in (attempts[0].error or "")


Spoken = list[tuple[int, int]]


@given(
    spoken=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), max_size=25),
    page=st.integers(1, 4),
    stops=st.sets(st.integers(0, 9), max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_pages_and_positions_leave_nothing_out(
    spoken: Spoken, page: int, stops: set[int], template: str
) -> None:
    """Conversations end in the same moments, and reading stops and starts again anywhere."""
    found = asyncio.run(_read_in_pieces(template, spoken, page, stops))
    ends: dict[str, int] = {}
    for thread, second in spoken:
        ends[f"t{thread}"] = max(ends.get(f"t{thread}", 0), second)

    assert found == [name for _, name in sorted((end, name) for name, end in ends.items())]


async def _read_in_pieces(address: str, spoken: Spoken, page: int, stops: set[int]) -> list[str]:
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        await connection.execute("TRUNCATE spoken")
        for thread, second in spoken:
            await connection.execute(
                "INSERT INTO spoken VALUES (%s, 'q', 'a', %s)",
                [f"t{thread}", START + timedelta(seconds=second)],
            )
    source = Source.model_validate({"address": address, "relation": "spoken"})
    position = Position(last_at=START)
    found: list[str] = []
    pages = 0
    while True:
        async with reader.opened(source, "spoken") as opened:
            async for each in opened.ended(position, page=page):
                found += _ids(each)
                position = each[-1].position
                pages += 1
                if pages in stops:
                    break
            else:
                return found


def _ids(page: Sequence[EndedConversation]) -> list[str]:
    return [each.candidate.thread_id for each in page]


@pytest.fixture(scope="module")
def template(postgres: str) -> str:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS spoken")
        connection.execute("CREATE DATABASE spoken")
    address = psycopg.conninfo.make_conninfo(postgres, dbname="spoken")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE spoken (thread_id text, question text, answer text, at timestamptz)"
        )
    return address
