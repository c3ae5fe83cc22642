"""A statement that the server refuses is repeated if the error is transient, and only then."""

import asyncio

import psycopg
import pytest
from faults.deployment import Deployment
from faults.injector import STATES, inject, unused
from faults.steps import STATEMENTS
from faults.work import Steps

from evalqueue import Client, Job, JobStatus
from evalqueue.postgres.database import Connection, Database

TIMES = {"claim": 1, "flush": 2, "store": 2, "finish": 2}


@pytest.mark.parametrize("statement", TIMES)
async def test_a_statement_that_is_refused_for_a_while_is_repeated(
    deployment: Deployment, statement: str
):
    """One job per SQLSTATE, all at once: timeouts, deadlock, read-only, disk full."""
    jobs: dict[str, Job] = {}
    async with (
        Client(deployment.address) as client,
        await deployment.server.connect(deployment.database) as connection,
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
        worker = await deployment.worker(None, "--concurrency=6")
        await deployment.until_over(*jobs.values())
        left = await unused(connection)

    found = {sqlstate: await deployment.get(job) for sqlstate, job in jobs.items()}
    ended = {sqlstate: (str(job.status), job.error_message) for sqlstate, job in found.items()}
    assert ended == dict.fromkeys(STATES, (str(JobStatus.COMPLETED), None))
    assert {job.failed_attempts for job in found.values()} == {0}
    assert left == []
    assert worker.is_alive
    await deployment.assert_sound()


@pytest.mark.parametrize("size", ["repeat('x', 2000000000)", "lpad('x', 1500000000)"])
async def test_a_statement_over_a_limit_of_postgres_is_not_repeated(
    deployment: Deployment, size: str
):
    database = Database(deployment.address)
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


async def test_a_job_that_keeps_what_is_over_a_limit_of_postgres_fails_at_once(
    deployment: Deployment,
):
    async with (
        Client(deployment.address) as client,
        await deployment.server.connect(deployment.database) as connection,
    ):
        async with connection.transaction():
            job = await client.submit(Steps(items=2), connection=connection)
            await connection.execute("CREATE SEQUENCE faults.left_over_a_limit")
            await connection.execute(
                "INSERT INTO faults.injections VALUES (%s, %s, '54000', %s, 1000, %s)",
                [job.id, STATEMENTS["store"], "too large", "faults.left_over_a_limit"],
            )
        await deployment.worker(None)
        await deployment.until_over(job)

    found = await deployment.get(job)
    assert found.status is JobStatus.FAILED
    assert "over a limit of Postgres: too large" in (found.error_message or "")
    await deployment.assert_sound()
