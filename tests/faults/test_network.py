"""Between a worker and Postgres the network is slow, is cut, or falls silent."""

import asyncio
import time

from faults.proxy import Weather
from faults.stage import Stage
from faults.work import Steps

from evalqueue import JobStatus

LONG_LEASE = {"EVALQUEUE_LEASE_SECONDS": "20"}
PAST_THE_LEASE = 2.5  # seconds


async def test_a_slow_network_costs_time_and_nothing_else(stage: Stage):
    async with stage.proxy().open() as proxy:
        await stage.worker(proxy, **LONG_LEASE)
        proxy.delay_seconds = 0.05
        begun = time.monotonic()
        jobs = [await stage.submit(Steps(items=3, concurrency=3)) for _ in range(4)]
        await stage.until_over(*jobs)
        took = time.monotonic() - begun

        assert took < 10.0  # no wake-up was lost: that would take until the next poll, 30 s
        found = [await stage.get(job) for job in jobs]
        assert [(job.status, job.attempt) for job in found] == [(JobStatus.COMPLETED, 1)] * 4
        await stage.assert_sound()


async def test_a_network_that_is_cut_for_a_while_costs_no_attempt(stage: Stage):
    async with stage.proxy().open() as proxy:
        worker = await stage.worker(proxy, **LONG_LEASE)
        job = await stage.submit(Steps(items=10, seconds=0.1, concurrency=2))
        await stage.until_kept(job)
        proxy.weather = Weather.CUT
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
    async with stage.proxy().open() as proxy:
        lost = await stage.worker(proxy, name="lost")
        job = await stage.submit(Steps(items=8, seconds=0.3))
        await stage.until_kept(job)
        proxy.weather = Weather.SILENT
        heir = await stage.worker(name="heir")
        await stage.until_over(job)
        await heir.kill()
        proxy.weather = Weather.FAIR
        await lost.until_told("attempt 1 is over")
        late = await stage.submit(Steps())
        await stage.until_over(late)

        found = await stage.get(job)
        assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.COMPLETED, 2, 1)
        assert (await stage.get(late)).attempt == 1
        assert lost.is_alive
        await stage.assert_sound()
