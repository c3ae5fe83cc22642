"""The attempts that run in this worker, and what it does with them when it stops."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from uuid import UUID

from evalqueue.handlers import Handlers
from evalqueue.jobs import Job
from evalqueue.metrics.jobs import JobMetrics
from evalqueue.postgres.database import Database
from evalqueue.telemetry.logs import LoggedError
from evalqueue.worker.attempt import Attempt
from evalqueue.worker.leases import Leases
from evalqueue.worker.options import WorkerOptions
from evalqueue.worker.outcomes import Stop
from evalqueue.worker.recorder import OutcomeRecorder
from evalqueue.worker.refusals import Troubles

UNRECORDED_PER_SLOT = 100  # attempts over, and not recorded yet, that take no slot
RELEASE_TIMEOUT = 10.0  # seconds to write that interrupted jobs go back to the queue

logger = logging.getLogger(__name__)


class RunningAttempts:
    """Starts attempts, and knows which of them run.

    Args:
        on_ended: called each time a slot becomes free.
    """

    def __init__(
        self,
        database: Database,
        handlers: Handlers,
        options: WorkerOptions,
        *,
        metrics: JobMetrics,
        troubles: Troubles,
        on_ended: Callable[[], None],
    ) -> None:
        self._metrics = metrics
        metrics.watch_running(lambda: len(self._tasks))
        self._database = database
        self._handlers = handlers
        self._options = options
        self.leases = Leases(database, lease_seconds=options.lease_seconds, troubles=troubles)
        self._recorder = OutcomeRecorder(database, delete_tasks_after=options.delete_tasks_after)
        self._on_ended = on_ended
        self._draining = False
        self._attempts: dict[UUID, Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stuck: set[asyncio.Task[object]] = set()

    @property
    def attempts(self) -> Mapping[UUID, Attempt]:
        """The current attempt of each job, by the job's id."""
        return self._attempts

    @property
    def tasks(self) -> Collection[asyncio.Task[None]]:
        return self._tasks

    @property
    def free_slots(self) -> int:
        concurrency = self._options.concurrency
        recording = [attempt for attempt in self._attempts.values() if attempt.is_recording]
        # One row that can't be written must not take a slot for ever.
        unrecorded = sum(attempt.is_unrecorded for attempt in recording)
        # The next jobs are claimed while the last ones are recorded.
        in_time = min(len(recording) - unrecorded, concurrency)
        return (
            concurrency - len(self._tasks) + in_time
            + min(unrecorded, UNRECORDED_PER_SLOT * concurrency)
        )  # fmt: skip

    @property
    def stuck_handlers(self) -> int:
        """Handlers that ignore being cancelled; their slots are free again."""
        return len(self._stuck)

    def begin(self, job: Job) -> None:
        self._metrics.claimed(job)
        attempt = Attempt(
            job,
            database=self._database,
            handlers=self._handlers,
            leases=self.leases,
            recorder=self._recorder,
            metrics=self._metrics,
            patience_seconds=self._options.patience_seconds,
            on_recording=self._on_ended,
        )
        # An earlier attempt here has lost its lease, and this worker has claimed the job again.
        self.stop(job.id, Stop.OVER)
        if self._draining:
            attempt.drain()
        self._attempts[job.id] = attempt
        task = asyncio.create_task(attempt.run(), name=f"attempt at job {job.id}")
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, attempt))

    def stop(self, job_id: UUID, why: Stop) -> None:
        """Interrupt a job's attempt, if one runs here."""
        if (attempt := self._attempts.get(job_id)) is not None:
            attempt.stop(why)

    def stop_all(self, why: Stop) -> None:
        for attempt in tuple(self._attempts.values()):
            attempt.stop(why)

    def drain(self) -> None:
        """Announce to every handler that its worker will stop."""
        self._draining = True
        for attempt in self._attempts.values():
            attempt.drain()

    def _ended(self, attempt: Attempt, task: asyncio.Task[None]) -> None:
        job_id = attempt.job.id
        self._tasks.discard(task)
        if self._attempts.get(job_id) is attempt:
            del self._attempts[job_id]
        if (handler := attempt.abandoned_handler) is not None:
            self._stuck.add(handler)
            handler.add_done_callback(self._stuck.discard)
        self._on_ended()
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its lease will run out, and the leader that recovers the job will note it there.
            logger.error("The attempt at job %s broke off", job_id, exc_info=LoggedError.of(error))


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
