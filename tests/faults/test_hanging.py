"""Handlers that can't be interrupted, so that their process has to end."""

import asyncio
import os
import signal
import sys

from faults.deployment import Deployment
from faults.work import Manner, Steps

from evalqueue import JobStatus

STUCK_EXIT = 70
PATIENCE = 60.0  # seconds


async def test_a_process_whose_event_loop_stands_still_says_where_and_ends_itself(
    deployment: Deployment,
):
    worker = await deployment.worker(EVALQUEUE_LEASE_SECONDS="2")
    job = await deployment.submit(Steps(items=1, seconds=60, manner=Manner.BLOCKS), max_attempts=1)
    assert await worker.wait() == STUCK_EXIT
    log = worker.log_text()
    await deployment.worker()
    await deployment.until_over(job)

    assert "The event loop has stood still for 2 s" in log
    assert "time.sleep(seconds)" in log
    found = await deployment.get(job)
    assert found.status is JobStatus.FAILED
    assert str(found.error_message).startswith("Quarantined: workers lost to it: 1 (")
    await deployment.assert_sound()


async def test_a_stopped_process_that_can_t_end_a_handler_releases_its_job_and_exits(
    deployment: Deployment,
):
    worker = await deployment.worker(EVALQUEUE_PATIENCE_SECONDS="0.2")
    job = await deployment.submit(Steps(items=1, seconds=60, manner=Manner.CLINGS))
    await deployment.until_begun(job)
    worker.terminate()
    await worker.until_logged("Stopping")
    worker.terminate()
    assert await worker.wait() == STUCK_EXIT

    found = await deployment.get(job)
    assert (found.status, found.attempt, found.failed_attempts) == (JobStatus.QUEUED, 1, 0)
    await deployment.cancel(job)
    await deployment.assert_sound()


async def test_code_that_holds_the_gil_is_ended_by_the_kernel(deployment: Deployment):
    worker = await deployment.worker(EVALQUEUE_LEASE_SECONDS="2")
    job = await deployment.submit(Steps(items=1, manner=Manner.HOLDS_THE_GIL), max_attempts=1)
    assert await worker.wait() == -signal.SIGPROF
    await deployment.worker(EVALQUEUE_LEASE_SECONDS="2")
    await deployment.until_over(job)
    assert str((await deployment.get(job)).error_message).startswith("Quarantined")
    await deployment.assert_sound()


async def test_a_worker_whose_log_nothing_reads_ends_itself(deployment: Deployment):
    """Its pipe is full, so each log line blocks: in the event loop, and in the watchdog."""
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "procrastinate", "--app=evalqueue.daemon.app", "worker",
        stdout=writing, stderr=writing,
        env=os.environ | {"DATABASE_URL": deployment.address, "EVALQUEUE_LEASE_SECONDS": "2"},
    )  # fmt: skip
    await deployment.watch.until("SELECT count(*) = 1 FROM job_workers")
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    process.terminate()  # which is logged
    assert await asyncio.wait_for(process.wait(), PATIENCE) == STUCK_EXIT
    os.close(reading)
    os.close(writing)
