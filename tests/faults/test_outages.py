"""Postgres stops and comes back, while workers are in every phase of their work."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from faults.fleet import NO_POLLING
from faults.proxy import Proxy
from faults.server import Stopping
from faults.stage import Stage
from faults.steps import STATEMENTS, Moment, Trap
from faults.work import Steps

from evalqueue import Job, JobStatus

OUTAGE_SECONDS = 1.0
PHASES = [(statement, moment) for statement in ("flush", "commit", "finish") for moment in Moment]


@pytest.mark.parametrize("how", Stopping)
async def test_postgres_may_stop_in_every_phase_of_an_attempt(stage: Stage, how: Stopping):
    """While idle, while a handler works, and around each statement that writes: also after the
    server has done it and before the worker knows. No process is killed, so no attempt is spent."""
    async with AsyncExitStack() as networks:
        idle = stage.fleet.start(stage.address, "--queues=idle", name="idle")
        runs = await stage.submit(Steps(items=4, gate=str(stage.gate)), queue="runs")
        stage.fleet.start(stage.address, "--queues=runs", name="runs")
        held = [await _about_to(stage, networks, *phase) for phase in PHASES]
        await idle.ready()
        await stage.until_kept(runs)
        for _, trap, _ in held:
            await trap.sprung.wait()
        async with stage.server.outage(how):
            for _, _, proxy in held:
                proxy.reset_all()  # what was held is lost on its way
            stage.gate.touch()
            await asyncio.sleep(OUTAGE_SECONDS)
        late = await stage.submit(Steps(), queue="idle")
        jobs = [*(job for job, _, _ in held), runs, late]
        await stage.until_over(*jobs)

    for job in [await stage.get(job) for job in jobs]:
        assert (job.status, job.attempt, job.failed_attempts) == (JobStatus.COMPLETED, 1, 0), job
    assert idle.is_alive
    await stage.assert_sound()


async def _about_to(
    stage: Stage, networks: AsyncExitStack, statement: str, moment: Moment
) -> tuple[Job, Trap, Proxy]:
    """A worker of its own that will be held at a statement."""
    queue = f"{statement}-{moment}"
    job = await stage.submit(Steps(items=2, seconds=0.3), queue=queue)
    proxy = await networks.enter_async_context(stage.proxy().open())
    trap = proxy.trap(STATEMENTS[statement], moment)
    stage.fleet.start(stage.behind(proxy), f"--queues={queue}", name=queue)
    return job, trap, proxy


async def test_every_session_may_be_terminated_at_once(stage: Stage):
    job = await stage.submit(Steps(items=8, seconds=0.2))
    worker = await stage.worker()
    await stage.until_kept(job, 2)
    assert await stage.server.terminate_backends(database=stage.database) > 0
    await stage.until_kept(job, 4)
    await stage.server.terminate_backends(database=stage.database)
    await stage.until_over(job)

    found = await stage.get(job)
    assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.COMPLETED, 1, 0)
    assert worker.is_alive
    await stage.assert_sound()


async def test_a_worker_whose_listen_session_was_terminated_hears_of_new_jobs(stage: Stage):
    listening = (
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() "
        "AND query LIKE 'LISTEN%%' AND backend_start > %s"
    )
    await stage.worker(None, NO_POLLING)
    before = await stage.watch.value("SELECT clock_timestamp() - interval '1 hour'")
    await stage.watch.until(listening, before)
    terminated = await stage.watch.value("SELECT clock_timestamp()")
    ended = await stage.server.terminate_backends(database=stage.database, query="LISTEN%")
    assert ended == 1
    await stage.watch.until(listening, terminated)
    for _ in range(2):  # it looks for the first one of itself, perhaps, now that it listens again
        await stage.until_over(await stage.submit(Steps(items=1)))

    await stage.assert_sound()


async def test_no_connection_is_left_for_newcomers_for_a_while(stage: Stage):
    """A worker that has to connect anew, and gets the error that there are too many clients."""
    job = await stage.submit(Steps(items=8, concurrency=2, gate=str(stage.gate)))
    worker = await stage.worker()
    await stage.until_kept(job)
    async with await stage.server.connect() as killer:
        await killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [stage.database],
        )
        async with stage.server.crowd() as taken:
            assert taken > 0
            stage.gate.touch()
            await asyncio.sleep(OUTAGE_SECONDS)
    await stage.until_over(job)

    found = await stage.get(job)
    assert (found.status, found.failed_attempts) == (JobStatus.COMPLETED, 0)
    assert worker.is_alive
    await stage.assert_sound()


async def test_a_database_that_is_read_only_for_a_while_costs_nothing(stage: Stage):
    """As after a failover: every statement that writes is refused, those that read are not."""
    job = await stage.submit(Steps(items=8, seconds=0.2, concurrency=2, gate=str(stage.gate)))
    worker = await stage.worker()
    await stage.until_kept(job)
    async with stage.server.read_only():
        stage.gate.touch()
        await asyncio.sleep(OUTAGE_SECONDS)
    await stage.until_over(job)
    late = await stage.submit(Steps())
    await stage.until_over(late)

    found = await stage.get(job)
    assert (found.status, found.error_message) == (JobStatus.COMPLETED, None)
    assert (found.attempt, found.failed_attempts) == (1, 0)
    assert worker.is_alive
    await stage.assert_sound()
