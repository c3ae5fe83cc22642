"""Cancels without a running worker: it is dead or frozen, or there is none at the moment."""

import pytest
from faults.stage import Stage
from faults.work import Steps

from evalqueue import JobStatus, NotCancellable


@pytest.mark.parametrize("fate", ["dead", "frozen"])
async def test_a_job_whose_worker_can_not_hear_is_cancelled_at_once_and_for_ever(
    stage: Stage, fate: str
):
    worker = await stage.worker()
    job = await stage.submit(Steps(items=2, gate=str(stage.gate)))
    await stage.until_kept(job)
    if fate == "dead":
        await worker.kill()
    else:
        worker.freeze()
    await stage.cancel(job)
    assert (await stage.get(job)).status is JobStatus.CANCELLED
    with pytest.raises(NotCancellable):
        await stage.cancel(job)
    if fate == "frozen":
        worker.thaw()
        await worker.until_told(f"Job {job.id}: attempt 1 is over")

    found = await stage.get(job)
    assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.CANCELLED, 1, 0)
    await stage.assert_sound()


async def test_a_job_that_waits_for_its_next_attempt_is_cancelled_and_never_makes_it(
    stage: Stage,
):
    await stage.worker()
    job = await stage.submit(Steps(items=1, tries_again=1, after=3600))
    await stage.watch.until("SELECT failed_attempts = 1 FROM jobs WHERE id = %s", job.id)
    await stage.cancel(job)
    async with await stage.server.connect(stage.database) as connection:  # the hour is over
        await connection.execute("UPDATE procrastinate_jobs SET scheduled_at = clock_timestamp()")
        await connection.execute("UPDATE jobs SET due_at = clock_timestamp()")
    late = await stage.submit(Steps())  # whose turn it is after that one's
    await stage.until_over(late)

    found = await stage.get(job)
    assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.CANCELLED, 1, 1)
    await stage.assert_sound()
