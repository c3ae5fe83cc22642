"""`migrate --plan`: what would be applied, and which tables it locks, compared with Postgres."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import LiteralString, cast

import pytest

from evalqueue.postgres import schema
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.schema import ledger
from evalqueue.postgres.schema.effects import Lock, Work, effects_of

SYNTHETIC = {
    "constant": "ALTER TABLE jobs ADD COLUMN note text DEFAULT 'a; b';",
    "volatile": "ALTER TABLE jobs ADD COLUMN token uuid DEFAULT gen_random_uuid();",
    "checked": "ALTER TABLE jobs ADD CONSTRAINT c CHECK (attempt >= 0), ALTER owner SET NOT NULL;",
    "unchecked": "ALTER TABLE jobs ADD CONSTRAINT c CHECK (attempt >= 0) NOT VALID;",
    "index": "-- it's for reads\nCREATE INDEX i ON jobs (owner);",
    "dropped": "DROP INDEX jobs_newest;",
    "unique": "ALTER TABLE jobs ADD CONSTRAINT u UNIQUE (id, owner);",
    "key": "ALTER TABLE labels ADD FOREIGN KEY (dataset_id) REFERENCES datasets (id);",
    "column with key": "ALTER TABLE labels ADD COLUMN job uuid REFERENCES jobs (id);",
    "new table": "CREATE TABLE n (job uuid NOT NULL REFERENCES jobs, x text CHECK (x <> ';'));",
    "type": "ALTER TABLE api_logs ALTER COLUMN tokens_in TYPE numeric;",
    "statistics": "ALTER TABLE jobs ALTER COLUMN owner SET (n_distinct = -0.1);",
    "storage": "ALTER TABLE jobs SET (fillfactor = 80);",
    "trigger": "CREATE TRIGGER t BEFORE UPDATE ON jobs FOR EACH ROW"
    " EXECUTE FUNCTION evalqueue_revise();",
    "dropped trigger": "DROP TRIGGER evalqueue_revise ON jobs;",
    "rows": "UPDATE jobs SET priority = 1; INSERT INTO job_queues (name) VALUES ('x');",
    "comment": "COMMENT ON TABLE jobs IS 'ALTER TABLE labels ADD COLUMN x text;';",
}  # fmt: skip

# Locks as pg_locks names them; weaker ones don't matter to other sessions' reads and writes.
_MODES = {
    "RowExclusiveLock": Lock.ROW_EXCLUSIVE,
    "ShareUpdateExclusiveLock": Lock.SHARE_UPDATE_EXCLUSIVE,
    "ShareLock": Lock.SHARE,
    "ShareRowExclusiveLock": Lock.SHARE_ROW_EXCLUSIVE,
    "AccessExclusiveLock": Lock.ACCESS_EXCLUSIVE,
}
_TABLES = (
    "SELECT relname::text, relfilenode FROM pg_class WHERE relkind = 'r'"
    " AND relnamespace = current_schema()::regnamespace"
)
_LOCKED = (
    "SELECT relname::text, mode FROM pg_locks JOIN pg_class ON pg_class.oid = relation"
    " WHERE pid = pg_backend_pid() AND relkind = 'r'"
)


async def tables(connection: Connection) -> dict[str, int]:
    cursor = await connection.execute(_TABLES)
    return dict(await cursor.fetchall())


async def measured(connection: Connection, sql: str) -> tuple[dict[str, Lock], set[str]]:
    """What Postgres locks of the tables that were there, and which of them it writes anew."""
    async with connection.transaction():
        before = await tables(connection)
        await connection.execute(sql.encode())
        cursor = await connection.execute(_LOCKED)
        locks: dict[str, Lock] = {}
        for name, mode in await cursor.fetchall():
            if name in before and mode in _MODES:
                locks[name] = max(_MODES[mode], locks.get(name, Lock.ROW_EXCLUSIVE))
        after = await tables(connection)
        rewritten = {name for name, node in before.items() if after.get(name) not in {node, None}}
    return locks, rewritten


@pytest.mark.parametrize("name", SYNTHETIC)
async def test_the_planned_locks_are_those_that_postgres_takes(database: Database, name: str):
    def defined(_recorded: object = None) -> Mapping[str, LiteralString]:
        return {**known, "9000_next.sql": cast("LiteralString", SYNTHETIC[name])}

    known = ledger.own_migrations()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "own_migrations", defined)
        (step,) = await schema.plan(database)
    async with database.connection() as connection, connection.transaction(force_rollback=True):
        locks, rewritten = await measured(connection, SYNTHETIC[name])

    assert step.name == "9000_next.sql"
    assert {each.table: each.lock for each in step.locks} == locks
    by_work = {each.table for each in step.locks if each.work is Work.REWRITE}
    assert by_work == (rewritten | {"jobs"} if name == "rows" else rewritten)


@pytest.fixture
async def empty(empty_dsn: str) -> AsyncGenerator[Database]:
    database = Database(empty_dsn)
    await database.open()
    yield database
    await database.close()


async def indexed(connection: Connection) -> dict[str, str]:
    """The table of each index."""
    cursor = await connection.execute("SELECT indexname, tablename FROM pg_indexes")
    return dict(await cursor.fetchall())


async def test_every_table_file_takes_the_locks_that_its_plan_says(empty: Database):
    compared: list[str] = []
    async with empty.connection() as connection:
        await connection.execute(ledger.SchemaManager.get_schema())
        for name, sql in ledger.own_migrations().items():
            indexes = await indexed(connection)
            there = set(await tables(connection))
            planned: dict[str, Lock] = {}
            for effect in effects_of(sql):
                table = indexes.get(effect.relation, effect.relation)
                if table in there:
                    planned[table] = max(effect.lock, planned.get(table, effect.lock))
            locks, _ = await measured(connection, sql)
            assert planned == locks, name
            compared += planned
    assert len(compared) > 8


async def test_the_plan_of_an_empty_database_is_what_migrate_then_applies(empty: Database):
    planned = [step.name for step in await schema.plan(empty)]
    applied = await schema.migrate(empty)

    files = [name for name in applied if not name.startswith("functions/")]
    assert planned[: len(files)] == files
    assert {name.split()[0] for name in planned[len(files) :]} == {"create"}
    assert await schema.plan(empty) == []


async def test_a_plan_changes_nothing_waits_for_no_lock_and_knows_how_much_work_it_is(
    empty: Database, monkeypatch: pytest.MonkeyPatch
):
    await schema.migrate(empty)
    sql = cast(
        "LiteralString",
        "ALTER TABLE job_queues ADD COLUMN at timestamptz DEFAULT clock_timestamp();",
    )
    files = {**ledger.own_migrations(), "9000_next.sql": sql}
    monkeypatch.setattr(ledger, "own_migrations", lambda: files)
    async with empty.connection() as connection:
        await connection.execute(
            "INSERT INTO job_queues (name) SELECT 'q' || n FROM generate_series(1, 20000) AS n"
        )
        await connection.execute("ANALYZE job_queues")
        await connection.execute("DROP TRIGGER evalqueue_notify_changed ON jobs")

    async with empty.transaction() as busy:
        await busy.execute("LOCK TABLE jobs, job_queues IN ACCESS EXCLUSIVE MODE")
        async with asyncio.timeout(20):
            steps = await schema.plan(empty)
            assert await schema.plan(empty) == steps

    assert [step.name for step in steps] == [
        "9000_next.sql", "create TRIGGER evalqueue_notify_changed ON jobs",
    ]  # fmt: skip
    ((queues,), (jobs,)) = (step.locks for step in steps)
    assert (queues.lock, queues.work) == (Lock.ACCESS_EXCLUSIVE, Work.REWRITE)
    assert queues.rows == 20_000
    assert queues.bytes > 20_000 * 20
    assert queues.seconds == queues.bytes / 30e6
    assert (jobs.table, jobs.lock, jobs.seconds) == ("jobs", Lock.SHARE_ROW_EXCLUSIVE, 0.0)
