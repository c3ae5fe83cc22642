"""The long-lived loop: wait for a wake-up, claim through procrastinate, run attempts, stop well.

Why it isn't procrastinate's own loop is docs/adr/0002. What matters here: the wake-up is cleared
*before* the fetch, so that none is lost; scheduled and retried jobs have a timer of their own, so
that polling is only the net; and whatever the database does, the loop goes on.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import procrastinate.exceptions
import procrastinate.jobs
import psycopg
from procrastinate.manager import JobManager, get_channel_for_queues

from evalqueue import store
from evalqueue.database import TRANSIENT, Database
from evalqueue.feed import JOB_CANCELLED, WORK_WAITS, Feed
from evalqueue.handlers import Handlers
from evalqueue.runner import Attempt, Claim, Stop

TASK_NAME = "evalqueue.run_job"
"""procrastinate's name for the task that carries a job; `evalqueue_submit_job` writes it."""

TROUBLE_DELAY = 1.0  # seconds between tries while the database is away
DUE_DELAY_MIN = 0.02  # seconds
SWEEP_INTERVAL = 5.0  # seconds between looks around while every slot is taken
STALLED_AFTER = 60.0  # seconds; procrastinate's own record of a worker that is gone is removed
BROUGHT_BACK = 0.0  # seconds: there is something to fetch right now
HURRY_PATIENCE = 10.0  # seconds to hand jobs back once nobody waits for them to finish
OVERDUE_DELAY = 0.5  # seconds: what is due and can't be had yet is looked for this often

_TROUBLE = (*TRANSIENT, procrastinate.exceptions.ConnectorException)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker runs. The names are those of procrastinate's command line."""

    name: str | None = None
    queues: list[str] | None = field(default_factory=lambda: ["evalqueue"])
    """None: every queue."""
    concurrency: int = 4
    """Jobs at the same time."""
    wait: bool = True
    """False: return once there is nothing left to do."""
    listen_notify: bool = True
    fetch_job_polling_interval: float = 30.0
    """Seconds; the net under the notifications."""
    shutdown_graceful_timeout: float | None = None
    """Seconds to let jobs finish after a stop; None: as long as they take."""
    delete_tasks_after: frozenset[str] = frozenset()
    """Outcomes after which procrastinate's row is deleted."""
    install_signal_handlers: bool = True
    update_heartbeat_interval: float = 10.0  # seconds
    lease_seconds: float = 30.0


class Worker:
    """Runs jobs until told to stop."""

    def __init__(
        self, *, manager: JobManager, database: Database, handlers: Handlers, options: WorkerOptions
    ) -> None:
        self._manager = manager
        self._database = database
        self._handlers = handlers
        self._options = options
        self._name = f"{options.name or 'worker'}@{socket.gethostname()}:{os.getpid()}"
        self._id = 0
        self._swept_at = 0.0
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._attempts: dict[UUID, Attempt] = {}
        self._running: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Finish what runs, start nothing new. A second call doesn't wait for what runs."""
        if self._stopping.is_set():
            self._hurry.set()
        else:
            logger.info("Stopping: waiting for %d running job(s)", len(self._running))
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Work until stopped, or (`wait=False`) until there is nothing left to do."""
        with self._signals():
            self._id = await self._manager.register_worker()
            await self._manager.prune_stalled_workers(STALLED_AFTER)
            logger.info(
                "%s is ready: queues %s, %d at a time, job types %s", self._name,
                ", ".join(self._options.queues or ("all",)), self._options.concurrency,
                ", ".join(sorted(self._handlers.job_types)),
            )  # fmt: skip
            try:
                async with self._listening(), asyncio.TaskGroup() as side:
                    beating = side.create_task(self._beat())
                    try:
                        await self._loop()
                        await self._drain()
                    except asyncio.CancelledError:
                        # Whoever runs us inside a program of their own stops us this way.
                        self._hurry.set()
                        await self._drain()
                        raise
                    beating.cancel()
            finally:
                with contextlib.suppress(*_TROUBLE):
                    await self._manager.unregister_worker(self._id)
                await self._handlers.close()

    async def _loop(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()  # before the fetch: what arrives from now on is not lost
            try:
                caught_up = await self._fill()
                due = await self._sweep(caught_up) if caught_up or self._sweep_is_due() else None
            except _TROUBLE as error:
                logger.warning("Can't fetch jobs, trying again: %s", error)
                caught_up, due = False, TROUBLE_DELAY
                await self._register_again_if_pruned(error)
            done = caught_up and due != BROUGHT_BACK and not self._running
            if done and not self._options.wait:
                return
            await self._sleep(due)

    async def _fill(self) -> bool:
        """Claim jobs until every slot is taken or nothing is left (then True)."""
        while len(self._running) < self._options.concurrency and not self._stopping.is_set():
            task = await self._manager.fetch_job(queues=self._options.queues, worker_id=self._id)
            if task is None:
                return True
            assert task.id is not None, "a stored task has an id"  # noqa: S101  for the checker
            job_id = _job_of(task)
            if job_id is None:
                await self._put_back(task)
                continue
            self._begin(
                Claim(task_id=task.id, job_id=job_id, worker_id=self._id, worker=self._name)
            )
        return False

    def _begin(self, claim: Claim) -> None:
        attempt = Attempt(
            claim,
            database=self._database,
            handlers=self._handlers,
            lease_seconds=self._options.lease_seconds,
            delete_task_after=self._options.delete_tasks_after,
        )
        if (earlier := self._attempts.get(claim.job_id)) is not None:
            earlier.stop(Stop.OVER)  # we lost that one, and have claimed the job again ourselves
        self._attempts[claim.job_id] = attempt
        running = asyncio.create_task(attempt.run(), name=f"attempt at job {claim.job_id}")
        self._running.add(running)
        running.add_done_callback(partial(self._ended, attempt))

    def _ended(self, attempt: Attempt, running: asyncio.Task[None]) -> None:
        job_id = attempt.claim.job_id
        self._running.discard(running)
        if self._attempts.get(job_id) is attempt:
            del self._attempts[job_id]
        self._wake.set()  # a slot is free
        if not running.cancelled() and (error := running.exception()) is not None:
            # Its lease will run out, and whoever reaps it will say so in the job.
            logger.error("The attempt at job %s broke off", job_id, exc_info=error)

    async def _put_back(self, task: procrastinate.jobs.Job) -> None:
        """A task of someone else's in our queue: not ours to run, and not ours to fail."""
        logger.warning(
            "Task %s (%s) is in a queue of evalqueue and is not its task: put back for a minute. "
            "Give other procrastinate workers queues of their own.", task.id, task.task_name,
        )  # fmt: skip
        later = datetime.now(UTC) + timedelta(minutes=1)
        await self._manager.retry_job(job=task, retry_at=later)

    def _sweep_is_due(self) -> bool:
        """A worker with no free slot looks around, too, though not at every wake-up: what lost its
        worker must be seen to wait, even while nobody can take it."""
        return time.monotonic() - self._swept_at >= SWEEP_INTERVAL

    async def _register_again_if_pruned(self, error: BaseException) -> None:
        """Whoever slept too long was taken for gone, and its record removed by another worker."""
        if isinstance(error.__cause__, psycopg.errors.ForeignKeyViolation):
            with contextlib.suppress(*_TROUBLE):
                self._id = await self._manager.register_worker()

    async def _sweep(self, caught_up: bool) -> float | None:
        """Bring back what was lost or parked; returns seconds until something is due."""
        self._swept_at = time.monotonic()
        async with self._database.connection() as connection:
            # What is parked is only brought back by a worker that can take it at once.
            job_types = list(self._handlers.job_types) if caught_up else []
            swept = await store.sweep(connection, job_types, self._options.queues)
        if swept.brought_back:
            return BROUGHT_BACK
        if swept.next_due is None:
            return None
        return OVERDUE_DELAY if swept.next_due < 0 else max(swept.next_due, DUE_DELAY_MIN)

    async def _sleep(self, due: float | None) -> None:
        net = self._options.fetch_job_polling_interval
        if len(self._running) >= self._options.concurrency:
            net = min(net, SWEEP_INTERVAL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(net if due is None else min(net, due)):
                await self._wake.wait()

    async def _drain(self) -> None:
        """Let the running jobs finish; past the grace period, send them back to the queue."""
        running = frozenset(self._running)
        if not running:
            return
        hurry = asyncio.create_task(self._hurry.wait(), name="hurry")
        grace = self._options.shutdown_graceful_timeout
        try:
            async with asyncio.timeout(grace):
                while not (hurry.done() or all(attempt.done() for attempt in running)):
                    await asyncio.wait({hurry, *running}, return_when=asyncio.FIRST_COMPLETED)
                    running = frozenset(task for task in running if not task.done())
        except TimeoutError:
            logger.warning("%d job(s) did not finish within %s s: sent back", len(running), grace)
        hurry.cancel()
        for attempt in tuple(self._attempts.values()):
            attempt.stop(Stop.SHUTDOWN)
        if running:
            # What can't be written in this time is left to the lease.
            await asyncio.wait(running, timeout=HURRY_PATIENCE)

    async def _beat(self) -> None:
        """Keep procrastinate's own record of this worker fresh, for its tools."""
        while True:
            await asyncio.sleep(self._options.update_heartbeat_interval)
            try:
                await self._manager.update_heartbeat(self._id)
            except _TROUBLE as error:
                logger.warning("No heartbeat this time: %s", error)

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncGenerator[None]:
        if not self._options.listen_notify:
            yield
            return
        arrivals = tuple(get_channel_for_queues(self._options.queues))
        feed = Feed(self._database.conninfo, (*arrivals, WORK_WAITS, JOB_CANCELLED))
        with contextlib.ExitStack() as subscriptions:
            for channel in (*arrivals, WORK_WAITS):
                subscriptions.enter_context(
                    feed.subscribe(channel, self._told_of_work, self._wake.set)
                )
            subscriptions.enter_context(
                feed.subscribe(JOB_CANCELLED, self._told_of_cancel, self._wake.set)
            )
            async with feed:
                yield

    def _told_of_work(self, _payload: str) -> None:
        self._wake.set()

    def _told_of_cancel(self, payload: str) -> None:
        attempt = self._attempts.get(UUID(payload))
        if attempt is not None:
            attempt.stop(Stop.OVER)

    @contextlib.contextmanager
    def _signals(self) -> Generator[None]:
        if not self._options.install_signal_handlers:
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _job_of(task: procrastinate.jobs.Job) -> UUID | None:
    """The job that a task carries; None: it is not a task of ours."""
    if task.task_name != TASK_NAME:
        return None
    try:
        return UUID(str(task.task_kwargs.get("job_id")))
    except ValueError:
        return None
