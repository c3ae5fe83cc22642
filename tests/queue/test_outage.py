"""The database becomes unreachable during operations, and comes back."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from evalqueue import (
    Checkpoint,
    Client,
    Handlers,
    ItemWork,
    JobContext,
    JobParams,
    JobStatus,
    Settings,
)
from evalqueue.worker.app import ProcrastinateApp

PATIENCE = 30.0  # seconds


class Work(JobParams, job_type="work"):
    pass


class Outage:
    """Make the database unreachable for as long as the block lasts: connections are cut, and new
    ones refused."""

    def __init__(self, server: str, database: str) -> None:
        self._server = server
        self._database = database

    async def __aenter__(self) -> None:
        await self._allow(False)
        async with await self._connect() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [self._database],
            )

    async def __aexit__(self, *_: object) -> None:
        await self._allow(True)

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(self._server, autocommit=True)

    async def _allow(self, allowed: bool) -> None:
        async with await self._connect() as connection:
            await connection.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
                    sql.Identifier(self._database), sql.Literal(allowed)
                )
            )


@pytest.fixture
def outage(postgres: str, dsn: str) -> Outage:
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    return Outage(postgres, str(name))


@asynccontextmanager
async def working(
    dsn: str, work: Callable[[JobContext], Awaitable[dict[str, Any]]]
) -> AsyncGenerator[Client]:
    handlers = Handlers()

    @handlers.handles(Work)
    async def handle(context: JobContext, _params: Work) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        return await work(context)

    app = ProcrastinateApp(address=lambda: dsn, handlers=lambda: handlers, settings=Settings())
    async with Client(dsn) as client, app.open_async():
        running = asyncio.create_task(app.run_worker_async(install_signal_handlers=False))
        try:
            yield client
        finally:
            running.cancel()
            await asyncio.wait({running})


async def test_an_outcome_found_during_an_outage_is_stored_when_it_ends(dsn: str, outage: Outage):
    begun, away = asyncio.Event(), asyncio.Event()

    async def work(context: JobContext) -> dict[str, Any]:
        begun.set()
        await away.wait()
        context.progress(7, 7, "done in the dark")
        return {"found": 42}

    async with working(dsn, work) as client:
        job = await client.submit(Work())
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            async with outage:
                away.set()
                await asyncio.sleep(1.5)  # long enough for every retry to fail once
        job = await client.wait(job.id, timeout=PATIENCE)

    assert (job.status, job.result) == (JobStatus.COMPLETED, {"found": 42})
    assert (job.attempt, job.progress.message) == (1, "done in the dark")


async def test_results_found_during_an_outage_are_kept_once_and_the_attempt_goes_on(
    dsn: str, outage: Outage
):
    begun, away = asyncio.Event(), asyncio.Event()
    stored: list[str] = []

    async def work(context: JobContext) -> dict[str, Any]:
        class Waiting(ItemWork[str, str]):
            async def work(self, item: str, /) -> str:
                begun.set()
                await away.wait()
                return item

            async def store(self, connection: Any, result: str, /) -> None:
                await connection.execute("SELECT 1")
                stored.append(result)

        await context.map(
            ["a", "b", "c"],
            Waiting(),
            checkpoint=Checkpoint(),
            concurrency=2,
        )
        return {}

    async with working(dsn, work) as client:
        job = await client.submit(Work())
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            async with outage:
                away.set()
                await asyncio.sleep(1.0)
        job = await client.wait(job.id, timeout=PATIENCE)

    assert (job.status, job.attempt) == (JobStatus.COMPLETED, 1)
    assert sorted(stored) == ["a", "b", "c"]
    assert job.progress.message == "Item 3/3 (3 ok, 0 failed)"


async def test_a_worker_that_was_cut_off_hears_of_new_jobs_again(dsn: str, outage: Outage):
    async def work(_context: JobContext) -> dict[str, Any]:
        return {}

    async with working(dsn, work) as client:
        await client.wait((await client.submit(Work())).id, timeout=PATIENCE)
        async with outage:
            await asyncio.sleep(1.5)
        job = await client.wait((await client.submit(Work())).id, timeout=PATIENCE)

    assert job.status is JobStatus.COMPLETED


async def test_a_cancel_during_an_outage_of_the_worker_is_found_afterwards(
    dsn: str, outage: Outage
):
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def work(_context: JobContext) -> dict[str, Any]:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()
        return {}

    async with working(dsn, work) as client:
        job = await client.submit(Work())
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            async with outage:
                await asyncio.sleep(0.2)
            await client.cancel(job.id)  # the worker may not be listening yet
            await stopped.wait()
        job = await client.get(job.id)

    assert job.status is JobStatus.CANCELLED
