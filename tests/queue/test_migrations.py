"""The schema: applied once, recorded, refused when outdated."""

import asyncio

import psycopg
import pytest
from procrastinate.schema import SchemaManager

from evalqueue.errors import SchemaOutdated
from evalqueue.postgres import schema
from evalqueue.postgres.database import Database


async def opened(dsn: str) -> Database:
    database = Database(dsn)
    await database.open()
    return database


async def test_migrating_an_empty_database_makes_everything_and_twice_does_nothing(empty_dsn: str):
    database = await opened(empty_dsn)

    first = await schema.migrate(database)
    second = await schema.migrate(database)

    assert first == ["procrastinate/schema", *schema.own_migrations()]
    assert second == []
    await schema.verify(database)
    await database.close()


async def test_a_process_refuses_a_schema_that_lacks_a_migration(empty_dsn: str):
    database = await opened(empty_dsn)

    with pytest.raises(SchemaOutdated, match="evalqueue migrate"):
        await schema.verify(database)
    await schema.migrate(database)
    async with database.connection() as connection:
        await connection.execute("DELETE FROM evalqueue_migrations WHERE name = '0002_runs.sql'")
    with pytest.raises(SchemaOutdated, match="0002_runs.sql"):
        await schema.verify(database)

    await database.close()


async def test_a_database_made_by_a_build_with_other_migrations_is_refused(empty_dsn: str):
    database = await opened(empty_dsn)
    await schema.migrate(database)
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE evalqueue_migrations SET digest = 'other' WHERE name = '0001_jobs.sql'"
        )
    for look in (schema.verify, schema.migrate):
        with pytest.raises(SchemaOutdated, match="0001_jobs.sql was applied here by another build"):
            await look(database)
    async with database.connection() as connection:
        await connection.execute("ALTER TABLE evalqueue_migrations DROP COLUMN digest")
    with pytest.raises(SchemaOutdated, match="another build"):
        await schema.verify(database)

    await database.close()


async def test_eight_processes_migrating_at_once_apply_each_migration_once(empty_dsn: str):
    databases = [await opened(empty_dsn) for _ in range(8)]

    applied = await asyncio.gather(*(schema.migrate(database) for database in databases))

    assert sorted(map(len, applied)) == [0] * 7 + [1 + len(schema.own_migrations())]
    for database in databases:
        await database.close()


async def test_a_migration_that_fails_leaves_nothing_behind(empty_dsn: str):
    database = await opened(empty_dsn)
    async with database.connection() as connection:
        await connection.execute("CREATE TABLE eval_runs (mine integer)")

    with pytest.raises(psycopg.errors.DuplicateTable):
        await schema.migrate(database)

    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT to_regclass('jobs'), to_regclass('evalqueue_migrations')"
        )
        assert await cursor.fetchone() == (None, None)
    await database.close()


async def test_a_host_service_s_own_procrastinate_schema_is_built_upon(empty_dsn: str):
    database = await opened(empty_dsn)
    async with database.connection() as connection:
        await connection.execute(SchemaManager.get_schema())

    applied = await schema.migrate(database)

    assert applied == list(schema.own_migrations())
    await schema.verify(database)
    await database.close()


async def test_everything_is_made_in_the_first_schema_of_the_search_path(empty_dsn: str):
    async with await psycopg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        await connection.execute("CREATE SCHEMA evals")
    database = await opened(f"{empty_dsn}&options=-csearch_path%3Devals")

    await schema.migrate(database)
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT DISTINCT schemaname FROM pg_tables "
            "WHERE tablename IN ('jobs', 'procrastinate_jobs')"
        )
        assert await cursor.fetchall() == [("evals",)]

    # Callable from a connection that knows nothing of the schema: functions carry their path.
    async with await psycopg.AsyncConnection.connect(empty_dsn) as connection:
        await connection.execute("SELECT evals.evalqueue_submit_job('greet', '{}')")
        cursor = await connection.execute("SELECT status FROM evals.jobs")
        assert await cursor.fetchall() == [("queued",)]
    await database.close()
