"""The long-lived loop: wait for a wake-up, claim, run attempts, stop well.

Why it isn't procrastinate's own loop is docs/adr/0002. The wake-up is cleared *before* the claim,
so that none is lost; scheduled and retried jobs have a timer of their own, so that polling is only
a fallback; and whatever the database does, the loop goes on.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncGenerator, Generator
from uuid import UUID

import psycopg
from procrastinate.manager import get_channel_for_queues

from evalqueue.handlers import Handlers
from evalqueue.metrics.endpoint import exposed
from evalqueue.metrics.jobs import JobMetrics
from evalqueue.metrics.process import ProcessMetrics
from evalqueue.metrics.registry import Metrics
from evalqueue.postgres import fleet
from evalqueue.postgres.database import Database
from evalqueue.postgres.fleet import Capabilities, RegisteredWorker
from evalqueue.postgres.listener import JOB_CANCELLED, WORK_WAITS, Listener
from evalqueue.telemetry.actors import Actor, Door, acting
from evalqueue.telemetry.logs import bound
from evalqueue.worker.fairness import SlotYielding
from evalqueue.worker.heartbeat import Membership, watched
from evalqueue.worker.leader import Leadership, SessionWatch
from evalqueue.worker.options import WorkerOptions
from evalqueue.worker.outcomes import Stop
from evalqueue.worker.refusals import Refusals, Troubles
from evalqueue.worker.running import RunningAttempts, drain
from evalqueue.worker.watchdog import exit_now

TROUBLE_DELAY_MAX = 1.0  # seconds between tries while the database is away
DUE_DELAY_MIN = 0.02  # seconds
WORKER_IS_REGISTERED = "procrastinate_jobs_worker_id_fkey"  # the constraint that a claim meets
OVERDUE_DELAY = 0.5  # seconds between claims while a job is due that can't be claimed yet

logger = logging.getLogger(__name__)


class Worker:
    """Runs jobs until it is stopped."""

    def __init__(self, *, database: Database, handlers: Handlers, options: WorkerOptions) -> None:
        self._database = database
        self._handlers = handlers
        self._options = options
        self._capabilities = Capabilities(
            queues=options.queues, job_types=sorted(handlers.job_types)
        )
        self._listener: Listener | None = None
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._claims_in_doubt = False
        self._troubles = Troubles()
        self.metrics = Metrics()
        """Of this worker, with those of its handlers."""
        self.metrics.include(handlers.metrics)
        self._job_metrics = JobMetrics(self.metrics)
        self._process_metrics = ProcessMetrics(self.metrics)
        self._process_metrics.database = database
        self._running = RunningAttempts(
            database,
            handlers,
            options,
            metrics=self._job_metrics,
            troubles=self._troubles,
            on_ended=self._wake.set,
        )
        self._refusals = Refusals(database, self._capabilities)
        self._membership = Membership(database, self._capabilities, options)
        self._slot_yielding = SlotYielding(
            database, self._membership, self._capabilities, self._running, options, self._troubles
        )

    def stop(self) -> None:
        """Finish what runs, start nothing new. A second call doesn't wait for what runs."""
        if self._stopping.is_set():
            self._hurry.set()
        else:
            logger.info(
                "Stopping: waiting for %d running job(s)", len(self._running.tasks),
                extra={"worker": self._membership.worker.name},
            )  # fmt: skip
        self._running.drain()
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Work until stopped, or (`wait=False`) until there is nothing left to do."""
        # Before the signals: one that arrives while the worker starts may block its log.
        async with watched(self._options):
            await self._run()

    async def _run(self) -> None:
        with self._signals(), self._exposed():
            await self._declare()
            await self._membership.register()
            try:
                name = self._membership.worker.name
                with bound({"worker": name}), acting(Actor(door=Door.WORKER, name=name)):
                    async with self._listening():
                        self._membership.log_ready()
                        await self._run_registered()
            finally:
                await self._membership.unregister()
                await self._handlers.close()
        if self._running.stuck_handlers and self._options.install_signal_handlers:
            # The event loop would wait for ever for what can't be cancelled.
            logger.error(
                "%d handler(s) can't be stopped: ending the process", self._running.stuck_handlers
            )
            exit_now()

    async def _declare(self) -> None:
        """Before the first claim: the database then knows every type that this worker takes."""
        for params in self._handlers.job_types.values():
            await self._database.until_done(params.declare, what="A worker")

    async def _run_registered(self) -> None:
        leadership = Leadership(
            self._database,
            self._me,
            lease_seconds=self._options.lease_seconds,
            retention=self._options.retention,
            metrics=self._job_metrics,
            troubles=self._troubles,
        )
        sessions = SessionWatch(
            self._database,
            self._me,
            on_lost_leader=leadership.lead_soon,
            metrics=self._job_metrics,
            troubles=self._troubles,
        )
        async with asyncio.TaskGroup() as background:
            with contextlib.suppress(psycopg.Error):
                await leadership.lead()  # lost jobs are recovered before the first claim
            tasks = [
                background.create_task(self._heartbeat(), name="heartbeat"),
                background.create_task(self._running.leases.run(), name="leases"),
                background.create_task(self._slot_yielding.run(), name="fairness"),
                background.create_task(leadership.run(), name="leadership"),
                background.create_task(sessions.run(), name="sessions"),
                background.create_task(self._process_metrics.measure_lag(), name="lag"),
            ]
            try:
                await self._loop()
                await self._drain()
            except BaseException:
                # Cancelled: a program that runs the worker inside its own event loop stops it this
                # way. An error: what runs goes back to the queue before the process ends.
                self._hurry.set()
                await self._drain()
                raise
            for task in tasks:
                task.cancel()

    async def _heartbeat(self) -> None:
        await self._membership.run(
            stuck=lambda: self._running.stuck_handlers,
            draining=self._stopping.is_set,
            listening=self._is_listening,
            troubles=lambda: [*self._troubles.report(), *self._refusals.report()],
        )

    def _me(self) -> RegisteredWorker:
        return self._membership.worker

    def _is_listening(self) -> bool:
        return self._listener is not None and self._listener.is_listening

    async def _drain(self) -> None:
        await drain(self._running, self._hurry, self._options)

    async def _loop(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._wake.clear()  # before the claim: what arrives from now on is not lost
            try:
                delay = await self._claim_registered()
            except psycopg.Error as error:
                self._claims_in_doubt = True
                failures += 1
                delay = min(TROUBLE_DELAY_MAX, 0.05 * 2 ** min(failures, 10))
                if not await self._find_refused(error):
                    logger.warning("Can't claim jobs, trying again: %s", error)
            else:
                failures = 0
                # An attempt that has ended since the claim began may have submitted another job.
                if not (self._running.tasks or self._options.wait or self._wake.is_set()):
                    return
            await self._sleep(delay)

    async def _claim_registered(self) -> float | None:
        with self._troubles.watching("claim jobs"):
            try:
                return await self._claim()
            except psycopg.errors.ForeignKeyViolation as error:
                if error.diag.constraint_name != WORKER_IS_REGISTERED:
                    raise
                await self._membership.register_again()  # this process slept for so long
                return DUE_DELAY_MIN

    async def _find_refused(self, error: psycopg.Error) -> bool:
        """Whether the claim failed because of some jobs, which are left out from now on."""
        if error.sqlstate is None:
            return False  # no answer of the database
        try:
            return await self._refusals.find(
                self._membership.worker,
                error,
                slots=max(1, self._running.free_slots),
                lease_seconds=self._options.lease_seconds,
            )
        except psycopg.Error:
            return False

    async def _claim(self) -> float | None:
        """Fill the free slots. Returns seconds until a job is due that no NOTIFY announces."""
        free = self._running.free_slots
        async with self._database.connection() as connection:
            if self._claims_in_doubt:
                # Claimed, perhaps, by a statement whose answer was lost.
                for job in await fleet.unacknowledged(
                    connection, self._membership.worker.id, self._running.attempts.keys()
                ):
                    self._running.begin(job)
                self._claims_in_doubt = False
            if free <= 0:
                return None
            claimed = await fleet.claim(
                connection,
                self._membership.worker,
                self._capabilities,
                slots=free,
                lease_seconds=self._options.lease_seconds,
                skipped=self._refusals.skipped,
            )
            for job in claimed:
                self._running.begin(job)
            if len(claimed) == free:
                return None  # the next attempt that ends wakes the loop
            due_in = await fleet.next_due(connection, self._membership.worker, self._capabilities)
        if (next_try := self._refusals.next_try) is not None:
            due_in = next_try if due_in is None else min(due_in, next_try)
        if due_in is None:
            return None
        return OVERDUE_DELAY if due_in < 0 else max(due_in, DUE_DELAY_MIN)

    async def _sleep(self, delay: float | None) -> None:
        longest = self._options.fetch_job_polling_interval
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest if delay is None else min(longest, delay)):
                await self._wake.wait()

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncGenerator[None]:
        if not self._options.listen_notify:
            yield
            return
        arrivals = tuple(get_channel_for_queues(self._options.queues))
        listener = Listener(
            self._database,
            (*arrivals, WORK_WAITS, JOB_CANCELLED),
            session_key=self._membership.session_key,
        )
        with contextlib.ExitStack() as subscriptions:
            for channel in (*arrivals, WORK_WAITS):
                subscriptions.enter_context(
                    listener.subscribe(channel, self._on_work, self._wake.set)
                )
            subscriptions.enter_context(
                listener.subscribe(JOB_CANCELLED, self._on_cancelled, self._wake.set)
            )
            async with listener:
                self._listener = self._process_metrics.listener = listener
                await listener.wait_for_proof()
                yield

    def _on_work(self, _payload: str) -> None:
        self._wake.set()
        self._slot_yielding.check_soon()

    def _on_cancelled(self, payload: str) -> None:
        with contextlib.suppress(ValueError):  # another program may notify anything
            self._running.stop(UUID(payload), Stop.CANCELLED)

    @contextlib.contextmanager
    def _exposed(self) -> Generator[None]:
        options = self._options
        if options.metrics_port is None:
            yield
            return
        with exposed(self.metrics, host=options.metrics_host, port=options.metrics_port):
            yield

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
