"""The long-lived loop: wait for a wake-up, claim, run attempts, stop well.

Why it isn't procrastinate's own loop is docs/adr/0002. What matters here: the wake-up is cleared
*before* the claim, so that none is lost; scheduled and retried jobs have a timer of their own, so
that polling is only the net; and whatever the database does, the loop goes on.
"""

import asyncio
import contextlib
import logging
import random
import signal
from collections.abc import AsyncGenerator, Collection, Generator
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import psycopg
from procrastinate.manager import get_channel_for_queues

from evalqueue.handlers import Handlers
from evalqueue.jobs import Job
from evalqueue.postgres import fleet
from evalqueue.postgres.database import TRANSIENT, Database
from evalqueue.postgres.fleet import Capabilities, RegisteredWorker
from evalqueue.postgres.listener import JOB_CANCELLED, WORK_WAITS, Listener
from evalqueue.worker.attempt import Attempt, Stop
from evalqueue.worker.leader import Leadership, Retention
from evalqueue.worker.watchdog import BEAT, Watchdog, exit_now

TROUBLE_DELAY_MAX = 1.0  # seconds between tries while the database is away
DUE_DELAY_MIN = 0.02  # seconds
OVERDUE_DELAY = 0.5  # seconds: what is due and can't be had yet is looked for this often
HURRY_PATIENCE = 10.0  # seconds to hand jobs back once nobody waits for them to finish
SLICE = 5.0  # seconds a job has its slot to itself before it makes room for another
ROOM_DELAY_MAX = 0.3  # seconds; who of the full workers makes room is left to chance
HANGS_FOR_GOOD = 3  # leases that the event loop may stand still

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker runs. The names are those of procrastinate's command line."""

    name: str | None = None
    version: str = ""
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
    patience_seconds: float = 5.0
    """How long an interrupted handler may take to let go, each of the three times it is told."""
    slice_seconds: float = SLICE
    retention: Retention = field(default_factory=Retention)
    """How long what is over is kept."""


class Worker:
    """Runs jobs until told to stop."""

    def __init__(self, *, database: Database, handlers: Handlers, options: WorkerOptions) -> None:
        self._database = database
        self._handlers = handlers
        self._options = options
        self._capabilities = Capabilities(
            queues=options.queues, job_types=sorted(handlers.job_types)
        )
        self._me = RegisteredWorker(id=0, name="")
        self._listener: Listener | None = None
        self._wake = asyncio.Event()
        self._somebody_waits = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._claims_in_doubt = False
        self._attempts: dict[UUID, Attempt] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._stuck: set[asyncio.Task[object]] = set()

    def stop(self) -> None:
        """Finish what runs, start nothing new. A second call doesn't wait for what runs."""
        if self._stopping.is_set():
            self._hurry.set()
        else:
            logger.info("Stopping: waiting for %d running job(s)", len(self._running))
        for attempt in self._attempts.values():
            attempt.drain()
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Work until stopped, or (`wait=False`) until there is nothing left to do."""
        with self._signals():
            await self._declare()
            await self._enter()
            leadership = Leadership(
                self._database,
                self._me,
                lease_seconds=self._options.lease_seconds,
                retention=self._options.retention,
            )
            try:
                async with self._listening(), asyncio.TaskGroup() as side:
                    with contextlib.suppress(*TRANSIENT):
                        await leadership.look()  # what was lost is back before the first claim
                    helpers = [
                        side.create_task(self._beat(), name="heartbeat"),
                        side.create_task(self._share_slots(), name="shares"),
                        side.create_task(leadership.run(), name="caretaker"),
                        side.create_task(self._be_watched(), name="watched"),
                    ]
                    try:
                        await self._loop()
                        await self._drain()
                    except asyncio.CancelledError:
                        # Whoever runs us inside a program of their own stops us this way.
                        self._hurry.set()
                        await self._drain()
                        raise
                    for helper in helpers:
                        helper.cancel()
            finally:
                with contextlib.suppress(*TRANSIENT):
                    async with self._database.connection() as connection:
                        await fleet.leave(connection, self._me.id)
                await self._handlers.close()
        if self._stuck and self._options.install_signal_handlers:
            # The event loop would wait for ever for what can't be cancelled.
            logger.error("%d handler(s) can't be stopped: ending the process", len(self._stuck))
            exit_now()

    async def _declare(self) -> None:
        """Before the first claim: the database then knows every type that this worker takes."""
        for params in self._handlers.job_types.values():
            await self._database.until_done(params.declare, what="A worker")

    async def _enter(self) -> None:
        self._me = await self._database.until_done(
            partial(
                fleet.enter,
                name=self._options.name or "worker",
                version=self._options.version,
                capabilities=self._capabilities,
                slots=self._options.concurrency,
            ),
            what="A worker",
        )
        logger.info(
            "%s is ready: queues %s, %d at a time, job types %s", self._me.name,
            ", ".join(self._options.queues or ("all",)), self._options.concurrency,
            ", ".join(self._capabilities.job_types),
        )  # fmt: skip

    async def _loop(self) -> None:
        trouble = 0
        while not self._stopping.is_set():
            self._wake.clear()  # before the claim: what arrives from now on is not lost
            try:
                due = await self._claim()
            except psycopg.errors.ForeignKeyViolation:
                # Whoever slept too long was taken for gone, and its record removed.
                due = await self._enter_again()
            except TRANSIENT as error:
                logger.warning("Can't claim jobs, trying again: %s", error)
                self._claims_in_doubt = True
                trouble += 1
                due = min(TROUBLE_DELAY_MAX, 0.05 * 2 ** min(trouble, 10))
            else:
                trouble = 0
                if not (self._running or self._options.wait):
                    return
            await self._sleep(due)

    async def _claim(self) -> float | None:
        """Fill the free slots. Returns seconds until a job is due that no NOTIFY tells."""
        free = self._options.concurrency - len(self._running)
        async with self._database.connection() as connection:
            if self._claims_in_doubt:
                # Claimed, perhaps, by a statement whose answer was lost.
                for job in await fleet.unacknowledged(
                    connection, self._me.id, self._attempts.keys()
                ):
                    self._begin(job)
                self._claims_in_doubt = False
            if free <= 0:
                return None
            claimed = await fleet.claim(
                connection,
                self._me,
                self._capabilities,
                slots=free,
                lease_seconds=self._options.lease_seconds,
            )
            for job in claimed:
                self._begin(job)
            if len(claimed) == free:
                return None  # whoever ends wakes us
            due = await fleet.next_due(connection, self._capabilities)
        if due is None:
            return None
        return OVERDUE_DELAY if due < 0 else max(due, DUE_DELAY_MIN)

    async def _share_slots(self) -> None:
        """While every slot is taken: does somebody wait who should have one of them?"""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.slice_seconds):
                    await self._somebody_waits.wait()
            self._somebody_waits.clear()
            if len(self._running) < self._options.concurrency:
                continue
            await asyncio.sleep(random.uniform(0, ROOM_DELAY_MAX))  # noqa: S311  jitter, not a secret
            held = [
                job_id for job_id, attempt in self._attempts.items() if not attempt.should_yield
            ]
            if len(held) < self._options.concurrency:
                continue
            try:
                await self._yield_slots(held)
            except TRANSIENT as error:
                logger.warning("Can't look who waits: %s", error)

    async def _yield_slots(self, held: Collection[UUID]) -> None:
        async with self._database.connection() as connection:
            leaving = await fleet.yield_slot(
                connection,
                self._me,
                self._capabilities,
                held=held,
                slice_seconds=self._options.slice_seconds,
            )
        for job_id in leaving:
            if (attempt := self._attempts.get(job_id)) is not None:
                logger.info("Job %s makes room for others", job_id)
                attempt.yield_slot()

    def _begin(self, job: Job) -> None:
        attempt = Attempt(
            job,
            database=self._database,
            handlers=self._handlers,
            lease_seconds=self._options.lease_seconds,
            patience_seconds=self._options.patience_seconds,
            delete_task_after=self._options.delete_tasks_after,
        )
        if (earlier := self._attempts.get(job.id)) is not None:
            earlier.stop(Stop.OVER)  # we lost that one, and have claimed the job again ourselves
        if self._stopping.is_set():
            attempt.drain()
        self._attempts[job.id] = attempt
        running = asyncio.create_task(attempt.run(), name=f"attempt at job {job.id}")
        self._running.add(running)
        running.add_done_callback(partial(self._ended, attempt))

    def _ended(self, attempt: Attempt, running: asyncio.Task[None]) -> None:
        job_id = attempt.job.id
        self._running.discard(running)
        if self._attempts.get(job_id) is attempt:
            del self._attempts[job_id]
        if (handler := attempt.left_behind) is not None:
            self._stuck.add(handler)
            handler.add_done_callback(self._stuck.discard)
        self._wake.set()  # a slot is free
        if not running.cancelled() and (error := running.exception()) is not None:
            # Its lease will run out, and whoever reaps it will say so in the job.
            logger.error("The attempt at job %s broke off", job_id, exc_info=error)

    async def _enter_again(self) -> float:
        await self._enter()
        return DUE_DELAY_MIN

    async def _sleep(self, due: float | None) -> None:
        net = self._options.fetch_job_polling_interval
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
            patience = 3 * self._options.patience_seconds + HURRY_PATIENCE
            await asyncio.wait(running, timeout=patience)

    async def _beat(self) -> None:
        """Say that this worker lives, and how it is."""
        while True:
            try:
                async with self._database.connection() as connection:
                    known = await fleet.beat(
                        connection,
                        self._me.id,
                        stuck=len(self._stuck),
                        draining=self._stopping.is_set(),
                        listening=self._listener is not None and self._listener.is_listening,
                    )
                if not known:
                    await self._enter_again()
            except TRANSIENT as error:
                logger.warning("No heartbeat this time: %s", error)
            await asyncio.sleep(self._options.update_heartbeat_interval)

    async def _be_watched(self) -> None:
        """Have somebody outside of the event loop see whether it stands still."""
        lease = self._options.lease_seconds
        ours = self._options.install_signal_handlers  # else the process is somebody else's
        exit_after = HANGS_FOR_GOOD * lease if ours else None
        with Watchdog(warn_after=lease, exit_after=exit_after) as watchdog:
            while True:
                watchdog.beat()
                await asyncio.sleep(BEAT / 2)

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncGenerator[None]:
        if not self._options.listen_notify:
            yield
            return
        arrivals = tuple(get_channel_for_queues(self._options.queues))
        listener = Listener(self._database, (*arrivals, WORK_WAITS, JOB_CANCELLED))
        with contextlib.ExitStack() as subscriptions:
            for channel in (*arrivals, WORK_WAITS):
                subscriptions.enter_context(
                    listener.subscribe(channel, self._told_of_work, self._wake.set)
                )
            subscriptions.enter_context(
                listener.subscribe(JOB_CANCELLED, self._told_of_cancel, self._wake.set)
            )
            async with listener:
                self._listener = listener
                await listener.heard_itself()
                yield

    def _told_of_work(self, _payload: str) -> None:
        self._wake.set()
        self._somebody_waits.set()

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
