"""Behind PgBouncer in transaction mode: each statement may meet another session, and none hears a
NOTIFY. LISTEN has an address of its own (`EVALQUEUE_LISTEN_URL`), or there is no worker.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from faults.api import api
from faults.bouncer import bouncer
from faults.deployment import Deployment
from faults.fleet import NO_POLLING, Worker
from faults.proxy import NetworkState, Proxy
from faults.server import Stopping
from faults.work import Manner, Steps
from pydantic import SecretStr

from evalqueue import Client, Job, JobStatus, audit, client
from evalqueue.audit import AuditFilter
from evalqueue.postgres import fleet
from evalqueue.postgres.database import Database
from evalqueue.settings import Settings
from evalqueue.telemetry.actors import Actor, Door, acting

FEW = 3  # sessions of the server's
PATIENCE = 60.0  # seconds


def behind(deployment: Deployment, port: int) -> str:
    return deployment.server.address(deployment.database, port=port)


async def start_worker(
    deployment: Deployment, port: int, *flags: str, **environment: str
) -> Worker:
    """A worker whose statements go through the bouncer, and whose LISTEN doesn't."""
    listen = {"EVALQUEUE_LISTEN_URL": deployment.address}
    return await deployment.fleet.start(
        behind(deployment, port), *flags, **listen, **environment
    ).ready()


@asynccontextmanager
async def client_behind(deployment: Deployment, port: int) -> AsyncGenerator[Client]:
    settings = Settings(listen_url=SecretStr(deployment.address))
    async with Client(behind(deployment, port), settings=settings) as service:
        yield service


async def test_work_and_progress_are_notified_behind_a_bouncer(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Neither the worker nor the client polls; both wait for notifications."""
    monkeypatch.setattr(client, "REREAD_INTERVAL", 3600.0)
    async with (
        bouncer(tmp_path, deployment.server.port) as port,
        client_behind(deployment, port) as service,
    ):
        await start_worker(deployment, port, NO_POLLING)
        for _ in range(8):  # more often than psycopg says a statement before it prepares it
            job = await service.wait((await service.submit(Steps(items=2))).id)
            assert (job.status, job.attempt, job.progress.current) == (JobStatus.COMPLETED, 1, 2)

        watched = await service.submit(Steps(items=4, gate=str(deployment.gate)))
        seen: list[int] = []
        async for change in service.watch(watched.id):
            seen.append(change.progress.current)
            if change.progress.current == 2:
                deployment.gate.touch()
        assert seen == sorted(seen)
        assert seen[-1] == 4
    await deployment.assert_sound()


async def test_a_cancel_is_notified_behind_a_bouncer(deployment: Deployment, tmp_path: Path):
    """By LISTEN, while none of the worker's statements gets an answer."""
    async with bouncer(tmp_path, deployment.server.port) as port, Proxy(port).open() as proxy:
        worker = await start_worker(deployment, proxy.port, EVALQUEUE_PATIENCE_SECONDS="0.2")
        job = await deployment.submit(
            Steps(items=1, gate=str(deployment.gate), manner=Manner.CLINGS)
        )
        await deployment.until_begun(job)
        proxy.state = NetworkState.SILENT
        await deployment.cancel(job)
        await worker.until_logged(f"Job {job.id} ignores its cancellation")
        proxy.state = NetworkState.NORMAL
        deployment.gate.touch()
        await worker.until_logged(f"Job {job.id}: attempt 1 is over")
    await deployment.assert_sound()


@pytest.mark.parametrize("away", [0.5, 8.0], ids=["briefly", "longer than a worker may be silent"])
async def test_a_bouncer_may_be_away_in_the_middle_of_jobs(
    deployment: Deployment, tmp_path: Path, away: float
):
    """Workers and API keep their LISTEN sessions, which don't go through it."""
    async with AsyncExitStack() as stack:
        async with bouncer(tmp_path, deployment.server.port) as port:
            workers = [await start_worker(deployment, port, NO_POLLING) for _ in range(2)]
            http = await stack.enter_async_context(
                api(behind(deployment, port), tmp_path, EVALQUEUE_LISTEN_URL=deployment.address)
            )
            gated, busy = await two_jobs(deployment)
            assert (await http.get("/readyz")).status_code == 200
            listening = await deployment.watch.rows(LISTENING)
        await asyncio.sleep(away)
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/api/jobs")).status_code == 503
        async with bouncer(tmp_path, deployment.server.port, port=port):
            await works_on(deployment, http, workers, gated, busy)
            assert await deployment.watch.rows(LISTENING) == listening


@pytest.mark.parametrize("how", [Stopping.FAST, Stopping.IMMEDIATE])
async def test_postgres_may_be_away_behind_a_bouncer(
    deployment: Deployment, tmp_path: Path, how: Stopping
):
    async with (
        bouncer(tmp_path, deployment.server.port) as port,
        api(behind(deployment, port), tmp_path, EVALQUEUE_LISTEN_URL=deployment.address) as http,
    ):
        workers = [await start_worker(deployment, port, NO_POLLING) for _ in range(2)]
        gated, busy = await two_jobs(deployment)
        async with deployment.server.outage(how):
            await asyncio.sleep(5.0)
            assert (await http.get("/healthz")).status_code == 200
        await works_on(deployment, http, workers, gated, busy)


LISTENING = "SELECT pid FROM pg_stat_activity WHERE query ILIKE 'LISTEN%%' ORDER BY pid"


async def two_jobs(deployment: Deployment) -> tuple[Job, Job]:
    """A job that waits for the gate, and one that writes all the time."""
    gated = await deployment.submit(Steps(items=8, concurrency=2, gate=str(deployment.gate)))
    busy = await deployment.submit(Steps(items=60, seconds=0.1))
    await deployment.until_stored(gated)
    await deployment.until_stored(busy)
    return gated, busy


async def works_on(
    deployment: Deployment, http: httpx.AsyncClient, workers: Sequence[Worker], *jobs: Job
) -> None:
    """The jobs end with their first attempt, a later one is noticed, and the API answers."""
    deployment.gate.touch()
    late = await deployment.submit(Steps())
    await deployment.until_over(*jobs, late)
    for found in [await deployment.get(job) for job in (*jobs, late)]:
        assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.COMPLETED, 1, 0)
    assert all(worker.is_alive for worker in workers)
    async with asyncio.timeout(PATIENCE):
        while (await http.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.1)
    assert len((await http.get("/api/jobs")).json()) == len(jobs) + 1
    await deployment.assert_sound()


async def test_a_fleet_works_with_fewer_sessions_than_it_has_jobs(
    deployment: Deployment, tmp_path: Path
):
    async with bouncer(tmp_path, deployment.server.port, pool_size=FEW) as port:
        async with asyncio.TaskGroup() as starting:
            for _ in range(FEW + 1):
                starting.create_task(start_worker(deployment, port))
        async with client_behind(deployment, port) as service:
            async with asyncio.TaskGroup() as submitting:
                submitted = [
                    submitting.create_task(service.submit(Steps(items=12, concurrency=6)))
                    for _ in range(12)
                ]
            jobs = [task.result() for task in submitted]
            await deployment.until_over(*jobs)
            await deployment.watch.until(  # ours are closed, and take a moment to go
                "SELECT count(*) <= %s FROM pg_stat_activity WHERE datname = current_database() "
                "AND query NOT ILIKE 'LISTEN%%' AND pid <> pg_backend_pid()",
                FEW,
            )

    for job in jobs:
        found = await deployment.get(job)
        assert (found.status, found.attempt) == (JobStatus.COMPLETED, 1)
    await deployment.assert_sound()


async def test_a_worker_that_could_only_listen_through_a_bouncer_refuses_to_start(
    deployment: Deployment, tmp_path: Path
):
    async with bouncer(tmp_path, deployment.server.port) as port:
        worker = deployment.fleet.start(behind(deployment, port))
        code = await worker.wait()

    assert code != 0
    assert "NOTIFY is sent through DATABASE_URL and does not arrive" in worker.log_text()
    assert "EVALQUEUE_LISTEN_URL" in worker.log_text()


async def test_nothing_of_a_session_outlives_its_transaction_behind_a_bouncer(
    deployment: Deployment, tmp_path: Path
):
    """One session of the server's for all: what one leaves behind, the next would find."""
    async with (
        bouncer(tmp_path, deployment.server.port, pool_size=1) as port,
        client_behind(deployment, port) as service,
    ):
        async with asyncio.TaskGroup() as submitting:
            submitted = [
                submitting.create_task(service.submit(Steps(items=2), idempotency_key="once"))
                for _ in range(20)
            ]
        jobs = {task.result().id for task in submitted}
        await start_worker(deployment, port)
        await deployment.until_over(submitted[0].result())
        async with (await service.database()).connection() as connection:
            timeout = await connection.execute("SHOW idle_in_transaction_session_timeout")
            held = await connection.execute(
                # Except the one by which a worker's own session, past the bouncer, is known.
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
                "AND ((classid::bigint << 32) | objid::bigint) NOT IN "
                "(SELECT session_key FROM job_workers WHERE session_key IS NOT NULL) "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            left = (await timeout.fetchone(), await held.fetchone())

    assert len(jobs) == 1
    assert left == (("0",), (0,))
    await deployment.assert_sound()


async def test_the_audit_log_names_who_acts_behind_a_bouncer(
    deployment: Deployment, tmp_path: Path
):
    """Many actors at once share few sessions, and a statement of another program is none of
    theirs."""

    async def act(database: Database, name: str) -> None:
        async with database.connection() as connection:
            if name.startswith("sql"):
                await connection.execute(
                    "INSERT INTO job_queues (name, paused_at) VALUES (%s, now())", [name]
                )
                return
            with acting(Actor(door=Door.HTTP, name=name)):
                await fleet.pause(connection, name)

    names = [f"{kind}-{number}" for number in range(100) for kind in ("anna", "ben", "sql")]
    async with (
        bouncer(tmp_path, deployment.server.port, pool_size=FEW) as port,
        client_behind(deployment, port) as service,
    ):
        database = await service.database()
        await asyncio.gather(*(act(database, name) for name in names))
        async with database.connection() as connection:
            found = await audit.entries(connection, AuditFilter(), limit=1000)

    assert sorted(each.subject_id for each in found) == sorted(names)
    for each in found:
        by_sql = each.subject_id.startswith("sql")
        assert each.door == (Door.SQL if by_sql else Door.HTTP)
        assert each.actor == (each.role if by_sql else each.subject_id)
