"""What only a timeout can tell: a peer that is gone without a word."""

import asyncio

from faults.fleet import NO_POLLING
from faults.proxy import Proxy, Weather
from faults.stage import Stage
from faults.steps import STATEMENTS, Moment
from faults.work import Steps

from evalqueue import JobStatus

BOUND = 60.0  # seconds; the feed asks each 10 s and waits 5, a held row is freed after 15


async def test_dead_listen_sessions_and_frozen_transactions_are_given_up_in_time(stage: Stage):
    """All at once, since each takes its 15 seconds."""
    async with asyncio.TaskGroup() as together:
        together.create_task(_a_listen_session_that_goes_half_open_is_replaced(stage))
        together.create_task(_a_listen_that_is_never_answered_is_said_again(stage))
        together.create_task(_a_frozen_holder_does_not_hold_up_a_cancel_for_ever(stage))
    await stage.assert_sound()


async def _a_listen_session_that_goes_half_open_is_replaced(stage: Stage) -> None:
    async with stage.proxy().open() as proxy:
        await stage.worker(proxy, NO_POLLING, "--queues=half-open", name="half-open")
        await proxy.until(lambda link: link.listens)
        await stage.until_over(await stage.submit(Steps(items=1), queue="half-open"))
        assert proxy.strand(lambda link: link.listens) == 1
        await _is_heard_again(stage, proxy, "half-open")


async def _a_listen_that_is_never_answered_is_said_again(stage: Stage) -> None:
    async with stage.proxy().open() as proxy:
        trap = proxy.trap("^LISTEN", Moment.BEFORE)
        await stage.worker(proxy, NO_POLLING, "--queues=unanswered", name="unanswered")
        await trap.sprung.wait()
        proxy.strand(lambda link: link.listens)
        await _is_heard_again(stage, proxy, "unanswered")


async def _is_heard_again(stage: Stage, proxy: Proxy, queue: str) -> None:
    """A new LISTEN session appears in time, and what was missed meanwhile is found with it."""
    missed = await stage.submit(Steps(items=1), queue=queue)
    async with asyncio.timeout(BOUND):
        await proxy.until(lambda link: link.listens and not link.stranded)
        await stage.until_over(missed)
    await stage.until_over(await stage.submit(Steps(items=1), queue=queue))


async def _a_frozen_holder_does_not_hold_up_a_cancel_for_ever(stage: Stage) -> None:
    async with stage.proxy().open() as proxy:
        job = await stage.submit(Steps(items=2), queue="holder")
        trap = proxy.trap(STATEMENTS["commit"], Moment.BEFORE)
        worker = stage.fleet.start(stage.behind(proxy), "--queues=holder", name="holder")
        await trap.sprung.wait()
        worker.freeze()
        proxy.weather = Weather.SILENT
        await stage.cancel(job)  # which would give up after 30 s
        proxy.weather = Weather.FAIR
        trap.released.set()
        worker.thaw()
        await worker.until_told(f"Job {job.id}: attempt 1 is over")

    assert (await stage.get(job)).status is JobStatus.CANCELLED
    kept = "SELECT count(*) FROM faults.effects WHERE job_id = %s"
    assert await stage.watch.value(kept, job.id) == 0
