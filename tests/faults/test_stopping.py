"""Workers are stopped while they work, and jobs end those who work on them."""

import pytest
from faults.stage import Stage
from faults.work import Manner, Steps

from evalqueue import JobStatus

SHORT_LEASE = {"EVALQUEUE_LEASE_SECONDS": "2"}


@pytest.mark.parametrize("how", ["past its grace", "told twice"])
async def test_a_stopped_worker_releases_its_job_uncounted_and_another_finishes_it(
    stage: Stage, how: str
):
    grace = ["--shutdown-graceful-timeout=0.3"] if how == "past its grace" else []
    first = await stage.worker(None, *grace)
    job = await stage.submit(Steps(items=8, gate=str(stage.gate)))
    await stage.until_kept(job)
    first.terminate()
    if not grace:
        await first.until_told("Stopping")
        first.terminate()
    assert await first.gone() == 0
    released = await stage.get(job)
    await stage.worker()
    await stage.until_over(job)

    assert (released.status, released.failed_attempts) == (JobStatus.QUEUED, 0)
    found = await stage.get(job)
    assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.COMPLETED, 2, 0)
    await stage.assert_sound()


async def test_a_stopped_worker_with_time_lets_its_job_finish(stage: Stage):
    worker = await stage.worker()
    job = await stage.submit(Steps(items=4, gate=str(stage.gate)))
    await stage.until_kept(job)
    worker.terminate()
    await worker.until_told("Stopping: waiting for 1 running job(s)")
    waiting = await stage.submit(Steps())
    stage.gate.touch()
    assert await worker.gone() == 0

    found = await stage.get(job)
    assert (found.status, found.attempt) == (JobStatus.COMPLETED, 1)
    assert (await stage.get(waiting)).attempt == 0  # nothing new was begun
    await stage.cancel(waiting)
    await stage.assert_sound()


async def test_a_handler_that_clings_to_its_work_loses_what_it_finds_after_a_cancel(
    stage: Stage,
):
    worker = await stage.worker(None, "--concurrency=1", EVALQUEUE_PATIENCE_SECONDS="1")
    job = await stage.submit(Steps(items=1, gate=str(stage.gate), manner=Manner.CLINGS))
    await stage.until_begun(job)
    await stage.cancel(job)
    assert (await stage.get(job)).status is JobStatus.CANCELLED
    await worker.until_told("ignores its cancellation")
    stage.gate.touch()
    late = await stage.submit(Steps(items=1))
    await stage.until_over(late)

    assert (await stage.get(late)).status is JobStatus.COMPLETED
    kept = "SELECT count(*) FROM faults.effects WHERE job_id = %s"
    assert await stage.watch.value(kept, job.id) == 0
    assert worker.is_alive
    await stage.assert_sound()


async def test_a_handler_that_blocks_its_process_past_the_lease_loses_its_job(stage: Stage):
    """Its event loop stands still until another worker has detected that."""
    await stage.worker(None, "--queues=elsewhere", name="reaper", EVALQUEUE_LEASE_SECONDS="2")
    # Whose process would end itself after three leases, which is late enough.
    blocked = await stage.worker(name="blocked", EVALQUEUE_LEASE_SECONDS="4")
    job = await stage.submit(
        Steps(items=1, gate=str(stage.gate), manner=Manner.BLOCKS), max_attempts=1
    )
    await stage.until_over(job)
    stage.gate.touch()
    await blocked.until_told(f"Job {job.id}: attempt 1 is over")

    found = await stage.get(job)
    assert found.status is JobStatus.FAILED
    assert "workers lost to it" in (found.error_message or "")
    await stage.assert_sound()


async def test_a_job_that_kills_its_worker_each_time_is_failed_with_that_reason(stage: Stage):
    job = await stage.submit(Steps(items=4, kills_its_worker=9), max_attempts=2)
    for number in (1, 2):
        victim = stage.fleet.start(stage.address, name=f"victim-{number}", **SHORT_LEASE)
        assert await victim.gone() != 0
    survivor = await stage.worker(name="survivor", **SHORT_LEASE)
    await stage.until_over(job)

    found = await stage.get(job)
    assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.FAILED, 2, 2)
    assert "workers lost to it" in (found.error_message or "")
    assert survivor.is_alive
    await stage.assert_sound()
