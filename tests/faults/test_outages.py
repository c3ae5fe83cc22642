"""Postgres stops and comes back, while workers are in every phase of their work."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from faults.deployment import Deployment
from faults.fleet import NO_POLLING
from faults.proxy import Proxy
from faults.server import Stopping
from faults.steps import STATEMENTS, Moment, Trap
from faults.work import Steps

from evalqueue import Job, JobStatus

OUTAGE_SECONDS = 1.0
PHASES = [(statement, moment) for statement in ("flush", "commit", "finish") for moment in Moment]


@pytest.mark.parametrize("how", Stopping)
async def test_postgres_may_stop_in_every_phase_of_an_attempt(
    deployment: Deployment, how: Stopping
):
    """While idle, while a handler works, and around each statement that writes: also after the
    server has executed it and before the worker has the reply. No process is killed, so no attempt
    counts as failed."""
    async with AsyncExitStack() as networks:
        idle = deployment.fleet.start(deployment.address, "--queues=idle", name="idle")
        runs = await deployment.submit(Steps(items=4, gate=str(deployment.gate)), queue="runs")
        deployment.fleet.start(deployment.address, "--queues=runs", name="runs")
        held = [await _about_to(deployment, networks, *phase) for phase in PHASES]
        await idle.ready()
        await deployment.until_stored(runs)
        for _, trap, _ in held:
            await trap.sprung.wait()
        async with deployment.server.outage(how):
            for _, _, proxy in held:
                proxy.reset_all()  # the statements held by traps are lost
            deployment.gate.touch()
            await asyncio.sleep(OUTAGE_SECONDS)
        late = await deployment.submit(Steps(), queue="idle")
        jobs = [*(job for job, _, _ in held), runs, late]
        await deployment.until_over(*jobs)

    for job in [await deployment.get(job) for job in jobs]:
        assert (job.status, job.attempt, job.failed_attempts) == (JobStatus.COMPLETED, 1, 0), job
    assert idle.is_alive
    await deployment.assert_sound()


async def _about_to(
    deployment: Deployment, networks: AsyncExitStack, statement: str, moment: Moment
) -> tuple[Job, Trap, Proxy]:
    """Start a worker that a trap will hold at a statement."""
    queue = f"{statement}-{moment}"
    job = await deployment.submit(Steps(items=2, seconds=0.3), queue=queue)
    proxy = await networks.enter_async_context(deployment.proxy().open())
    trap = proxy.trap(STATEMENTS[statement], moment)
    deployment.fleet.start(deployment.behind(proxy), f"--queues={queue}", name=queue)
    return job, trap, proxy


async def test_every_session_may_be_terminated_at_once(deployment: Deployment):
    job = await deployment.submit(Steps(items=8, seconds=0.2))
    worker = await deployment.worker()
    await deployment.until_stored(job, 2)
    assert await deployment.server.terminate_backends(database=deployment.database) > 0
    await deployment.until_stored(job, 4)
    await deployment.server.terminate_backends(database=deployment.database)
    await deployment.until_over(job)

    found = await deployment.get(job)
    assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.COMPLETED, 1, 0)
    assert worker.is_alive
    await deployment.assert_sound()


async def test_a_worker_whose_listen_session_was_terminated_hears_of_new_jobs(
    deployment: Deployment,
):
    listening = (
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() "
        "AND query LIKE 'LISTEN%%' AND backend_start > %s"
    )
    await deployment.worker(None, NO_POLLING)
    before = await deployment.watch.value("SELECT clock_timestamp() - interval '1 hour'")
    await deployment.watch.until(listening, before)
    terminated = await deployment.watch.value("SELECT clock_timestamp()")
    ended = await deployment.server.terminate_backends(
        database=deployment.database, query="LISTEN%"
    )
    assert ended == 1
    await deployment.watch.until(listening, terminated)
    for _ in range(2):  # it may find the first one by the query after its reconnect
        await deployment.until_over(await deployment.submit(Steps(items=1)))

    await deployment.assert_sound()


async def test_no_connection_is_left_for_newcomers_for_a_while(deployment: Deployment):
    """A worker that has to reconnect is refused, because there are too many clients."""
    job = await deployment.submit(Steps(items=8, concurrency=2, gate=str(deployment.gate)))
    worker = await deployment.worker()
    await deployment.until_stored(job)
    async with await deployment.server.connect() as killer:
        await killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [deployment.database],
        )
        async with deployment.server.crowd() as taken:
            assert taken > 0
            deployment.gate.touch()
            await asyncio.sleep(OUTAGE_SECONDS)
    await deployment.until_over(job)

    found = await deployment.get(job)
    assert (found.status, found.failed_attempts) == (JobStatus.COMPLETED, 0)
    assert worker.is_alive
    await deployment.assert_sound()


async def test_a_database_that_is_read_only_for_a_while_costs_nothing(deployment: Deployment):
    """As after a failover: every statement that writes is refused, those that read are not."""
    job = await deployment.submit(
        Steps(items=8, seconds=0.2, concurrency=2, gate=str(deployment.gate))
    )
    worker = await deployment.worker()
    await deployment.until_stored(job)
    async with deployment.server.read_only():
        deployment.gate.touch()
        await asyncio.sleep(OUTAGE_SECONDS)
    await deployment.until_over(job)
    late = await deployment.submit(Steps())
    await deployment.until_over(late)

    found = await deployment.get(job)
    assert (found.status, found.error_message) == (JobStatus.COMPLETED, None)
    assert (found.attempt, found.failed_attempts) == (1, 0)
    assert worker.is_alive
    await deployment.assert_sound()
