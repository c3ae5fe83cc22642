"""Workers that are stopped while they work, and jobs that kill their worker."""

import pytest
from faults.deployment import Deployment
from faults.work import Manner, Steps

from evalqueue import JobStatus

SHORT_LEASE = {"EVALQUEUE_LEASE_SECONDS": "2"}


@pytest.mark.parametrize("how", ["past its grace", "stopped twice"])
async def test_a_stopped_worker_releases_its_job_uncounted_and_another_finishes_it(
    deployment: Deployment, how: str
):
    grace = ["--shutdown-graceful-timeout=0.3"] if how == "past its grace" else []
    first = await deployment.worker(None, *grace)
    job = await deployment.submit(Steps(items=8, gate=str(deployment.gate)))
    await deployment.until_stored(job)
    first.terminate()
    if not grace:
        await first.until_logged("Stopping")
        first.terminate()
    assert await first.wait() == 0
    released = await deployment.get(job)
    await deployment.worker()
    await deployment.until_over(job)

    assert (released.status, released.failed_attempts) == (JobStatus.QUEUED, 0)
    found = await deployment.get(job)
    assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.COMPLETED, 2, 0)
    await deployment.assert_sound()


async def test_a_stopped_worker_with_time_lets_its_job_finish(deployment: Deployment):
    worker = await deployment.worker()
    job = await deployment.submit(Steps(items=4, gate=str(deployment.gate)))
    await deployment.until_stored(job)
    worker.terminate()
    await worker.until_logged("Stopping: waiting for 1 running job(s)")
    waiting = await deployment.submit(Steps())
    deployment.gate.touch()
    assert await worker.wait() == 0

    found = await deployment.get(job)
    assert (found.status, found.attempt) == (JobStatus.COMPLETED, 1)
    assert (await deployment.get(waiting)).attempt == 0  # nothing new was begun
    await deployment.cancel(waiting)
    await deployment.assert_sound()


async def test_a_handler_that_clings_to_its_work_loses_what_it_finds_after_a_cancel(
    deployment: Deployment,
):
    worker = await deployment.worker(None, "--concurrency=1", EVALQUEUE_PATIENCE_SECONDS="1")
    job = await deployment.submit(Steps(items=1, gate=str(deployment.gate), manner=Manner.CLINGS))
    await deployment.until_begun(job)
    await deployment.cancel(job)
    assert (await deployment.get(job)).status is JobStatus.CANCELLED
    await worker.until_logged("ignores its cancellation")
    deployment.gate.touch()
    late = await deployment.submit(Steps(items=1))
    await deployment.until_over(late)

    assert (await deployment.get(late)).status is JobStatus.COMPLETED
    stored = "SELECT count(*) FROM faults.effects WHERE job_id = %s"
    assert await deployment.watch.value(stored, job.id) == 0
    assert worker.is_alive
    await deployment.assert_sound()


async def test_a_handler_that_blocks_its_process_past_the_lease_loses_its_job(
    deployment: Deployment,
):
    """Its event loop is blocked until another worker has recovered the job."""
    await deployment.worker(None, "--queues=elsewhere", name="reaper", EVALQUEUE_LEASE_SECONDS="2")
    # The process would end itself only after three leases.
    blocked = await deployment.worker(name="blocked", EVALQUEUE_LEASE_SECONDS="4")
    job = await deployment.submit(
        Steps(items=1, gate=str(deployment.gate), manner=Manner.BLOCKS), max_attempts=1
    )
    await deployment.until_over(job)
    deployment.gate.touch()
    await blocked.until_logged(f"Job {job.id}: attempt 1 is over")

    found = await deployment.get(job)
    assert found.status is JobStatus.FAILED
    assert "workers lost to it" in (found.error_message or "")
    await deployment.assert_sound()


async def test_a_job_that_kills_its_worker_each_time_is_failed_with_that_reason(
    deployment: Deployment,
):
    job = await deployment.submit(Steps(items=4, kills_its_worker=9), max_attempts=2)
    for number in (1, 2):
        victim = deployment.fleet.start(deployment.address, name=f"victim-{number}", **SHORT_LEASE)
        assert await victim.wait() != 0
    survivor = await deployment.worker(name="survivor", **SHORT_LEASE)
    await deployment.until_over(job)

    found = await deployment.get(job)
    assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.FAILED, 2, 2)
    assert "workers lost to it" in (found.error_message or "")
    assert survivor.is_alive
    await deployment.assert_sound()
