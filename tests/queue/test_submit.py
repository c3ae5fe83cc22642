"""Submitting: from every driver, atomically with the caller's own writes."""

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import psycopg
import pytest
from psycopg.types.json import Jsonb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from evalqueue import Client, InvalidParams, JobParams, JobStatus, UnknownJobType
from evalqueue.evaluators.runs.params import RunParams
from evalqueue.postgres.addresses import asyncpg_dsn
from evalqueue.postgres.database import Database
from evalqueue.postgres.embedded import binaries

SUBMIT = "SELECT evalqueue_submit_job('greet', '{\"name\": \"Asha\"}')"


class Greet(JobParams, job_type="greet"):
    name: str
    times: int = 1


class Evaluate(RunParams, job_type="judge-something"):
    data: str = "some"


async def jobs_in(database: Database) -> int:
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM procrastinate_jobs)"
        )
        row = await cursor.fetchone()
    assert row is not None
    assert row[0] == row[1], "a job has a task, and a task a job"
    return row[0]


async def test_a_submitted_job_is_queued_with_what_was_set(dsn: str):
    async with Client(dsn) as client:
        job = await client.submit(Greet(name="Asha"))

        assert job.status is JobStatus.QUEUED
        assert job.params == {"name": "Asha"}
        assert (job.progress.current, job.progress.total, job.progress.message) == (0, 0, "")
        assert await client.get(job.id) == job


async def test_a_psycopg_transaction_decides_whether_the_job_exists(dsn: str, database: Database):
    async with Client(dsn) as client, await psycopg.AsyncConnection.connect(dsn) as mine:
        await mine.execute("CREATE TABLE orders (id integer)")
        await mine.commit()

        await mine.execute("INSERT INTO orders VALUES (1)")
        await client.submit(Greet(name="Asha"), connection=mine)
        assert await jobs_in(database) == 0, "it is not visible before the commit"
        await mine.rollback()
        assert await jobs_in(database) == 0

        job = await client.submit(Greet(name="Asha"), connection=mine)
        await mine.commit()
        assert await jobs_in(database) == 1
        assert (await client.get(job.id)).status is JobStatus.QUEUED


async def test_asyncpg_submits_in_its_own_transaction(dsn: str, database: Database):
    connection = await asyncpg.connect(asyncpg_dsn(dsn))
    with pytest.raises(ZeroDivisionError):
        async with connection.transaction():
            await connection.fetchval(SUBMIT)
            raise ZeroDivisionError
    assert await jobs_in(database) == 0

    async with connection.transaction():
        job_id = await connection.fetchval(
            "SELECT evalqueue_submit_job($1, $2)", "greet", json.dumps({"name": "Asha"})
        )
    await connection.close()

    assert isinstance(job_id, UUID)
    assert await jobs_in(database) == 1


async def test_sqlalchemy_submits_in_its_own_transaction(dsn: str, database: Database):
    engine = create_async_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    async with engine.connect() as connection:
        await connection.execute(text(SUBMIT.replace(":", "\\:")))
        await connection.rollback()
        assert await jobs_in(database) == 0
        found = await connection.execute(
            text("SELECT evalqueue_submit_job(:job_type, CAST(:params AS jsonb))"),
            {"job_type": "greet", "params": '{"name": "Asha"}'},
        )
        assert isinstance(found.scalar_one(), UUID)
        await connection.commit()
    await engine.dispose()

    assert await jobs_in(database) == 1


def test_psql_submits(dsn: str):
    psql = shutil.which("psql") or _bundled_psql()
    environment = os.environ | {"PAGER": ""}
    done = subprocess.run(
        [psql, dsn, "-Atc", SUBMIT], capture_output=True, text=True, check=True, env=environment
    )
    assert UUID(done.stdout.strip())
    listed = subprocess.run(
        [psql, dsn, "-Atc",
         "SELECT id, status, job_type FROM jobs ORDER BY created_at DESC LIMIT 5"],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert listed.stdout.strip() == f"{done.stdout.strip()}|queued|greet"


def _bundled_psql() -> str:
    return str(binaries.installed().path("psql"))


async def test_a_job_that_evaluates_has_a_pending_run_from_the_start(dsn: str, database: Database):
    async with Client(dsn) as client:
        job = await client.submit(Evaluate())
        await client.submit(Greet(name="Asha"))

    async with database.connection() as connection:
        cursor = await connection.execute("SELECT id::text, job_id, status, command FROM eval_runs")
        runs = await cursor.fetchall()
    assert runs == [(job.progress.details["run_id"], job.id, "pending", "judge-something")]


async def test_csv_content_is_kept_once_by_its_hash_and_never_in_the_job(database: Database):
    content = "a,b\n1,2\n"
    async with database.connection() as connection:
        for _ in range(2):
            await connection.execute(
                "SELECT evalqueue_submit_job('evaluate-it',"
                " jsonb_build_object('csv_content', %s::text))",
                [content],
            )
        cursor = await connection.execute("SELECT DISTINCT params FROM jobs")
        (params,) = await cursor.fetchall()
        cursor = await connection.execute("SELECT id, content, size_bytes FROM datasets")
        datasets = await cursor.fetchall()

    assert params[0] == {"dataset_id": datasets[0][0]}
    assert datasets == [(datasets[0][0], content, len(content))]


async def test_wrong_params_are_refused_all_at_once_and_nothing_is_stored(
    dsn: str, database: Database
):
    async with Client(dsn, job_types=[Greet]) as client:
        with pytest.raises(InvalidParams) as refused:
            await client.submit_params("greet", {"times": "often", "tmies": 3})
        with pytest.raises(UnknownJobType, match="Unknown job_type: great. Known: greet"):
            await client.submit_params("great", {})

    assert [problem.loc for problem in refused.value.problems] == [
        ("params", "name"), ("params", "times"), ("params", "tmies"),
    ]  # fmt: skip
    assert await jobs_in(database) == 0


@pytest.mark.parametrize(
    ("arguments", "constraint"),
    [
        ("'Greet Asha!', '{}'", "jobs_job_type_is_a_name"),
        ("'greet', '{}', max_attempts => 0", "jobs_attempts_are_sane"),
        ("'greet', '{}', owner => repeat('x', 201)", "jobs_owner_is_bounded"),
    ],
)
async def test_the_table_refuses_what_makes_no_sense(
    database: Database, arguments: str, constraint: str
):
    async with database.connection() as connection:
        with pytest.raises(psycopg.errors.CheckViolation, match=constraint):
            await connection.execute(f"SELECT evalqueue_submit_job({arguments})".encode())
    assert await jobs_in(database) == 0


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\x1bb", "a\u202eb", "a\u2028b"])
@pytest.mark.parametrize("name", ["queue", "owner"])
async def test_a_name_is_one_line_that_can_be_seen(database: Database, name: str, text: str):
    statement = f"SELECT evalqueue_submit_job('greet', '{{}}', {name} => %s)"
    many = "SELECT evalqueue_submit_jobs(%s)"
    async with database.connection() as connection:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"{name}: "):
            await connection.execute(statement.encode(), [text])
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            await connection.execute(many, [Jsonb([{"job_type": "greet", name: text}])])
    assert await jobs_in(database) == 0


async def test_params_that_are_far_too_large_are_refused_by_their_length(database: Database):
    sized = "SELECT evalqueue_submit_job('greet', jsonb_build_object('a', repeat('x', %s)))"
    async with database.connection() as connection:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="67108864 bytes when they"):
            await connection.execute(sized, [67108865])
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="262144 bytes of JSON"):
            await connection.execute(sized, [262145])
    assert await jobs_in(database) == 0


async def test_text_that_postgres_does_not_take_is_replaced_on_the_way_in(dsn: str):
    hostile = "NUL \x00, half a pair \ud83d, <script>alert(1)</script>"
    async with Client(dsn) as client:
        job = await client.submit(Greet.model_construct({"name"}, name=hostile))

    assert job.params["name"] == "NUL �, half a pair �, <script>alert(1)</script>"


async def test_no_interface_lets_a_secret_into_a_row(dsn: str, database: Database):
    async with database.connection() as connection:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="never travel") as refused:
            await connection.execute(
                "SELECT evalqueue_submit_job('greet', '{\"api_key\": \"sk-1\"}')"
            )
        await connection.execute("SELECT evalqueue_submit_job('greet', '{\"api_key\": null}')")
    assert "sk-1" not in str(refused.value)
    assert await jobs_in(database) == 1


async def test_a_job_can_not_be_put_off_for_ever(database: Database):
    async with database.connection() as connection:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="later than"):
            await connection.execute(
                "SELECT evalqueue_submit_job('greet', scheduled_at => 'infinity')"
            )
    assert await jobs_in(database) == 0


async def test_a_caller_s_own_tables_of_the_same_name_are_left_alone(dsn: str, database: Database):
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as caller:
        await caller.execute("CREATE TEMP TABLE jobs (LIKE public.jobs INCLUDING DEFAULTS)")
        await caller.execute(SUBMIT)
        cursor = await caller.execute("SELECT count(*) FROM pg_temp.jobs")
        assert await cursor.fetchone() == (0,)
    assert await jobs_in(database) == 1


async def test_the_list_is_newest_first_and_filtered(dsn: str):
    async with Client(dsn) as client:
        first = await client.submit(Greet(name="a"))
        second = await client.submit(Evaluate())
        third = await client.submit(Greet(name="c"), scheduled_at=datetime.now(UTC) + timedelta(1))
        await client.cancel(first.id)

        async def ids(**filters: object) -> list[UUID]:
            return [job.id for job in await client.list(**filters)]  # pyright: ignore[reportArgumentType]

        assert await ids() == [third.id, second.id, first.id]
        assert await ids(limit=1, offset=1) == [second.id]
        assert await ids(status=JobStatus.CANCELLED) == [first.id]
        assert await ids(job_type="greet") == [third.id, first.id]
