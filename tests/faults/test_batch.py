"""A batch whose worker is killed in the middle: no thread is lost or evaluated twice."""

from faults.deployment import Deployment
from faults.steps import Moment

from evalqueue import JobStatus
from evalqueue.evaluators import EvaluateBatch
from evalqueue.testing import Behaviour, SimulatedServer

KEEP_THREAD = r"INSERT INTO thread_evaluations"
THREADS, AT_ONCE = 12, 4


async def test_a_batch_goes_on_where_a_killed_worker_left_it_and_buys_no_call_twice(
    deployment: Deployment,
):
    """Killed right after the third thread was written and before it was committed."""
    async with SimulatedServer(Behaviour(latency_ms=50, latency_sigma=0)) as judge:
        simulated = {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": judge.url}
        async with deployment.proxy().open() as proxy:
            trap = proxy.trap(KEEP_THREAD, Moment.AFTER, nth=3)
            job = await deployment.submit(
                EvaluateBatch(llm_provider="simulated", total_items=THREADS, concurrency=AT_ONCE)
            )
            worker = deployment.fleet.start(deployment.behind(proxy), **simulated)
            await trap.sprung.wait()
            await worker.kill()
        await deployment.expire(job)
        await deployment.worker(**simulated)
        await deployment.until_over(job)

    found = await deployment.get(job)
    assert (found.status, found.attempt) == (JobStatus.COMPLETED, 2)
    # Recorded calls are not repeated, also those of threads that were not stored.
    await deployment.assert_sound(calls_in_flight=AT_ONCE)
