"""A batch whose worker is killed in the middle: no thread is lost or evaluated twice."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from faults.deployment import Deployment
from faults.proxy import NetworkState
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


@pytest.mark.parametrize("state", [NetworkState.CUT, NetworkState.SILENT])
async def test_a_worker_that_can_not_record_its_calls_makes_no_more(
    deployment: Deployment, state: NetworkState
):
    """It may have lost its job to another worker, which asks again what is not on record."""
    async with (
        SimulatedServer(Behaviour(latency_ms=50, latency_sigma=0)) as judge,
        deployment.proxy().open() as proxy,
    ):
        simulated = {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": judge.url}
        await deployment.worker(proxy, **simulated)
        job = await deployment.submit(
            EvaluateBatch(llm_provider="simulated", total_items=24, concurrency=AT_ONCE)
        )

        def requests(stats: Mapping[str, Any]) -> int:
            return int(stats["requests"])

        await judge.simulation.until(lambda stats: requests(stats) >= 20)
        before = requests(judge.simulation.stats)
        proxy.state = state
        await asyncio.sleep(1.2)
        meanwhile = requests(judge.simulation.stats) - before
        proxy.state = NetworkState.NORMAL
        await deployment.until_over(job)

    found = await deployment.get(job)
    assert (found.status, found.failed_attempts) == (JobStatus.COMPLETED, 0)
    assert meanwhile <= 2 * AT_ONCE, "in flight, and as many that may wait to be written"
    await deployment.assert_sound(calls_in_flight=2 * AT_ONCE if found.attempt > 1 else 0)


@pytest.mark.parametrize("state", [NetworkState.CUT, NetworkState.SILENT])
async def test_a_worker_whose_lease_has_run_out_makes_no_call(
    deployment: Deployment, state: NetworkState
):
    """Answers that wait to be written would not stop it so soon: it makes one call at a time."""
    async with (
        SimulatedServer(Behaviour(latency_ms=500, latency_sigma=0)) as judge,
        deployment.proxy().open() as proxy,
    ):
        simulated = {"EVALQUEUE_LLM_PROVIDER": "simulated", "EVALQUEUE_SIMULATED_URL": judge.url}
        await deployment.worker(proxy, **simulated, EVALQUEUE_LEASE_SECONDS="2")
        job = await deployment.submit(
            EvaluateBatch(llm_provider="simulated", total_items=2, concurrency=1)
        )
        await judge.simulation.until(lambda stats: stats["requests"] >= 2)
        proxy.state = state
        await asyncio.sleep(2.2)
        before = judge.simulation.stats["requests"]
        await asyncio.sleep(1.5)
        after = judge.simulation.stats["requests"]
        proxy.state = NetworkState.NORMAL
        await deployment.until_over(job)

    found = await deployment.get(job)
    assert (found.status, found.failed_attempts) == (JobStatus.COMPLETED, 0)
    assert after == before
    await deployment.assert_sound(calls_in_flight=before if found.attempt > 1 else 0)
