"""Between a worker and Postgres the network is slow, is cut, or falls silent."""

import asyncio

from faults.fleet import NO_POLLING
from faults.proxy import Weather
from faults.stage import Stage
from faults.work import Manner, Steps

from evalqueue import JobStatus


async def test_a_slow_network_costs_time_and_nothing_else(stage: Stage):
    async with stage.proxy().open() as proxy:
        await stage.worker(proxy, NO_POLLING)  # a wake-up that is lost is missed
        proxy.delay_seconds = 0.05
        jobs = [await stage.submit(Steps(items=3, concurrency=3)) for _ in range(4)]
        await stage.until_over(*jobs)

        found = [await stage.get(job) for job in jobs]
        assert [(job.status, job.attempt) for job in found] == [(JobStatus.COMPLETED, 1)] * 4
        await stage.assert_sound()


async def test_a_network_that_is_cut_for_a_while_costs_no_attempt(stage: Stage):
    async with stage.proxy().open() as proxy:
        worker = await stage.worker(proxy)
        job = await stage.submit(Steps(items=8, concurrency=2, gate=str(stage.gate)))
        await stage.until_kept(job)
        proxy.weather = Weather.CUT
        stage.gate.touch()
        await asyncio.sleep(1.0)
        proxy.weather = Weather.FAIR
        late = await stage.submit(Steps())
        await stage.until_over(job, late)

        for found in (await stage.get(job), await stage.get(late)):
            assert (found.status, found.attempt) == (JobStatus.COMPLETED, 1)
        assert worker.is_alive
        await stage.assert_sound()


async def test_a_worker_that_is_cut_off_past_its_lease_loses_its_job_and_works_on_afterwards(
    stage: Stage,
):
    """Its handler won't be interrupted, and tries to keep what it found all the same."""
    async with stage.proxy().open() as proxy:
        lost = await stage.worker(proxy, name="lost", EVALQUEUE_PATIENCE_SECONDS="0.5")
        job = await stage.submit(Steps(items=4, gate=str(stage.gate), manner=Manner.CLINGS))
        await stage.until_kept(job, 2)
        proxy.weather = Weather.SILENT
        await stage.expire(job)
        heir = await stage.worker(name="heir")
        await stage.until_over(job)
        await heir.kill()
        proxy.weather = Weather.FAIR
        await lost.until_told("ignores its cancellation")
        stage.gate.touch()
        await lost.until_told("attempt 1 is over")
        late = await stage.submit(Steps())
        await stage.until_over(late)

        found = await stage.get(job)
        assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.COMPLETED, 2, 1)
        assert (await stage.get(late)).attempt == 1
        assert lost.is_alive
        await stage.assert_sound()
