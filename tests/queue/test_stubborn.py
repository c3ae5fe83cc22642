"""Handlers that won't stop: cancelled three times, then abandoned, and the slot is free."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from evalqueue import Client, Handlers, JobContext, JobParams, JobStatus, Settings
from evalqueue.errors import AttemptOver
from evalqueue.postgres.database import Database
from evalqueue.worker.app import ProcrastinateApp

PATIENCE = 20.0  # seconds


class Work(JobParams, job_type="work"):
    stubborn: bool = True


class Stubborn:
    """A handler that ignores every cancellation until the test sets `enough`."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.enough = asyncio.Event()
        self.refused = asyncio.Event()
        self.cancellations = 0
        self.handlers = Handlers()

        @self.handlers.handles(Work)
        async def work(context: JobContext, params: Work) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
            self.begun.set()
            while params.stubborn and not self.enough.is_set():
                try:
                    await self.enough.wait()
                except asyncio.CancelledError:
                    self.cancellations += 1
            if params.stubborn:
                try:
                    async with context.transaction():
                        pass
                except AttemptOver:
                    self.refused.set()
            return {"late": params.stubborn}


@pytest.fixture
async def stubborn() -> AsyncGenerator[Stubborn]:
    stubborn = Stubborn()
    yield stubborn
    stubborn.enough.set()


@asynccontextmanager
async def working(dsn: str, handlers: Handlers) -> AsyncGenerator[tuple[Client, Any]]:
    settings = Settings(lease_seconds=2, patience_seconds=0.2, concurrency=1)
    app = ProcrastinateApp(address=lambda: dsn, handlers=lambda: handlers, settings=settings)
    async with Client(dsn) as client, app.open_async():
        worker = app.worker(
            install_signal_handlers=False,
            shutdown_graceful_timeout=0.1,
            update_heartbeat_interval=0.1,
        )
        running = asyncio.create_task(worker.run())
        try:
            yield client, worker
        finally:
            running.cancel()
            await asyncio.wait({running})


async def test_a_cancelled_handler_that_goes_on_loses_its_slot_and_changes_nothing(
    dsn: str, stubborn: Stubborn, database: Database
):
    async with working(dsn, stubborn.handlers) as (client, _):
        job = await client.submit(Work())
        await asyncio.wait_for(stubborn.begun.wait(), PATIENCE)
        await client.cancel(job.id)

        other = await client.wait((await client.submit(Work(stubborn=False))).id, timeout=PATIENCE)
        assert other.status is JobStatus.COMPLETED
        assert stubborn.cancellations == 3
        await until_recorded(database, "stuck", 1)

        stubborn.enough.set()
        await asyncio.wait_for(stubborn.refused.wait(), PATIENCE)
        await until_recorded(database, "stuck", 0)
        over = await client.get(job.id)

    assert (over.status, over.result) == (JobStatus.CANCELLED, None)


async def test_a_stopping_worker_releases_the_job_of_a_handler_that_goes_on(
    dsn: str, stubborn: Stubborn
):
    async with working(dsn, stubborn.handlers) as (client, worker):
        job = await client.submit(Work())
        await asyncio.wait_for(stubborn.begun.wait(), PATIENCE)
        worker.stop()
        async with asyncio.timeout(PATIENCE):
            async for change in client.watch(job.id):
                if change.status is JobStatus.QUEUED and change.attempt == 1:
                    break
        (attempt,) = await client.attempts(job.id)

    assert attempt.outcome == "released"
    assert change.failed_attempts == 0


async def until_recorded(database: Database, column: str, value: int) -> None:
    """Wait until the worker's row has this value."""
    async with asyncio.timeout(PATIENCE), database.connection() as connection:
        while True:
            cursor = await connection.execute(f"SELECT {column} FROM job_workers".encode())
            if await cursor.fetchone() == (value,):
                return
            await asyncio.sleep(0.05)
