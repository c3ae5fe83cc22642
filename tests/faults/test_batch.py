"""A batch of conversations, whose worker is killed in the middle: nothing twice, nothing lost."""

from faults.stage import Stage
from faults.steps import Moment

from evalqueue import JobStatus
from evalqueue.evaluators import EvaluateBatch
from evalqueue.testing import Behaviour, SimulatedServer

KEEP_THREAD = r"INSERT INTO thread_evaluations"
THREADS, AT_ONCE = 12, 4


async def test_a_batch_goes_on_where_a_killed_worker_left_it_and_buys_no_call_twice(
    stage: Stage,
):
    """Killed right after the third thread was written and before it was committed."""
    async with SimulatedServer(Behaviour(latency_ms=50, latency_sigma=0)) as judge:
        simulated = {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": judge.url}
        async with stage.proxy().open() as proxy:
            trap = proxy.trap(KEEP_THREAD, Moment.AFTER, nth=3)
            job = await stage.submit(
                EvaluateBatch(llm_provider="simulated", total_items=THREADS, concurrency=AT_ONCE)
            )
            worker = stage.fleet.start(stage.behind(proxy), **simulated)
            await trap.sprung.wait()
            await worker.kill()
        await stage.expire(job)
        await stage.worker(**simulated)
        await stage.until_over(job)

    found = await stage.get(job)
    assert (found.status, found.attempt) == (JobStatus.COMPLETED, 2)
    # Calls that are on record are not made anew, also those of threads that were not kept.
    await stage.assert_sound(calls_in_flight=AT_ONCE)
