"""A worker process is killed right before, and right after, each statement of an attempt.

All are killed at once, each with a job and a queue of its own, and one other worker takes over all
jobs.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults.checker import Report, check
from faults.deployment import Deployment, OpenDeployment
from faults.steps import STATEMENTS, Moment
from faults.work import Steps

from evalqueue import Job, JobStatus

POINTS = [(statement, moment) for statement in STATEMENTS for moment in Moment]
NTH = {"hold": 2, "store": 2, "commit": 2}
"""Which occurrence of a statement; the second, where something must have been stored before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """The jobs after all was over, and the checker's report."""

    jobs: dict[tuple[str, Moment], Job]
    report: Report


@pytest.fixture(scope="module")
def aftermath(
    open_deployment: OpenDeployment, tmp_path_factory: pytest.TempPathFactory
) -> Aftermath:
    async def kill_and_wait(logs: Path) -> Aftermath:
        async with open_deployment(logs) as deployment:
            return await _kill_everywhere(deployment)

    return asyncio.run(kill_and_wait(tmp_path_factory.mktemp("kill-points")))


@pytest.mark.parametrize(("statement", "moment"), POINTS)
def test_another_worker_finishes_what_a_killed_one_began(
    aftermath: Aftermath, statement: str, moment: Moment
):
    job = aftermath.jobs[statement, moment]

    assert job.status is JobStatus.COMPLETED
    if (statement, moment) == ("claim", Moment.BEFORE):
        assert (job.attempt, job.failed_attempts) == (1, 0)  # it had not begun
    elif (statement, moment) == ("finish", Moment.AFTER):
        assert (job.attempt, job.failed_attempts) == (1, 0)  # it was over
    else:
        assert (job.attempt, job.failed_attempts) == (2, 1)


def test_all_that_was_killed_leaves_the_tables_sound(aftermath: Aftermath):
    assert not aftermath.report.findings, "\n".join(map(str, aftermath.report.findings))


async def _kill_everywhere(deployment: Deployment) -> Aftermath:
    async with asyncio.TaskGroup() as killers:
        killed = {point: killers.create_task(_kill_at(deployment, *point)) for point in POINTS}
    jobs = [task.result() for task in killed.values()]
    await deployment.expire(*jobs)
    deployment.fleet.start(
        deployment.address, "--concurrency=20", f"--queues={','.join(map(_queue, POINTS))}"
    )
    await deployment.until_over(*jobs)
    return Aftermath(
        jobs={point: await deployment.get(task.result()) for point, task in killed.items()},
        report=await check(deployment.address),
    )


async def _kill_at(deployment: Deployment, statement: str, moment: Moment) -> Job:
    """Kill a worker at a statement."""
    queue = _queue((statement, moment))
    job = await deployment.submit(Steps(items=3, seconds=0.3), queue=queue)
    async with deployment.proxy().open() as proxy:
        trap = proxy.trap(STATEMENTS[statement], moment, nth=NTH.get(statement, 1))
        worker = deployment.fleet.start(deployment.behind(proxy), f"--queues={queue}", name=queue)
        await trap.sprung.wait()
        await worker.kill()
    return job


def _queue(point: tuple[str, Moment]) -> str:
    return "-".join(point)
