"""A worker whose process has ended is noticed by its session, in seconds; one that only lost its
session, or does not answer for a while, keeps its jobs.

The leases of these workers are longer than any test: only sessions can tell.
"""

import asyncio
import time

import pytest
from faults.deployment import Deployment
from faults.fleet import Worker
from faults.proxy import NetworkState
from faults.server import Stopping
from faults.work import Steps

from evalqueue import Job, JobStatus

WITHIN = 3.0  # seconds from SIGKILL until the job runs elsewhere
SETTLED = 6.0  # seconds after which a worker has looked for long enough to judge others
OUTAGE = 5.0  # seconds


async def fleet_of(deployment: Deployment, *names: str) -> dict[str, Worker]:
    """Workers that have looked at each other for a while. The first one leads."""
    workers = {name: await deployment.worker(name=name) for name in names}
    await asyncio.sleep(SETTLED)
    return workers


async def gated(deployment: Deployment) -> tuple[Job, str]:
    """A job that waits for the gate, and the name of its worker."""
    job = await deployment.submit(Steps(items=4, gate=str(deployment.gate)))
    await deployment.until_stored(job, 2)
    worker = (await deployment.get(job)).worker
    assert worker is not None
    return job, worker.split("@")[0]


async def runs_elsewhere(deployment: Deployment, job: Job) -> float:
    """Seconds until the job is claimed again."""
    began = time.monotonic()
    await deployment.watch.until(
        "SELECT attempt = 2 AND status IN ('running', 'completed') FROM jobs WHERE id = %s", job.id
    )
    return time.monotonic() - began


@pytest.mark.parametrize("victim", ["leader", "follower"])
async def test_the_jobs_of_a_killed_worker_run_elsewhere_within_seconds(
    deployment: Deployment, victim: str
):
    workers = await fleet_of(deployment, "leader", "follower")
    leader = await deployment.watch.value("SELECT worker FROM job_leader")
    assert leader.startswith("leader")
    workers["follower" if victim == "leader" else "leader"].freeze()
    job, worker = await gated(deployment)
    workers["follower" if victim == "leader" else "leader"].thaw()
    assert worker == victim
    await asyncio.sleep(1.0)  # the leader looks again
    await workers[victim].kill()
    took = await runs_elsewhere(deployment, job)
    await deployment.until_over(job)

    found = await deployment.get(job)
    assert (found.status, found.failed_attempts) == (JobStatus.COMPLETED, 1)
    await deployment.assert_sound()
    assert took < WITHIN


@pytest.mark.parametrize("how", [Stopping.FAST, Stopping.IMMEDIATE])
async def test_a_restart_of_postgres_is_no_death(deployment: Deployment, how: Stopping):
    await fleet_of(deployment, "one", "two")
    job, _ = await gated(deployment)
    async with deployment.server.outage(how):
        await asyncio.sleep(OUTAGE)
    await asyncio.sleep(SETTLED)

    assert await deployment.watch.value("SELECT bool_and(lost_at IS NULL) FROM job_workers")
    await completes_at_its_first_attempt(deployment, job)


async def test_a_lost_session_is_no_death(deployment: Deployment):
    await fleet_of(deployment, "one", "two")
    job, _ = await gated(deployment)
    for _ in range(20):
        await deployment.watch.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        await asyncio.sleep(0.3)

    await completes_at_its_first_attempt(deployment, job)


async def test_a_worker_that_can_open_no_session_keeps_its_jobs(deployment: Deployment):
    async with deployment.proxy().open() as listening:
        await deployment.worker(name="watcher")
        await deployment.worker(name="deaf", EVALQUEUE_LISTEN_URL=deployment.behind(listening))
        await asyncio.sleep(SETTLED)
        jobs = [(await gated(deployment)) for _ in range(6)]
        assert "deaf" in {worker for _, worker in jobs}
        listening.state = NetworkState.CUT
        await asyncio.sleep(SETTLED)

        await completes_at_its_first_attempt(deployment, *(job for job, _ in jobs))


async def test_a_frozen_process_and_a_silent_network_are_no_death(deployment: Deployment):
    async with deployment.proxy().open() as proxy:
        await deployment.worker(name="watcher")
        frozen = await deployment.worker(name="frozen")
        await deployment.worker(proxy, name="silent")
        await asyncio.sleep(SETTLED)
        jobs = [(await gated(deployment)) for _ in range(9)]
        assert {worker for _, worker in jobs} == {"watcher", "frozen", "silent"}
        frozen.freeze()
        proxy.state = NetworkState.SILENT
        await asyncio.sleep(OUTAGE)
        frozen.thaw()
        proxy.state = NetworkState.NORMAL

        await completes_at_its_first_attempt(deployment, *(job for job, _ in jobs))


async def test_a_worker_that_was_cut_off_and_comes_back_costs_no_attempt(deployment: Deployment):
    """Its connections were reset: to Postgres it looks like a dead one."""
    async with deployment.proxy().open() as proxy:
        watcher = await deployment.worker(name="watcher")
        await asyncio.sleep(SETTLED)
        watcher.freeze()
        await deployment.worker(proxy, name="cut")
        job = await deployment.submit(
            Steps(items=4, gate=str(deployment.gate), later_attempts_rest=SETTLED)
        )
        await deployment.until_stored(job, 2)
        watcher.thaw()
        await asyncio.sleep(SETTLED)
        proxy.state = NetworkState.CUT
        await runs_elsewhere(deployment, job)
        proxy.state = NetworkState.NORMAL
        await deployment.watch.until("SELECT bool_and(lost_at IS NULL) FROM job_workers")
        await deployment.until_over(job)

        found = await deployment.get(job)
        assert (found.status, found.failed_attempts) == (JobStatus.COMPLETED, 0)
        outcomes = await deployment.watch.rows("SELECT outcome FROM job_attempts ORDER BY attempt")
        assert outcomes == [("released",), ("completed",)]
        await deployment.assert_sound()


async def completes_at_its_first_attempt(deployment: Deployment, *jobs: Job) -> None:
    deployment.gate.touch()
    await deployment.until_over(*jobs)
    for found in [await deployment.get(job) for job in jobs]:
        assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.COMPLETED, 1, 0)
    await deployment.assert_sound()
