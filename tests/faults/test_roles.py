"""`evalqueue roles`: five roles made by exactly its output, and what each of them can do."""

import asyncio
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from faults.api import api
from faults.deployment import Deployment
from faults.watch import Watch
from psycopg.errors import InsufficientPrivilege, ObjectNotInPrerequisiteState

from evalqueue import doctor
from evalqueue.cli.commands import setup
from evalqueue.errors import SchemaLocked
from evalqueue.postgres import schema
from evalqueue.postgres.database import Database
from evalqueue.postgres.schema import roles
from evalqueue.testing import Behaviour, SimulatedServer

PREFIX = "roles_test"
POST = (
    "SELECT evalqueue_post_messages("
    '\'{"thread_id": "c", "messages": [{"role": "user", "content": "Hi", "id": "m"}]}\')'
)
SUBMIT = """SELECT evalqueue_submit_job('evaluate-batch',
    '{"llm_provider": "simulated", "total_items": 3}', owner => 'default')"""
TABLES = (
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
)


def as_role(address: str, role: str) -> str:
    return psycopg.conninfo.make_conninfo(address, options=f"-c role={PREFIX}_{role}")


@pytest.fixture
async def restricted(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> Deployment:
    """A database that the owner role has migrated, between two runs of the printed SQL."""
    name = f"{deployment.database}_roles"
    setup.roles("public", PREFIX)
    printed = capsys.readouterr().out
    async with await deployment.server.connect() as admin:
        await admin.execute(f"CREATE DATABASE {name}".encode())
    address = deployment.server.address(name)
    database = Database(as_role(address, "owner"))
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as admin:
        await admin.execute(printed.encode())
        await database.open()
        await schema.migrate(database)
        await admin.execute(printed.encode())
        await admin.execute(printed.encode())
    await database.close()
    return replace(deployment, database=name, watch=Watch(address))


async def refused(address: str, statement: str) -> bool:
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        try:
            await connection.execute(statement.encode())
        except InsufficientPrivilege:
            return True
    return False


async def test_each_process_works_with_its_own_role(restricted: Deployment, tmp_path: Path):
    async with (
        SimulatedServer(Behaviour()) as judge,
        api(as_role(restricted.address, "api"), tmp_path) as http,
    ):
        simulated = {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": judge.url}
        worker = restricted.fleet.start(as_role(restricted.address, "worker"), **simulated)
        await worker.ready()
        submitting = as_role(restricted.address, "submit")
        async with await psycopg.AsyncConnection.connect(submitting, autocommit=True) as host:
            # What the caller's session looks first for is not what the function calls.
            await host.execute("SET search_path = pg_temp, public")
            cursor = await host.execute(SUBMIT)
            ((job_id,),) = await cursor.fetchall()
        posted = await http.post(
            "/api/jobs",
            json={"job_type": "evaluate-batch",
                  "params": {"llm_provider": "simulated", "total_items": 2}},
        )  # fmt: skip
        assert posted.status_code < 300, posted.text
        await restricted.watch.until("SELECT bool_and(completed_at IS NOT NULL) FROM jobs")
        assert (await http.get(f"/api/jobs/{job_id}")).json()["status"] == "completed"
        paths = (await http.get("/openapi.json")).json()["paths"]
        for path, operations in paths.items():
            if "get" in operations and "{" not in path and not path.endswith("/events"):
                assert (await http.get(path)).status_code == 200, path
    assert "permission denied" not in worker.log_text()


async def cancelled(address: str, job_id: object) -> bool:
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        cursor = await connection.execute("SELECT evalqueue_cancel_job(%s)", [job_id])
        ((is_cancelled,),) = await cursor.fetchall()
    return is_cancelled


async def queued(deployment: Deployment) -> object:
    return await deployment.watch.value(
        "SELECT evalqueue_submit_job('evaluate-batch',"
        ' \'{"llm_provider": "simulated", "total_items": 3}\', queue => \'nobody\')'
    )


@pytest.mark.parametrize("role", ["worker", "api"])
async def test_a_role_that_makes_changes_can_not_make_up_rows_of_the_audit_log(
    restricted: Deployment, role: str
):
    address = as_role(restricted.address, role)
    assert await cancelled(address, await queued(restricted))
    for forged in (
        "INSERT INTO audit_log (actor, role, door, action, subject_kind, subject_id, details)"
        " VALUES ('boss', 'postgres', 'cli', 'queue.pause', 'queue', 'q', '{}')",
        "UPDATE audit_log SET actor = 'boss'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
    ):
        with pytest.raises((ObjectNotInPrerequisiteState, InsufficientPrivilege)):
            await execute(address, forged)

    rows = await restricted.watch.rows("SELECT action, actor FROM audit_log WHERE door = 'sql'")
    assert [action for action, _ in rows] == ["job.cancel"]


async def execute(address: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        await connection.execute(statement.encode())


async def test_a_role_with_rights_given_by_hand_needs_none_on_the_audit_log(
    restricted: Deployment,
):
    async with await psycopg.AsyncConnection.connect(restricted.address, autocommit=True) as admin:
        await admin.execute(f"DROP ROLE IF EXISTS {PREFIX}_byhand".encode())
        await admin.execute(f"CREATE ROLE {PREFIX}_byhand".encode())
        for rights in ("ALL TABLES", "ALL SEQUENCES", "ALL FUNCTIONS"):
            await admin.execute(
                f"GRANT ALL ON {rights} IN SCHEMA public TO {PREFIX}_byhand".encode()
            )
        await admin.execute(f"REVOKE ALL ON audit_log FROM {PREFIX}_byhand".encode())
        try:
            byhand = as_role(restricted.address, "byhand")
            assert await cancelled(byhand, await queued(restricted))
        finally:
            await admin.execute(f"DROP OWNED BY {PREFIX}_byhand".encode())
            await admin.execute(f"DROP ROLE {PREFIX}_byhand".encode())

    assert await restricted.watch.value("SELECT count(*) FROM audit_log") == 1


async def test_the_role_that_submits_and_posts_can_do_nothing_else(restricted: Deployment):
    address = as_role(restricted.address, "submit")
    tables = [name for (name,) in await restricted.watch.rows(TABLES)]
    assert set(tables) == set(roles.tables()), "each table has its rights"
    for table in tables:
        assert await refused(address, f"SELECT FROM {table}"), table
        if table in roles.tables():  # nothing can be deleted from the views
            assert await refused(address, f"DELETE FROM {table}"), table
    allowed = await restricted.watch.rows(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND has_function_privilege(%s, oid, 'EXECUTE')",
        f"{PREFIX}_submit",
    )
    assert sorted(name for (name,) in allowed) == [
        "evalqueue_post_messages", "evalqueue_post_rows", "evalqueue_submit_job",
        "evalqueue_unwatch", "evalqueue_watch",
    ]  # fmt: skip
    bounds = await restricted.watch.rows(
        "SELECT rolconnlimit, rolconfig FROM pg_roles WHERE rolname = %s", f"{PREFIX}_submit"
    )
    assert bounds == [(20, ["statement_timeout=10s"])]
    assert await refused(
        address, "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    assert not await refused(address, SUBMIT)
    assert not await refused(address, POST)


CHAT = f"""
    CREATE SCHEMA chat AUTHORIZATION {PREFIX}_submit;
    SET ROLE {PREFIX}_submit;
    CREATE TYPE chat.word AS ENUM ('user', 'assistant');
    CREATE TABLE chat.seen (by text);
    CREATE TABLE chat.lines (id int, thread text, role chat.word, content text);
    CREATE FUNCTION chat.spy(chat.word) RETURNS text LANGUAGE sql
        AS 'INSERT INTO chat.seen VALUES (current_user); SELECT ''user''';
    CREATE CAST (chat.word AS text) WITH FUNCTION chat.spy AS IMPLICIT;
    SELECT evalqueue_watch('chat.lines', thread_id => 'thread');
    GRANT USAGE ON SCHEMA chat TO {PREFIX}_read;
    GRANT INSERT ON chat.lines TO {PREFIX}_read;
"""


async def test_who_owns_a_table_watches_it_and_who_inserts_needs_no_rights(restricted: Deployment):
    """What runs with the rights of our owner calls no function of the table's owner."""
    async with await psycopg.AsyncConnection.connect(restricted.address, autocommit=True) as admin:
        await admin.execute(CHAT.encode())
    reader = as_role(restricted.address, "read")
    async with await psycopg.AsyncConnection.connect(reader, autocommit=True) as application:
        await application.execute("CREATE TEMP TABLE watched_rows (owner text, cells jsonb)")
        await application.execute("SET search_path = pg_temp, public")
        await application.execute("INSERT INTO chat.lines VALUES (1, 'c1', 'user', 'Hi')")

    assert await restricted.watch.rows("SELECT cells ->> 'role' FROM watched_rows") == [("user",)]
    assert await restricted.watch.rows("SELECT by FROM chat.seen") == []
    assert await refused(reader, "SELECT evalqueue_watch('chat.lines', thread_id => 'thread')")
    assert await refused(
        as_role(restricted.address, "submit"),
        "SELECT evalqueue_watch('jobs', thread_id => 'id', content => 'params', role => 'queue')",
    )


async def test_what_others_made_before_goes_on(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
):
    """Migrated by a superuser, in a database where anybody calls procrastinate's functions."""
    setup.roles("public", PREFIX)
    printed = capsys.readouterr().out
    async with await deployment.server.connect(deployment.database) as admin:
        await admin.execute(printed.encode())
        cursor = await admin.execute(
            "SELECT proname, proowner::regrole::text,"
            " has_function_privilege('public', oid, 'EXECUTE') FROM pg_proc"
            " WHERE proname IN ('evalqueue_submit_job', 'procrastinate_fetch_job_v2')"
            " ORDER BY 1"
        )
        own, others = await cursor.fetchall()
        cursor = await admin.execute("SELECT current_user::text")
        ((me,),) = await cursor.fetchall()
    assert own == ("evalqueue_submit_job", f"{PREFIX}_owner", False)
    assert others == ("procrastinate_fetch_job_v2", me, True)


async def test_a_migration_that_makes_functions_anew_keeps_their_rights(restricted: Deployment):
    address = as_role(restricted.address, "submit")
    database = Database(as_role(restricted.address, "owner"))
    await database.open()
    async with database.connection() as connection:
        # Its signature differs, so that it is dropped and made anew.
        await connection.execute(
            "UPDATE evalqueue_migrations SET digest = '', signature = ''"
            " WHERE name = 'FUNCTION evalqueue_submit_job'"
        )
    assert await schema.migrate(database) == ["functions/queue/submit.sql"]
    await database.close()

    assert not await refused(address, SUBMIT)
    assert await refused(address, "SELECT evalqueue_add_job('x')")


async def test_every_table_function_and_sequence_is_some_role_s(restricted: Deployment):
    functions = await restricted.watch.rows(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    )
    assert {name for (name,) in functions} == set(roles.functions())
    lacking = await restricted.watch.rows(
        "SELECT relname FROM pg_class CROSS JOIN unnest(%s::text[]) AS role (name)"
        " WHERE relnamespace = 'public'::regnamespace AND CASE relkind"
        "   WHEN 'S' THEN NOT has_sequence_privilege(role.name, oid, 'USAGE')"
        "   WHEN 'r' THEN NOT has_table_privilege(role.name, oid, 'SELECT') ELSE false END",
        [f"{PREFIX}_worker", f"{PREFIX}_api"],
    )
    assert lacking == []


async def test_the_role_that_reads_reads_no_texts(restricted: Deployment):
    address = as_role(restricted.address, "read")
    relations = {*roles.tables(), *roles.own_relations()}
    assert set(roles.readable()) | set(roles.hidden()) == relations
    assert not set(roles.readable()) & set(roles.hidden())
    for table, columns in roles.readable().items():
        assert not await refused(address, f"SELECT {', '.join(columns) or '*'} FROM {table}"), table
        if table in roles.tables():  # nothing can be deleted from the views
            assert await refused(address, f"DELETE FROM {table}"), table
    for table in roles.hidden():
        assert await refused(address, f"SELECT FROM {table}"), table
    for column in ("api_logs.prompt", "api_logs.response", "scores.evidence",
                   "evalqueue_scores.reasoning", "evalqueue_scores.expected",
                   "run_shares.token_hash"):  # fmt: skip
        table, name = column.split(".")
        assert await refused(address, f"SELECT {name} FROM {table}"), column


async def examined(address: str, role: str) -> dict[str, list[doctor.Finding]]:
    """What doctor finds as a role, by the names of the checks."""
    found: dict[str, list[doctor.Finding]] = defaultdict(list)
    database = Database(as_role(address, role))
    await database.open()
    try:
        for each in await doctor.examine(database, keeps_jobs_for_ever=True):
            found[each.name].append(each)
    finally:
        await database.close()
    return found


async def test_doctor_names_each_right_that_is_missing_with_its_grant(restricted: Deployment):
    address, worker = restricted.address, f"{PREFIX}_worker"
    assert (await examined(address, "worker"))["rights"] == []
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as admin:
        for statement in (
            f"REVOKE INSERT, DELETE ON scores FROM {worker}",
            f"REVOKE EXECUTE ON FUNCTION evalqueue_start_helpers FROM {worker}",
            f"GRANT pg_read_all_stats TO {worker}",
        ):
            await admin.execute(statement.encode())
        lacking = await examined(address, "worker")
        assert {each.level for each in lacking["rights"]} == {"wrong"}
        cures = {each.fix for each in lacking["rights"]}
        assert cures == {
            f"GRANT INSERT, DELETE ON TABLE scores TO {worker};",
            f"GRANT EXECUTE ON FUNCTION evalqueue_start_helpers(uuid,integer,integer) TO {worker};",
        }
        assert lacking["sessions"] == []
        for cure in cures:
            await admin.execute(str(cure).encode())
    assert (await examined(address, "worker"))["rights"] == []


async def test_a_role_that_only_reads_is_told_of_its_rights_and_of_no_migration(
    restricted: Deployment, tmp_path: Path
):
    found = await examined(restricted.address, "read")
    assert [each.level for each in found["schema"]] == ["ok"]
    assert {each.level for each in found["rights"]} == {"note"}
    assert any("procrastinate_jobs" in each.what for each in found["rights"])
    assert [each.level for each in (await examined(restricted.address, "submit"))["schema"]] == [
        "wrong"
    ]
    told = await run_command(as_role(restricted.address, "read"), tmp_path, "status")
    assert told.returncode == 1
    assert "permission denied" in told.stderr
    assert "evalqueue doctor names the rights" in told.stderr
    assert "evalqueue migrate" not in told.stderr


async def test_a_schema_that_a_role_may_not_use_is_not_called_outdated(
    restricted: Deployment, tmp_path: Path
):
    async with await psycopg.AsyncConnection.connect(restricted.address, autocommit=True) as admin:
        await admin.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
        await admin.execute(f"REVOKE USAGE ON SCHEMA public FROM {PREFIX}_api".encode())
    told = await run_command(as_role(restricted.address, "api"), tmp_path, "status")
    assert told.returncode == 1
    assert f"GRANT USAGE ON SCHEMA public TO {PREFIX}_api;" in told.stderr
    (found,) = (await examined(restricted.address, "api"))["schema"]
    assert f"GRANT USAGE ON SCHEMA public TO {PREFIX}_api;" in found.what


async def test_a_later_migration_gives_readers_their_rights_and_names_who_lacks_some(
    restricted: Deployment,
):
    new = "SELECT FROM source_positions"
    for role, names_the_worker in (("owner", False), ("administrator", True)):
        async with await psycopg.AsyncConnection.connect(
            restricted.address, autocommit=True
        ) as admin:
            await admin.execute("DROP TABLE source_positions")
            await admin.execute("DELETE FROM evalqueue_migrations WHERE name = '0009_sources.sql'")
        reported: list[str] = []
        address = restricted.address
        database = Database(as_role(address, role) if role == "owner" else address)
        await database.open()
        await schema.migrate(database, report=reported.append)
        await database.close()
        assert not await refused(as_role(restricted.address, "read"), new), role
        lacking = [each for each in reported if "lacks rights" in each]
        assert bool(lacking) is names_the_worker, reported
        assert await refused(as_role(restricted.address, "worker"), new) is names_the_worker
    assert any(f"The role {PREFIX}_worker lacks rights" in each for each in lacking)
    assert await refused(as_role(restricted.address, "read"), "SELECT params FROM jobs")


async def test_an_owner_who_sees_no_other_sessions_is_told_who_is_in_its_way(
    restricted: Deployment,
):
    async with await psycopg.AsyncConnection.connect(restricted.address, autocommit=True) as admin:
        await admin.execute("DROP TRIGGER evalqueue_notify_changed ON jobs")
    reported: list[str] = []
    database = Database(as_role(restricted.address, "owner"))
    await database.open()
    async with await psycopg.AsyncConnection.connect(
        as_role(restricted.address, "worker"), application_name="nightly report"
    ) as session:
        await session.execute("UPDATE jobs SET owner = owner WHERE false")
        with pytest.raises(SchemaLocked):
            await schema.migrate(database, wait_seconds=1, report=reported.append)
        pid = session.info.backend_pid
    await database.close()
    (line,) = {each for each in reported if each.startswith("Waiting for")}
    assert f"pid {pid}, " in line
    assert f"user {PREFIX}" in line or "user postgres" in line
    assert line.endswith("seen with pg_read_all_stats only, in pg_stat_activity by its pid")


async def run_command(
    address: str, home: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "evalqueue", *arguments],
            env=os.environ | {"DATABASE_URL": address, "EVALQUEUE_HOME": str(home)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return await asyncio.to_thread(run)
