"""Handlers that can't be interrupted, until the process that runs them has to go."""

from faults.stage import Stage
from faults.work import Manner, Steps

from evalqueue import JobStatus

STUCK_EXIT = 70


async def test_a_process_whose_event_loop_stands_still_says_where_and_ends_itself(stage: Stage):
    worker = await stage.worker(EVALQUEUE_LEASE_SECONDS="2")
    job = await stage.submit(Steps(items=1, seconds=60, manner=Manner.BLOCKS), max_attempts=1)
    assert await worker.gone() == STUCK_EXIT
    said = worker.told()
    await stage.worker()
    await stage.until_over(job)

    assert "The event loop has stood still for 2 s" in said
    assert "time.sleep(seconds)" in said
    found = await stage.get(job)
    assert found.status is JobStatus.FAILED
    assert str(found.error_message).startswith("Quarantined: workers lost to it: 1 (")
    await stage.assert_sound()


async def test_a_stopped_process_that_can_t_end_a_handler_releases_its_job_and_exits(
    stage: Stage,
):
    worker = await stage.worker(EVALQUEUE_PATIENCE_SECONDS="0.2")
    job = await stage.submit(Steps(items=1, seconds=60, manner=Manner.CLINGS))
    await stage.until_begun(job)
    worker.terminate()
    await worker.until_told("Stopping")
    worker.terminate()
    assert await worker.gone() == STUCK_EXIT

    found = await stage.get(job)
    assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.QUEUED, 1, 0)
    await stage.cancel(job)
    await stage.assert_sound()
