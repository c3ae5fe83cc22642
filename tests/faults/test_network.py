"""The network between a worker and Postgres is slow, cut, or drops all bytes."""

import asyncio

from faults.deployment import Deployment
from faults.fleet import NO_POLLING
from faults.proxy import NetworkState
from faults.work import Manner, Steps

from evalqueue import JobStatus


async def test_a_slow_network_costs_time_and_nothing_else(deployment: Deployment):
    async with deployment.proxy().open() as proxy:
        await deployment.worker(proxy, NO_POLLING)  # a lost notification would be noticed
        proxy.delay_seconds = 0.05
        jobs = [await deployment.submit(Steps(items=3, concurrency=3)) for _ in range(4)]
        await deployment.until_over(*jobs)

        found = [await deployment.get(job) for job in jobs]
        assert [(job.status, job.attempt) for job in found] == [(JobStatus.COMPLETED, 1)] * 4
        await deployment.assert_sound()


async def test_a_network_that_is_cut_for_a_while_costs_no_attempt(deployment: Deployment):
    async with deployment.proxy().open() as proxy:
        worker = await deployment.worker(proxy)
        job = await deployment.submit(Steps(items=8, concurrency=2, gate=str(deployment.gate)))
        await deployment.until_stored(job)
        proxy.state = NetworkState.CUT
        deployment.gate.touch()
        await asyncio.sleep(1.0)
        proxy.state = NetworkState.NORMAL
        late = await deployment.submit(Steps())
        await deployment.until_over(job, late)

        for found in (await deployment.get(job), await deployment.get(late)):
            assert (found.status, found.attempt) == (JobStatus.COMPLETED, 1)
        assert worker.is_alive
        await deployment.assert_sound()


async def test_a_worker_that_is_cut_off_past_its_lease_loses_its_job_and_works_on_afterwards(
    deployment: Deployment,
):
    """Its handler ignores its cancellation, and tries to store its result."""
    async with deployment.proxy().open() as proxy:
        lost = await deployment.worker(proxy, name="lost", EVALQUEUE_PATIENCE_SECONDS="0.5")
        job = await deployment.submit(
            Steps(items=4, gate=str(deployment.gate), manner=Manner.CLINGS)
        )
        await deployment.until_stored(job, 2)
        proxy.state = NetworkState.SILENT
        await deployment.expire(job)
        heir = await deployment.worker(name="heir")
        await deployment.until_over(job)
        await heir.kill()
        proxy.state = NetworkState.NORMAL
        await lost.until_logged("ignores its cancellation")
        deployment.gate.touch()
        await lost.until_logged("attempt 1 is over")
        late = await deployment.submit(Steps())
        await deployment.until_over(late)

        found = await deployment.get(job)
        assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.COMPLETED, 2, 1)
        assert (await deployment.get(late)).attempt == 1
        assert lost.is_alive
        await deployment.assert_sound()
