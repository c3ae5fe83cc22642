"""The server refuses a statement of ours: it is said again if the reason passes, and only then."""

import asyncio

import psycopg
import pytest
from faults.injector import STATES, inject, unused
from faults.stage import Stage
from faults.steps import STATEMENTS
from faults.work import Steps

from evalqueue import Client, Job, JobStatus
from evalqueue.postgres.database import Connection, Database

TIMES = {"claim": 1, "flush": 2, "keep": 2, "finish": 2}


@pytest.mark.parametrize("statement", TIMES)
async def test_a_statement_that_is_refused_for_a_while_is_repeated(stage: Stage, statement: str):
    """One job per SQLSTATE, all at once: timeouts, deadlock, read-only, disk full."""
    jobs: dict[str, Job] = {}
    async with (
        Client(stage.address) as client,
        await stage.server.connect(stage.database) as connection,
    ):
        for sqlstate in STATES:
            async with connection.transaction():
                job = await client.submit(Steps(items=2), connection=connection)
                await inject(
                    connection,
                    job.id,
                    statement=STATEMENTS[statement],
                    sqlstate=sqlstate,
                    times=TIMES[statement],
                )
            jobs[sqlstate] = job
        worker = await stage.worker(None, "--concurrency=6")
        await stage.until_over(*jobs.values())
        left = await unused(connection)

    found = {sqlstate: await stage.get(job) for sqlstate, job in jobs.items()}
    told = {sqlstate: (str(job.status), job.error_message) for sqlstate, job in found.items()}
    assert told == dict.fromkeys(STATES, (str(JobStatus.COMPLETED), None))
    assert {job.failed_attempts for job in found.values()} == {0}
    assert left == []
    assert worker.is_alive
    await stage.assert_sound()


@pytest.mark.parametrize("size", ["repeat('x', 2000000000)", "lpad('x', 1500000000)"])
async def test_a_statement_over_a_limit_of_postgres_is_not_repeated(stage: Stage, size: str):
    database = Database(stage.address)
    await database.open()
    tries: list[str] = []

    async def ask(connection: Connection) -> None:
        tries.append(size)
        await connection.execute(f"SELECT {size}".encode())

    try:
        async with asyncio.timeout(90):
            with pytest.raises(psycopg.DataError, match="requested length too large"):
                await database.until_done(ask, what="Too much")
            with pytest.raises(psycopg.DataError, match="requested length too large"):
                async with database.transaction() as connection:
                    await ask(connection)
    finally:
        await database.close()

    assert len(tries) == 2


async def test_a_job_that_keeps_what_is_over_a_limit_of_postgres_fails_at_once(stage: Stage):
    async with (
        Client(stage.address) as client,
        await stage.server.connect(stage.database) as connection,
    ):
        async with connection.transaction():
            job = await client.submit(Steps(items=2), connection=connection)
            await connection.execute("CREATE SEQUENCE faults.left_over_a_limit")
            await connection.execute(
                "INSERT INTO faults.injections VALUES (%s, %s, '54000', %s, 1000, %s)",
                [job.id, STATEMENTS["keep"], "too large", "faults.left_over_a_limit"],
            )
        await stage.worker(None)
        await stage.until_over(job)

    found = await stage.get(job)
    assert found.status is JobStatus.FAILED
    assert "over a limit of Postgres: too large" in (found.error_message or "")
    await stage.assert_sound()
