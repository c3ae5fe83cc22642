"""The schema: table files applied once, functions re-applied, recorded, refused when outdated."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import psycopg
import pytest
from procrastinate.schema import SchemaManager

from evalqueue.errors import SchemaOutdated
from evalqueue.postgres import definitions, schema
from evalqueue.postgres.database import Database
from evalqueue.postgres.definitions import Definition, parsed, read_definitions

REVISE = "FUNCTION evalqueue_revise"
NOTIFIES = "TRIGGER evalqueue_notify_changed ON jobs"


async def opened(dsn: str) -> Database:
    database = Database(dsn)
    await database.open()
    return database


@pytest.fixture
async def migrated(dsn: str) -> AsyncGenerator[Database]:
    """A migrated database, whose schema a test may change."""
    database = await opened(dsn)
    yield database
    async with database.connection() as connection:
        # So that no later test gets it.
        await connection.execute("CREATE TABLE IF NOT EXISTS spoilt ()")
    await database.close()


async def rows(database: Database, sql: str, *arguments: object) -> list[Any]:
    async with database.connection() as connection:
        cursor = await connection.execute(sql.encode(), arguments)
        return await cursor.fetchall()


async def run(database: Database, sql: str) -> None:
    async with database.connection() as connection:
        await connection.execute(sql.encode())


async def shape(database: Database) -> list[Any]:
    """Our functions and triggers in the catalog, and the transaction that wrote each."""
    return await rows(
        database,
        "SELECT oid::bigint, xmin::text, pg_get_functiondef(oid) FROM pg_proc"
        " WHERE proname LIKE 'evalqueue%%' AND prokind = 'f'"
        " UNION ALL SELECT oid::bigint, xmin::text, pg_get_triggerdef(oid) FROM pg_trigger"
        " WHERE tgname LIKE 'evalqueue%%' ORDER BY 1",
    )


def defined(monkeypatch: pytest.MonkeyPatch, changed: Mapping[str, Definition | None]) -> None:
    """Replace definitions in the files; None removes one."""
    wanted = dict(read_definitions()) | dict(changed)
    files = {name: each for name, each in wanted.items() if each is not None}
    monkeypatch.setattr(definitions, "read_definitions", lambda: files)


def edited(name: str, old: str, new: str) -> dict[str, Definition | None]:
    """The same file, with an edit in one of its definitions."""
    before = read_definitions()[name]
    assert old in before.sql
    (after,) = parsed(before.file, before.sql.replace(old, new))
    return {after.name: after}


async def test_migrating_an_empty_database_makes_everything_and_twice_does_nothing(empty_dsn: str):
    database = await opened(empty_dsn)

    first = await schema.migrate(database)
    before = await shape(database)
    second = await schema.migrate(database)

    files = dict.fromkeys(each.file for each in read_definitions().values())
    assert first == ["procrastinate/schema", *schema.own_migrations(), *files]
    assert second == []
    assert await shape(database) == before, "not even written anew"
    await schema.verify(database)
    await database.close()


async def test_a_process_refuses_a_schema_that_lacks_a_migration(empty_dsn: str):
    database = await opened(empty_dsn)

    with pytest.raises(SchemaOutdated, match="evalqueue migrate"):
        await schema.verify(database)
    await schema.migrate(database)
    await run(database, "DELETE FROM evalqueue_migrations WHERE name = '0002_fleet.sql'")
    with pytest.raises(SchemaOutdated, match=r"0002_fleet\.sql"):
        await schema.verify(database)

    await database.close()


async def test_a_database_made_by_a_build_with_other_migrations_is_refused(empty_dsn: str):
    database = await opened(empty_dsn)
    await schema.migrate(database)
    await run(
        database, "UPDATE evalqueue_migrations SET digest = 'other' WHERE name = '0001_jobs.sql'"
    )
    for look in (schema.verify, schema.migrate):
        with pytest.raises(
            SchemaOutdated, match=r"0001_jobs\.sql was applied here by another build"
        ):
            await look(database)
    # As the first builds left it: a ledger with digests, and before that with names only.
    for columns in ("signature, DROP COLUMN earlier", "digest"):
        await run(database, f"ALTER TABLE evalqueue_migrations DROP COLUMN {columns}")
        for look in (schema.verify, schema.migrate):
            with pytest.raises(SchemaOutdated, match="Make the database anew"):
                await look(database)

    await database.close()


async def test_eight_processes_migrating_at_once_apply_each_migration_once(empty_dsn: str):
    databases = [await opened(empty_dsn) for _ in range(8)]

    applied = await asyncio.gather(*(schema.migrate(database) for database in databases))

    files = {each.file for each in read_definitions().values()}
    assert sorted(map(len, applied)) == [0] * 7 + [1 + len(schema.own_migrations()) + len(files)]
    for database in databases:
        await database.close()


async def test_a_migration_that_fails_leaves_nothing_behind(empty_dsn: str):
    database = await opened(empty_dsn)
    await run(database, "CREATE TABLE eval_runs (mine integer)")

    with pytest.raises(psycopg.errors.DuplicateTable):
        await schema.migrate(database)

    assert await rows(
        database, "SELECT to_regclass('jobs'), to_regclass('evalqueue_migrations')"
    ) == [(None, None)]  # fmt: skip
    await database.close()


async def test_a_host_service_s_own_procrastinate_schema_is_built_upon(empty_dsn: str):
    database = await opened(empty_dsn)
    async with database.connection() as connection:
        await connection.execute(SchemaManager.get_schema())

    applied = await schema.migrate(database)

    assert applied[: len(schema.own_migrations())] == list(schema.own_migrations())
    await schema.verify(database)
    await database.close()


async def test_everything_is_made_in_the_first_schema_of_the_search_path(empty_dsn: str):
    async with await psycopg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        await connection.execute("CREATE SCHEMA evals")
    database = await opened(f"{empty_dsn}&options=-csearch_path%3Devals")

    await schema.migrate(database)
    assert await schema.migrate(database) == []
    assert await rows(
        database,
        "SELECT DISTINCT schemaname FROM pg_tables"
        " WHERE tablename IN ('jobs', 'procrastinate_jobs')",
    ) == [("evals",)]  # fmt: skip

    # Callable from a connection that knows nothing of the schema: functions carry their path.
    async with await psycopg.AsyncConnection.connect(empty_dsn) as connection:
        await connection.execute("SELECT evals.evalqueue_submit_job('greet', '{}')")
        cursor = await connection.execute("SELECT status FROM evals.jobs")
        assert await cursor.fetchall() == [("queued",)]
    await database.close()


async def test_a_changed_function_is_applied_once_and_nothing_else_is_touched(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
):
    before = await shape(migrated)
    defined(monkeypatch, edited(REVISE, "+ 1;", "+ 2;"))

    with pytest.raises(SchemaOutdated, match=REVISE):
        await schema.verify(migrated)
    assert await schema.migrate(migrated) == ["functions/queue/events.sql"]
    await schema.verify(migrated)
    assert await schema.migrate(migrated) == []

    changed = set(await shape(migrated)) - set(before)
    assert [text for _, _, text in changed if "OLD.revision + 2" in text] != []
    assert len(changed) == 1


async def test_an_older_build_of_the_same_functions_starts_and_its_migrate_brings_them_back(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as newer:
        defined(newer, edited(REVISE, "+ 1;", "+ 2;"))
        await schema.migrate(migrated)
    await schema.verify(migrated)  # a worker of the older build that starts during a deploy

    assert await schema.migrate(migrated) == ["functions/queue/events.sql"]
    with monkeypatch.context() as newer:
        defined(newer, edited(REVISE, "RETURNS trigger", "RETURNS TRIGGER"))
        await schema.migrate(migrated)
    with pytest.raises(SchemaOutdated, match=REVISE):
        await schema.verify(migrated)  # what it would call has another signature


async def test_functions_of_a_build_with_later_tables_are_left_alone(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as newer:
        defined(newer, edited(REVISE, "+ 1;", "+ 2;"))
        await schema.migrate(migrated)
        await run(migrated, "INSERT INTO evalqueue_migrations VALUES ('9999_later.sql', 'new')")
    before = await shape(migrated)

    await schema.verify(migrated)
    assert await schema.migrate(migrated) == []
    assert await shape(migrated) == before


async def test_a_function_with_another_signature_replaces_the_old_one_and_its_triggers_follow(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
):
    triggers = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    before = await rows(migrated, triggers)
    due = edited(
        "FUNCTION evalqueue_next_due",
        "worker text DEFAULT NULL)",
        "worker text DEFAULT NULL, x integer DEFAULT NULL)",
    )
    notifies = edited(
        "FUNCTION evalqueue_notify_changed", "LANGUAGE plpgsql", "LANGUAGE plpgsql COST 7"
    )
    defined(monkeypatch, {**due, **notifies})

    assert await schema.migrate(migrated) == [
        "functions/queue/claim.sql", "functions/queue/events.sql",
    ]  # fmt: skip

    assert await rows(
        migrated,
        "SELECT pronargs, procost FROM pg_proc"
        " WHERE proname IN ('evalqueue_next_due', 'evalqueue_notify_changed') ORDER BY pronargs",
    ) == [(0, 7), (3, 100)]
    assert await rows(migrated, triggers) == before


async def test_what_is_removed_from_the_files_is_dropped(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
):
    await run(migrated, "CREATE FUNCTION evalqueue_theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    gone = ("TRIGGER evalqueue_notify_new ON jobs", NOTIFIES, "FUNCTION evalqueue_notify_changed")
    defined(monkeypatch, dict.fromkeys(gone))

    done = await schema.migrate(migrated)

    assert sorted(done) == sorted(f"DROP {name}" for name in gone)
    assert await schema.migrate(migrated) == []
    assert await rows(
        migrated, "SELECT proname FROM pg_proc WHERE proname ~ '^evalqueue_(theirs|notify)'"
    ) == [("evalqueue_theirs",)], "what we did not create is not ours to drop"


async def test_a_function_that_fails_undoes_the_whole_migration(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
):
    before = await shape(migrated)
    wrong = edited("FUNCTION evalqueue_open_run", "job jobs", "job no_such_table")
    defined(monkeypatch, edited(REVISE, "+ 1;", "+ 2;") | wrong)

    with pytest.raises(psycopg.errors.UndefinedObject):
        await schema.migrate(migrated)

    assert await shape(migrated) == before


async def test_a_trigger_that_a_table_change_took_away_comes_back(migrated: Database):
    await run(migrated, "DROP TRIGGER evalqueue_notify_changed ON jobs")

    assert await schema.migrate(migrated) == ["functions/queue/events.sql"]
    assert await schema.migrate(migrated) == []


async def test_a_changed_view_is_made_anew(migrated: Database, monkeypatch: pytest.MonkeyPatch):
    (view,) = parsed("functions/v.sql", "CREATE VIEW evalqueue_v AS SELECT 1 AS one;\n")
    (other,) = parsed("functions/v.sql", "CREATE VIEW evalqueue_v AS SELECT 'a' AS other;\n")
    for each in (view, other):
        with monkeypatch.context() as patched:
            defined(patched, {each.name: each})
            assert await schema.migrate(migrated) == ["functions/v.sql"]
            assert await schema.migrate(migrated) == []

    assert await rows(migrated, "SELECT other FROM evalqueue_v") == [("a",)]
    assert await schema.migrate(migrated) == ["DROP VIEW evalqueue_v"]


async def test_a_view_that_gets_a_column_keeps_its_rights_and_the_views_of_others(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
):
    start = "CREATE OR REPLACE VIEW evalqueue_v AS SELECT 1 AS one"
    (view,) = parsed("functions/v.sql", f"{start};\n")
    (longer,) = parsed("functions/v.sql", f"{start}, 2 AS two;\n")
    with monkeypatch.context() as patched:
        defined(patched, {view.name: view})
        await schema.migrate(migrated)
    await run(migrated, "GRANT SELECT ON evalqueue_v TO PUBLIC")
    await run(migrated, "CREATE VIEW theirs AS SELECT one FROM evalqueue_v")

    with monkeypatch.context() as patched:
        defined(patched, {longer.name: longer})
        assert await schema.migrate(migrated) == ["functions/v.sql"]

    assert await rows(migrated, "SELECT one, two FROM theirs, evalqueue_v AS v (_, two)") == [
        (1, 2)
    ]
    assert await rows(
        migrated, "SELECT has_table_privilege('public', 'evalqueue_v', 'SELECT')"
    ) == [(True,)]


async def test_a_view_is_made_anew_with_a_function_that_it_uses_and_keeps_its_rights(
    migrated: Database, monkeypatch: pytest.MonkeyPatch
):
    (view,) = parsed(
        "functions/v.sql",
        "CREATE OR REPLACE VIEW evalqueue_v AS SELECT evalqueue_one() AS one;\n",
    )
    functions = [
        parsed(
            "functions/f.sql",
            "CREATE OR REPLACE FUNCTION evalqueue_one() RETURNS integer\n"
            f"LANGUAGE sql {volatility} AS $$ SELECT 1 $$;\n",
        )[0]
        for volatility in ("STABLE", "IMMUTABLE")
    ]
    for number, function in enumerate(functions):
        with monkeypatch.context() as patched:
            defined(patched, {function.name: function, view.name: view})
            assert await schema.migrate(migrated) == ["functions/f.sql", "functions/v.sql"]
        if number == 0:
            await run(migrated, "GRANT SELECT ON evalqueue_v TO PUBLIC")

    assert await rows(
        migrated, "SELECT has_table_privilege('public', 'evalqueue_v', 'SELECT')"
    ) == [(True,)]


async def test_an_unchanged_schema_is_migrated_while_jobs_are_locked(migrated: Database):
    async with migrated.transaction() as busy:
        await busy.execute("LOCK TABLE jobs, procrastinate_jobs IN ACCESS EXCLUSIVE MODE")

        async with asyncio.timeout(10):
            assert await schema.migrate(migrated) == []
            await schema.verify(migrated)


async def test_every_function_body_is_valid(migrated: Database):
    async with migrated.transaction() as connection:
        for each in read_definitions().values():
            if each.name.startswith("FUNCTION"):
                await connection.execute(each.sql.encode())
