"""A job that kills its worker at once, beside others that the worker claimed together with it: only
the killer is charged, and it ends."""

import asyncio

from faults.deployment import Deployment
from faults.work import Steps

from evalqueue import Job, JobStatus

ALWAYS = 1000  # attempts
DEATHS_MAX = 2 + 3  # two without a charge, and the killer's own attempts


async def kept_running(deployment: Deployment, number: int, until_over: list[Job]) -> int:
    """Restart workers that die, until these jobs are over. Returns how often that was."""
    deaths = 0

    async def restarted(name: str) -> None:
        nonlocal deaths
        while True:
            worker = await deployment.worker(
                None, "--concurrency=6", name=f"{name}-{deaths}", EVALQUEUE_LEASE_SECONDS="2"
            )
            while worker.is_alive:
                await asyncio.sleep(0.1)
            deaths += 1

    keepers = [asyncio.create_task(restarted(f"worker-{each}")) for each in range(number)]
    await deployment.until_over(*until_over)
    for keeper in keepers:
        keeper.cancel()
    await asyncio.wait(keepers)
    for keeper in keepers:
        assert keeper.cancelled(), keeper.exception()
    return deaths


async def charges(deployment: Deployment, jobs: list[Job]) -> list[tuple[JobStatus, int]]:
    return [
        (found.status, found.failed_attempts)
        for found in [await deployment.get(job) for job in jobs]
    ]


async def test_a_job_that_kills_its_worker_at_once_is_the_only_one_that_is_charged(
    deployment: Deployment,
):
    harmless = [await deployment.submit(Steps(items=4, seconds=0.5)) for _ in range(3)]
    killer = await deployment.submit(Steps(items=1, kills_its_worker=ALWAYS))
    harmless += [await deployment.submit(Steps(items=4, seconds=0.5)) for _ in range(2)]
    deaths = await kept_running(deployment, 2, [killer, *harmless])

    assert await charges(deployment, harmless) == [(JobStatus.COMPLETED, 0)] * 5
    found = await deployment.get(killer)
    assert (found.status, found.failed_attempts) == (JobStatus.FAILED, 3)
    assert str(found.error_message).startswith("Quarantined: workers lost to it: 3")
    assert deaths <= DEATHS_MAX
    await deployment.assert_sound()


async def test_where_every_job_kills_its_worker_all_of_them_end(deployment: Deployment):
    killers = [
        await deployment.submit(Steps(items=1, kills_its_worker=ALWAYS), max_attempts=1)
        for _ in range(3)
    ]
    deaths = await kept_running(deployment, 2, killers)

    assert await charges(deployment, killers) == [(JobStatus.FAILED, 1)] * 3
    assert deaths <= 2 * 3 + 3
    await deployment.assert_sound()


async def test_an_isolated_job_waits_for_seconds_only_and_is_claimed_alone(deployment: Deployment):
    """Its worker has free slots and jobs that don't end, and others wait behind it."""
    waits = Steps(items=2, gate=str(deployment.gate))
    long = [await deployment.submit(waits) for _ in range(2)]
    await deployment.worker(None, "--concurrency=6")
    for job in long:
        await deployment.until_begun(job)
    await deployment.watch.rows(
        "INSERT INTO job_queues (name, paused_at) VALUES ('evalqueue', now()) RETURNING 1"
    )
    isolated = await deployment.submit(waits)
    behind = [await deployment.submit(Steps(items=1)) for _ in range(3)]
    await deployment.watch.rows(
        "UPDATE jobs SET isolated = true WHERE id = %s RETURNING 1", isolated.id
    )
    await deployment.watch.rows(
        "UPDATE job_queues SET paused_at = NULL RETURNING pg_notify('evalqueue_work_v1', name)"
    )
    await deployment.until_begun(isolated)
    await deployment.until_stored(isolated)
    for job in behind:
        assert (await deployment.get(job)).status is JobStatus.QUEUED
    deployment.gate.touch()
    await deployment.until_over(isolated, *long, *behind)

    waited = await deployment.watch.value(
        "SELECT bool_and(mine.started_at - others.started_at > interval '5 seconds')"
        " FROM job_attempts AS mine, job_attempts AS others"
        " WHERE mine.job_id = %s AND others.job_id = ANY (%s)",
        isolated.id, [job.id for job in long],
    )  # fmt: skip
    assert waited
    await deployment.assert_sound()
