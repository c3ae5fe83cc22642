"""A worker that stops when the queue is empty runs what its last job has submitted."""

import asyncio
from datetime import UTC, datetime, timedelta

from faults.deployment import Deployment
from faults.steps import Moment

from evalqueue import Client, Handlers, JobContext, JobParams, JobStatus
from evalqueue.testing import run_jobs


class First(JobParams, job_type="first"):
    """Submits another job, as its last act."""


class Second(JobParams, job_type="second"):
    """Does nothing."""


async def test_a_job_that_comes_while_an_empty_claim_is_on_its_way_back_is_run(
    deployment: Deployment,
) -> None:
    handlers = Handlers()
    releasing: list[asyncio.Task[None]] = []
    async with (
        deployment.proxy().open() as proxy,
        Client(deployment.address, job_types=[First, Second]) as client,
    ):

        @handlers.handles(First)
        async def first(context: JobContext, _params: First) -> None:
            trap = proxy.trap("evalqueue_claim_jobs", Moment.AFTER)
            # Its notification has the worker claim, and it is not due.
            await client.submit(Second(), scheduled_at=datetime.now(UTC) + timedelta(days=1))
            await trap.sprung.wait()
            await client.submit(Second())
            name = f"attempt at job {context.job.id}"
            (attempt,) = (each for each in asyncio.all_tasks() if each.get_name() == name)

            async def release() -> None:
                await asyncio.wait([attempt])
                trap.released.set()

            releasing.append(asyncio.create_task(release()))

        @handlers.handles(Second)
        async def second(_context: JobContext, _params: Second) -> None:
            pass

        await client.submit(First())
        await run_jobs(deployment.behind(proxy), handlers)
        ended = await client.list(status=JobStatus.COMPLETED)

    assert [each.job_type for each in ended] == ["second", "first"]
