"""`evalqueue roles`: five roles made by exactly its output, and what each of them can do."""

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from faults.api import api
from faults.deployment import Deployment
from faults.watch import Watch
from psycopg.errors import InsufficientPrivilege

from evalqueue.cli.commands import setup
from evalqueue.postgres import schema
from evalqueue.postgres.database import Database
from evalqueue.postgres.schema import roles
from evalqueue.testing import Behaviour, SimulatedServer

PREFIX = "roles_test"
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


async def test_the_role_that_submits_can_do_nothing_else(restricted: Deployment):
    address = as_role(restricted.address, "submit")
    tables = [name for (name,) in await restricted.watch.rows(TABLES)]
    assert set(tables) == set(roles.tables()), "each table has its rights"
    for table in tables:
        assert await refused(address, f"SELECT FROM {table}"), table
        assert await refused(address, f"DELETE FROM {table}"), table
    allowed = await restricted.watch.rows(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND has_function_privilege(%s, oid, 'EXECUTE')",
        f"{PREFIX}_submit",
    )
    assert allowed == [("evalqueue_submit_job",)]
    assert await refused(
        address, "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    assert not await refused(address, SUBMIT)


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
    assert set(roles.readable()) | set(roles.hidden()) == set(roles.tables())
    assert not set(roles.readable()) & set(roles.hidden())
    for table, columns in roles.readable().items():
        assert not await refused(address, f"SELECT {', '.join(columns) or '*'} FROM {table}"), table
        assert await refused(address, f"DELETE FROM {table}"), table
    for table in roles.hidden():
        assert await refused(address, f"SELECT FROM {table}"), table
    for column in ("api_logs.prompt", "api_logs.response", "scores.evidence"):
        table, name = column.split(".")
        assert await refused(address, f"SELECT {name} FROM {table}"), column
