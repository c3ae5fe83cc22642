"""Statements of an attempt that is over change nothing: of frozen workers, and delayed ones."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from faults.deployment import Deployment
from faults.fleet import Worker
from faults.proxy import NetworkState, Proxy
from faults.steps import STATEMENTS, Moment, Trap
from faults.work import Manner, Steps

from evalqueue import Job, JobStatus

FENCED = ["flush", "hold", "finish"]


async def test_a_worker_that_was_frozen_past_its_lease_changes_nothing_when_it_thaws(
    deployment: Deployment,
):
    """Its handler ignores its cancellation, and tries to store its result."""
    frozen = await deployment.worker(name="frozen", EVALQUEUE_PATIENCE_SECONDS="0.5")
    job = await deployment.submit(Steps(items=4, gate=str(deployment.gate), manner=Manner.CLINGS))
    await deployment.until_stored(job, 2)
    frozen.freeze()
    await deployment.expire(job)
    await deployment.worker(name="heir")
    await deployment.until_over(job)
    before = await deployment.get(job)
    frozen.thaw()
    await frozen.until_logged("ignores its cancellation")
    deployment.gate.touch()
    await frozen.until_logged("attempt 1 is over")

    found = await deployment.get(job)
    assert found == before
    assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.COMPLETED, 2, 1)
    assert found.worker is not None
    assert found.worker.startswith("heir@")
    await deployment.assert_sound()


@pytest.mark.parametrize("fate", ["taken over", "cancelled"])
async def test_a_statement_that_arrives_after_its_attempt_was_over_is_refused(
    deployment: Deployment, fate: str
):
    """Each was sent in time and delayed: when it arrives, the next attempt runs, or the job is
    cancelled."""
    async with AsyncExitStack() as networks:
        late = [await _delayed(deployment, networks, statement) for statement in FENCED]
        jobs = [each.job for each in late]
        for each in late:
            await each.trap.sprung.wait()
        # The job goes on meanwhile. It must not be inside a transaction, which would hold a lock.
        await deployment.until_stored(jobs[FENCED.index("flush")], 2)
        if fate == "cancelled":
            for job in jobs:
                await deployment.cancel(job)
        else:
            for each in late:
                each.proxy.state = NetworkState.SILENT  # no heartbeat arrives, either
            await deployment.expire(*jobs)
            await deployment.worker(None, f"--queues={','.join(FENCED)}", name="heir")
            await deployment.watch.until("SELECT bool_and(attempt = 2) FROM jobs")
        for each in late:
            each.proxy.state = NetworkState.NORMAL
            each.trap.released.set()
            await each.worker.until_logged(f"Job {each.job.id}: attempt 1")
        found = [await deployment.get(job) for job in jobs]
        status, attempt = (
            (JobStatus.CANCELLED, 1) if fate == "cancelled" else (JobStatus.RUNNING, 2)
        )
        assert [(job.status, job.attempt) for job in found] == [(status, attempt)] * len(found)
        for job in found:
            if not job.status.is_over:
                await deployment.cancel(job)
        await deployment.assert_sound()


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayedStatement:
    """A worker whose statement is held by a trap."""

    job: Job
    worker: Worker
    proxy: Proxy
    trap: Trap


async def _delayed(
    deployment: Deployment, networks: AsyncExitStack, statement: str
) -> DelayedStatement:
    job = await deployment.submit(
        Steps(items=2, seconds=0.1, later_attempts_rest=600), queue=statement
    )
    proxy = await networks.enter_async_context(deployment.proxy().open())
    trap = proxy.trap(STATEMENTS[statement], Moment.BEFORE)
    worker = deployment.fleet.start(
        deployment.behind(proxy), f"--queues={statement}", name=f"late-{statement}"
    )
    return DelayedStatement(job=job, worker=worker, proxy=proxy, trap=trap)
