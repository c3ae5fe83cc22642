"""Failures that only a timeout can detect: a peer that sends nothing any more."""

import asyncio

from faults.deployment import Deployment
from faults.fleet import NO_POLLING
from faults.proxy import NetworkState, Proxy
from faults.steps import STATEMENTS, Moment
from faults.work import Steps

from evalqueue import JobStatus

BOUND = (
    60.0  # seconds; the listener probes every 10 s and waits 5, an idle transaction ends after 15
)


async def test_dead_listen_sessions_and_frozen_transactions_are_given_up_in_time(
    deployment: Deployment,
):
    """All at once, because each takes 15 seconds."""
    async with asyncio.TaskGroup() as together:
        together.create_task(_a_listen_session_that_goes_half_open_is_replaced(deployment))
        together.create_task(_a_listen_without_a_reply_is_repeated(deployment))
        together.create_task(_a_frozen_holder_does_not_hold_up_a_cancel_for_ever(deployment))
    await deployment.assert_sound()


async def _a_listen_session_that_goes_half_open_is_replaced(deployment: Deployment) -> None:
    async with deployment.proxy().open() as proxy:
        await deployment.worker(proxy, NO_POLLING, "--queues=half-open", name="half-open")
        await proxy.until(lambda link: link.listens)
        await deployment.until_over(await deployment.submit(Steps(items=1), queue="half-open"))
        assert proxy.strand(lambda link: link.listens) == 1
        await _listens_again(deployment, proxy, "half-open")


async def _a_listen_without_a_reply_is_repeated(deployment: Deployment) -> None:
    async with deployment.proxy().open() as proxy:
        trap = proxy.trap("^LISTEN", Moment.BEFORE)
        await deployment.worker(proxy, NO_POLLING, "--queues=unanswered", name="unanswered")
        await trap.sprung.wait()
        proxy.strand(lambda link: link.listens)
        await _listens_again(deployment, proxy, "unanswered")


async def _listens_again(deployment: Deployment, proxy: Proxy, queue: str) -> None:
    """A new LISTEN session appears in time, and jobs missed meanwhile are found."""
    missed = await deployment.submit(Steps(items=1), queue=queue)
    async with asyncio.timeout(BOUND):
        await proxy.until(lambda link: link.listens and not link.stranded)
        await deployment.until_over(missed)
    await deployment.until_over(await deployment.submit(Steps(items=1), queue=queue))


async def _a_frozen_holder_does_not_hold_up_a_cancel_for_ever(deployment: Deployment) -> None:
    async with deployment.proxy().open() as proxy:
        job = await deployment.submit(Steps(items=2), queue="holder")
        trap = proxy.trap(STATEMENTS["commit"], Moment.BEFORE)
        worker = deployment.fleet.start(deployment.behind(proxy), "--queues=holder", name="holder")
        await trap.sprung.wait()
        worker.freeze()
        proxy.state = NetworkState.SILENT
        await deployment.cancel(job)  # which would give up after 30 s
        proxy.state = NetworkState.NORMAL
        trap.released.set()
        worker.thaw()
        await worker.until_logged(f"Job {job.id}: attempt 1 is over")

    assert (await deployment.get(job)).status is JobStatus.CANCELLED
    stored = "SELECT count(*) FROM faults.effects WHERE job_id = %s"
    assert await deployment.watch.value(stored, job.id) == 0
