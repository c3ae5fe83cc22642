"""Draining: what a worker does with the jobs that run when it stops."""

import asyncio
import logging

from evalqueue.worker.options import WorkerOptions
from evalqueue.worker.outcomes import Stop
from evalqueue.worker.running import RunningAttempts

RELEASE_TIMEOUT = 10.0  # seconds to write that interrupted jobs go back to the queue

logger = logging.getLogger(__name__)


async def drain(running: RunningAttempts, hurry: asyncio.Event, options: WorkerOptions) -> None:
    """Let the running jobs finish; after the grace period, send them back to the queue.

    Args:
        hurry: set: don't wait for the jobs any longer.
    """
    tasks = frozenset(running.tasks)
    if not tasks:
        return
    hurrying = asyncio.create_task(hurry.wait(), name="hurry")
    grace = options.shutdown_graceful_timeout
    try:
        async with asyncio.timeout(grace):
            while not (hurrying.done() or all(task.done() for task in tasks)):
                await asyncio.wait({hurrying, *tasks}, return_when=asyncio.FIRST_COMPLETED)
                tasks = frozenset(task for task in tasks if not task.done())
    except TimeoutError:
        logger.warning("%d job(s) did not finish within %s s: sent back", len(tasks), grace)
    hurrying.cancel()
    running.stop_all(Stop.SHUTDOWN)
    if tasks:
        # What can't be written in this time is left to the lease.
        await asyncio.wait(tasks, timeout=3 * options.patience_seconds + RELEASE_TIMEOUT)
