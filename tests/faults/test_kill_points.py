"""A worker process is killed right before, and right after, each statement of an attempt.

All of them die at once, each with a job and a queue of its own, and one other worker inherits all.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults.checker import Report, check
from faults.stage import OpenStage, Stage
from faults.steps import STATEMENTS, Moment
from faults.work import Steps

from evalqueue import Job, JobStatus

POINTS = [(statement, moment) for statement in STATEMENTS for moment in Moment]
NTH = {"hold": 2, "keep": 2, "commit": 2}
"""So that something has been kept before; the others are said once, or are good the first time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """What was left of each job, and the verdict on the whole."""

    jobs: dict[tuple[str, Moment], Job]
    report: Report


@pytest.fixture(scope="module")
def aftermath(open_stage: OpenStage, tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    async def play(logs: Path) -> Aftermath:
        async with open_stage(logs) as stage:
            return await _kill_everywhere(stage)

    return asyncio.run(play(tmp_path_factory.mktemp("kill-points")))


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


async def _kill_everywhere(stage: Stage) -> Aftermath:
    async with asyncio.TaskGroup() as killers:
        killed = {point: killers.create_task(_kill_at(stage, *point)) for point in POINTS}
    jobs = [task.result() for task in killed.values()]
    await stage.expire(*jobs)
    stage.fleet.start(
        stage.address, "--concurrency=20", f"--queues={','.join(map(_queue, POINTS))}"
    )
    await stage.until_over(*jobs)
    return Aftermath(
        jobs={point: await stage.get(task.result()) for point, task in killed.items()},
        report=await check(stage.address),
    )


async def _kill_at(stage: Stage, statement: str, moment: Moment) -> Job:
    """Let a worker run into a trap, and kill it there."""
    queue = _queue((statement, moment))
    job = await stage.submit(Steps(items=3, seconds=0.3), queue=queue)
    async with stage.proxy().open() as proxy:
        trap = proxy.trap(STATEMENTS[statement], moment, nth=NTH.get(statement, 1))
        worker = stage.fleet.start(stage.behind(proxy), f"--queues={queue}", name=queue)
        await trap.sprung.wait()
        await worker.kill()
    return job


def _queue(point: tuple[str, Moment]) -> str:
    return "-".join(point)
