"""`migrate` beside sessions that hold locks: it waits briefly, lets others through, says who."""

import asyncio
from collections.abc import AsyncGenerator

import psycopg
import pytest

from evalqueue.errors import SchemaLocked
from evalqueue.postgres import schema
from evalqueue.postgres.database import Database
from evalqueue.postgres.schema import migrating
from evalqueue.postgres.schema.blockers import outline


@pytest.fixture
async def outdated(empty_dsn: str) -> AsyncGenerator[Database]:
    """A database that lacks a trigger of `jobs`, for which the table has to be locked."""
    database = Database(empty_dsn)
    await database.open()
    await schema.migrate(database)
    async with database.connection() as connection:
        await connection.execute("DROP TRIGGER evalqueue_notify_changed ON jobs")
    yield database
    await database.close()


class Lines:
    """What was reported, and when a line with some words came."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self._tasks.add(asyncio.create_task(self._notify()))

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def has(self, words: str) -> str:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: any(words in line for line in self.lines))
        return next(line for line in self.lines if words in line)


async def holding(dsn: str) -> psycopg.AsyncConnection:
    """A session with an open transaction that has written to jobs."""
    session = await psycopg.AsyncConnection.connect(dsn, application_name="nightly report")
    await session.execute("UPDATE jobs SET owner = 'somebody''s secret 4711' WHERE false")
    return session


async def test_migrate_names_who_holds_its_lock_lets_others_through_and_then_succeeds(
    outdated: Database, empty_dsn: str
):
    lines = Lines()
    async with await holding(empty_dsn) as session:
        migration = asyncio.create_task(schema.migrate(outdated, report=lines))
        blocked = await lines.has("Waiting for")
        # This one queues behind the lock that is waited for, and gets through.
        async with outdated.transaction() as caller:
            await caller.execute("UPDATE jobs SET owner = 'x' WHERE false")
        await lines.has("Rolled back")
        assert not migration.done()
        pid = session.info.backend_pid
        await session.rollback()

    assert await migration == ["functions/queue/events.sql"]
    assert blocked.startswith(f"Waiting for pid {pid}, user ")
    assert ", application nightly report, idle in transaction, transaction open for " in blocked
    assert blocked.endswith("query: UPDATE jobs SET owner = … WHERE false")
    assert any(line.startswith("Applying ") for line in lines.lines)
    assert await schema.plan(outdated) == []


async def test_migrate_gives_up_when_it_was_told_to_and_has_changed_nothing(
    outdated: Database, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(migrating, "LOCK_SHARE", 0.1)
    before = await schema.plan(outdated)
    async with await holding(empty_dsn):
        with pytest.raises(SchemaLocked, match="nothing was changed"):
            await schema.migrate(outdated, wait_seconds=0.5)

    assert await schema.plan(outdated) == before != []


async def test_migrate_waits_for_another_migrate_and_names_it(outdated: Database, empty_dsn: str):
    lines = Lines()
    async with await psycopg.AsyncConnection.connect(empty_dsn) as other:
        await other.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('evalqueue migrate', 0))"
        )
        migration = asyncio.create_task(schema.migrate(outdated, report=lines))
        assert f"pid {other.info.backend_pid}" in await lines.has("Waiting for")

    assert await migration == ["functions/queue/events.sql"]


async def test_a_role_s_statement_timeout_does_not_end_a_migration(
    outdated: Database, empty_dsn: str
):
    short = Database(f"{empty_dsn}&options=-cstatement_timeout%3D200")
    await short.open()
    lines = Lines()
    async with await holding(empty_dsn) as session:
        migration = asyncio.create_task(schema.migrate(short, report=lines))
        await lines.has("Rolled back")  # by the lock's timeout
        await session.rollback()
    assert await migration == ["functions/queue/events.sql"]
    await short.close()


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("SELECT 'it''s mine', 42, 1.5", "SELECT …, …, …"),
        ("UPDATE t  SET x = $tag$ a secret $tag$\n WHERE id=7", "UPDATE t SET x = … WHERE id=…"),
        ("SELECT E'a\\'b' FROM t2", "SELECT … FROM t2"),
        ("INSERT INTO t VALUES ('cut off he", "INSERT INTO t VALUES (…"),
        ("SELECT " + "x, " * 100, "SELECT " + ("x, " * 100)[:53] + "…"),
    ],
)
def test_of_a_query_only_the_first_words_are_shown_and_no_literals(query: str, shown: str):
    assert outline(query) == shown
