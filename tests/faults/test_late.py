"""What comes too late changes nothing: frozen workers, statements that were on their way."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from faults.fleet import Worker
from faults.proxy import Proxy, Weather
from faults.stage import Stage
from faults.steps import STATEMENTS, Moment, Trap
from faults.work import Manner, Steps

from evalqueue import Job, JobStatus

FENCED = ["flush", "hold", "finish"]


async def test_a_worker_that_was_frozen_past_its_lease_changes_nothing_when_it_thaws(
    stage: Stage,
):
    """Its handler won't be interrupted, and tries to keep what it found all the same."""
    frozen = await stage.worker(name="frozen", EVALQUEUE_PATIENCE_SECONDS="0.5")
    job = await stage.submit(Steps(items=4, gate=str(stage.gate), manner=Manner.CLINGS))
    await stage.until_kept(job, 2)
    frozen.freeze()
    await stage.expire(job)
    await stage.worker(name="heir")
    await stage.until_over(job)
    before = await stage.get(job)
    frozen.thaw()
    await frozen.until_told("ignores its cancellation")
    stage.gate.touch()
    await frozen.until_told("attempt 1 is over")

    found = await stage.get(job)
    assert found == before
    assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.COMPLETED, 2, 1)
    assert found.worker is not None
    assert found.worker.startswith("heir@")
    await stage.assert_sound()


@pytest.mark.parametrize("fate", ["taken over", "cancelled"])
async def test_a_statement_that_arrives_after_its_attempt_was_over_is_refused(
    stage: Stage, fate: str
):
    """Each was said in time, and was on its way while the world went on: the next attempt runs
    when it arrives, or the job is cancelled."""
    async with AsyncExitStack() as networks:
        late = [await _about_to(stage, networks, statement) for statement in FENCED]
        jobs = [said.job for said in late]
        for said in late:
            await said.trap.sprung.wait()
        # It goes on meanwhile: not to be met inside a transaction, which others would wait for.
        await stage.until_kept(jobs[FENCED.index("flush")], 2)
        if fate == "cancelled":
            for job in jobs:
                await stage.cancel(job)
        else:
            for said in late:
                said.proxy.weather = Weather.SILENT  # no sign of life gets through, either
            await stage.expire(*jobs)
            await stage.worker(None, f"--queues={','.join(FENCED)}", name="heir")
            await stage.watch.until("SELECT bool_and(attempt = 2) FROM jobs")
        for said in late:
            said.proxy.weather = Weather.FAIR
            said.trap.released.set()
            await said.worker.until_told(f"Job {said.job.id}: attempt 1")
        found = [await stage.get(job) for job in jobs]
        status, attempt = (
            (JobStatus.CANCELLED, 1) if fate == "cancelled" else (JobStatus.RUNNING, 2)
        )
        assert [(job.status, job.attempt) for job in found] == [(status, attempt)] * len(found)
        for job in found:
            if not job.status.is_over:
                await stage.cancel(job)
        await stage.assert_sound()


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A worker with a statement on its way."""

    job: Job
    worker: Worker
    proxy: Proxy
    trap: Trap


async def _about_to(stage: Stage, networks: AsyncExitStack, statement: str) -> Said:
    job = await stage.submit(Steps(items=2, seconds=0.1, later_attempts_rest=600), queue=statement)
    proxy = await networks.enter_async_context(stage.proxy().open())
    trap = proxy.trap(STATEMENTS[statement], Moment.BEFORE)
    worker = stage.fleet.start(
        stage.behind(proxy), f"--queues={statement}", name=f"late-{statement}"
    )
    return Said(job=job, worker=worker, proxy=proxy, trap=trap)
