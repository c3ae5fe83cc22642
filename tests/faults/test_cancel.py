"""Cancels without a running worker: it is dead or frozen, or there is none at the moment."""

import pytest
from faults.deployment import Deployment
from faults.work import Steps

from evalqueue import JobStatus, NotCancellable


@pytest.mark.parametrize("fate", ["dead", "frozen"])
async def test_a_job_whose_worker_can_not_hear_is_cancelled_at_once_and_for_ever(
    deployment: Deployment, fate: str
):
    worker = await deployment.worker()
    job = await deployment.submit(Steps(items=2, gate=str(deployment.gate)))
    await deployment.until_stored(job)
    if fate == "dead":
        await worker.kill()
    else:
        worker.freeze()
    await deployment.cancel(job)
    assert (await deployment.get(job)).status is JobStatus.CANCELLED
    with pytest.raises(NotCancellable):
        await deployment.cancel(job)
    if fate == "frozen":
        worker.thaw()
        await worker.until_logged(f"Job {job.id}: attempt 1 is over")

    found = await deployment.get(job)
    assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.CANCELLED, 1, 0)
    await deployment.assert_sound()


async def test_a_job_that_waits_for_its_next_attempt_is_cancelled_and_never_makes_it(
    deployment: Deployment,
):
    await deployment.worker()
    job = await deployment.submit(Steps(items=1, tries_again=1, after=3600))
    await deployment.watch.until("SELECT failed_attempts = 1 FROM jobs WHERE id = %s", job.id)
    await deployment.cancel(job)
    async with await deployment.server.connect(
        deployment.database
    ) as connection:  # the hour is over
        await connection.execute("UPDATE procrastinate_jobs SET scheduled_at = clock_timestamp()")
        await connection.execute("UPDATE jobs SET due_at = clock_timestamp()")
    late = await deployment.submit(Steps())  # whose turn it is after that one's
    await deployment.until_over(late)

    found = await deployment.get(job)
    assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.CANCELLED, 1, 1)
    await deployment.assert_sound()
