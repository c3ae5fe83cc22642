"""Attempts whose ends are recorded by one statement, when their worker is killed around it."""

import pytest
from faults.deployment import Deployment
from faults.steps import Moment
from faults.work import Steps

from evalqueue import JobStatus

ALONE = r"evalqueue_finish_job\("
TOGETHER = r"evalqueue_finish_jobs\("
JOBS = 6


@pytest.mark.parametrize("moment", Moment)
async def test_another_worker_finishes_what_was_not_recorded_and_only_that(
    deployment: Deployment, moment: Moment
):
    """The statement of several outcomes is held up, and so is each of a single one.

    How many outcomes go alone before it, none or some, depends on how close together the jobs end.
    """
    jobs = [await deployment.submit(Steps(items=2, gate=str(deployment.gate))) for _ in range(JOBS)]
    async with deployment.proxy().open() as proxy:
        for _ in jobs:
            proxy.trap(ALONE, Moment.BEFORE)
        together = proxy.trap(TOGETHER, moment)
        worker = deployment.fleet.start(
            deployment.behind(proxy), f"--concurrency={JOBS}", name="killed"
        )
        for job in jobs:
            await deployment.until_stored(job)
        deployment.gate.touch()
        await together.sprung.wait()
        await worker.kill()
    recorded = [job for job in jobs if (await deployment.get(job)).status is JobStatus.COMPLETED]
    await deployment.expire(*jobs)
    await deployment.worker(None, f"--concurrency={JOBS}", name="heir")
    await deployment.until_over(*jobs)

    if moment is Moment.BEFORE:
        assert recorded == []
    else:
        assert len(recorded) >= 2
    # Of several that are lost together, none is charged.
    charged = int(len(jobs) - len(recorded) == 1)
    for job in jobs:
        found = await deployment.get(job)
        assert found.status is JobStatus.COMPLETED
        expected = (1, 0) if job in recorded else (2, charged)
        assert (found.attempt, found.failed_attempts) == expected
    await deployment.assert_sound()
