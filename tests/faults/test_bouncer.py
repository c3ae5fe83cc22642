"""Behind PgBouncer in transaction mode: each statement may meet another session, and none hears a
NOTIFY. LISTEN has an address of its own (`EVALQUEUE_LISTEN_URL`), or there is no worker.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from faults.bouncer import bouncer
from faults.fleet import NO_POLLING, Worker
from faults.proxy import Proxy, Weather
from faults.stage import Stage
from faults.work import Manner, Steps
from pydantic import SecretStr

from evalqueue import Client, JobStatus, client
from evalqueue.settings import Settings

FEW = 3  # sessions of the server's


def behind(stage: Stage, port: int) -> str:
    return stage.server.address(stage.database, port=port)


async def start_worker(stage: Stage, port: int, *flags: str, **environment: str) -> Worker:
    """A worker whose statements go through the bouncer, and whose LISTEN doesn't."""
    listen = {"EVALQUEUE_LISTEN_URL": stage.address}
    return await stage.fleet.start(behind(stage, port), *flags, **listen, **environment).ready()


@asynccontextmanager
async def client_behind(stage: Stage, port: int) -> AsyncGenerator[Client]:
    settings = Settings(listen_url=SecretStr(stage.address))
    async with Client(behind(stage, port), settings=settings) as service:
        yield service


async def test_work_and_progress_are_notified_behind_a_bouncer(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Neither the worker nor the client ever looks unless it is told."""
    monkeypatch.setattr(client, "REREAD_INTERVAL", 3600.0)
    async with (
        bouncer(tmp_path, stage.server.port) as port,
        client_behind(stage, port) as service,
    ):
        await start_worker(stage, port, NO_POLLING)
        for _ in range(8):  # more often than psycopg says a statement before it prepares it
            job = await service.wait((await service.submit(Steps(items=2))).id)
            assert (job.status, job.attempt, job.progress.current) == (JobStatus.COMPLETED, 1, 2)

        watched = await service.submit(Steps(items=4, gate=str(stage.gate)))
        seen: list[int] = []
        async for change in service.watch(watched.id):
            seen.append(change.progress.current)
            if change.progress.current == 2:
                stage.gate.touch()
        assert seen == sorted(seen)
        assert seen[-1] == 4
    await stage.assert_sound()


async def test_a_cancel_is_notified_behind_a_bouncer(stage: Stage, tmp_path: Path):
    """By LISTEN, while none of the worker's statements gets an answer."""
    async with bouncer(tmp_path, stage.server.port) as port, Proxy(port).open() as proxy:
        worker = await start_worker(stage, proxy.port, EVALQUEUE_PATIENCE_SECONDS="0.2")
        job = await stage.submit(Steps(items=1, gate=str(stage.gate), manner=Manner.CLINGS))
        await stage.until_begun(job)
        proxy.weather = Weather.SILENT
        await stage.cancel(job)
        await worker.until_told(f"Job {job.id} ignores its cancellation")
        proxy.weather = Weather.FAIR
        stage.gate.touch()
        await worker.until_told(f"Job {job.id}: attempt 1 is over")
    await stage.assert_sound()


async def test_a_bouncer_may_be_restarted_in_the_middle_of_a_job(stage: Stage, tmp_path: Path):
    async with bouncer(tmp_path, stage.server.port) as port:
        worker = await start_worker(stage, port)
        job = await stage.submit(Steps(items=8, concurrency=2, gate=str(stage.gate)))
        await stage.until_kept(job)
    stage.gate.touch()
    await asyncio.sleep(0.5)  # it is gone for a while
    async with bouncer(tmp_path, stage.server.port, port=port):
        await stage.until_over(job)
        late = await stage.submit(Steps())
        await stage.until_over(late)

    for found in (await stage.get(job), await stage.get(late)):
        assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.COMPLETED, 1, 0)
    assert worker.is_alive
    await stage.assert_sound()


async def test_a_fleet_works_with_fewer_sessions_than_it_has_jobs(stage: Stage, tmp_path: Path):
    async with bouncer(tmp_path, stage.server.port, pool_size=FEW) as port:
        async with asyncio.TaskGroup() as starting:
            for _ in range(FEW + 1):
                starting.create_task(start_worker(stage, port))
        async with client_behind(stage, port) as service:
            async with asyncio.TaskGroup() as submitting:
                submitted = [
                    submitting.create_task(service.submit(Steps(items=12, concurrency=6)))
                    for _ in range(12)
                ]
            jobs = [task.result() for task in submitted]
            await stage.until_over(*jobs)
            await stage.watch.until(  # ours are closed, and take a moment to go
                "SELECT count(*) <= %s FROM pg_stat_activity WHERE datname = current_database() "
                "AND query NOT ILIKE 'LISTEN%%' AND pid <> pg_backend_pid()",
                FEW,
            )

    for job in jobs:
        found = await stage.get(job)
        assert (found.status, found.attempt) == (JobStatus.COMPLETED, 1)
    await stage.assert_sound()


async def test_a_worker_that_could_only_listen_through_a_bouncer_refuses_to_start(
    stage: Stage, tmp_path: Path
):
    async with bouncer(tmp_path, stage.server.port) as port:
        worker = stage.fleet.start(behind(stage, port))
        code = await worker.gone()

    assert code != 0
    assert "NOTIFY is sent through DATABASE_URL and does not arrive" in worker.told()
    assert "EVALQUEUE_LISTEN_URL" in worker.told()


async def test_nothing_of_a_session_outlives_its_transaction_behind_a_bouncer(
    stage: Stage, tmp_path: Path
):
    """One session of the server's for all: what one leaves behind, the next would find."""
    async with (
        bouncer(tmp_path, stage.server.port, pool_size=1) as port,
        client_behind(stage, port) as service,
    ):
        async with asyncio.TaskGroup() as submitting:
            submitted = [
                submitting.create_task(service.submit(Steps(items=2), idempotency_key="once"))
                for _ in range(20)
            ]
        jobs = {task.result().id for task in submitted}
        await start_worker(stage, port)
        await stage.until_over(submitted[0].result())
        async with (await service.database()).connection() as connection:
            timeout = await connection.execute("SHOW idle_in_transaction_session_timeout")
            held = await connection.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            left = (await timeout.fetchone(), await held.fetchone())

    assert len(jobs) == 1
    assert left == (("0",), (0,))
    await stage.assert_sound()
