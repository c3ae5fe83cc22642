"""The worker's registration in the fleet, and the two heartbeats: one to the database, one to the
watchdog."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import psycopg

from evalqueue.postgres import fleet
from evalqueue.postgres.database import Database
from evalqueue.postgres.fleet import Capabilities, RegisteredWorker
from evalqueue.telemetry import tasks
from evalqueue.worker.options import WorkerOptions
from evalqueue.worker.watchdog import BEAT, Watchdog

HEARTBEAT_WITHOUT_SESSION = 0.5  # seconds: it alone proves that the process lives
HEARTBEATS_PER_WARNING = 20
HANGS_FOR_GOOD = 3  # leases that the event loop may stand still

logger = logging.getLogger(__name__)


class Membership:
    """This worker's record in the fleet."""

    def __init__(
        self, database: Database, capabilities: Capabilities, options: WorkerOptions
    ) -> None:
        self.worker = RegisteredWorker(id=0, name="")
        self.session_key = secrets.randbits(63) if options.listen_notify else None
        """What this process's LISTEN connection locks; no other program has chosen the same."""
        self._database = database
        self._capabilities = capabilities
        self._options = options

    async def register(self) -> None:
        """Add this worker to the fleet. Waits while Postgres is away."""
        self.worker = await self._database.until_done(
            partial(
                fleet.register,
                name=self._options.name or "worker",
                version=self._options.version,
                capabilities=self._capabilities,
                slots=self._options.concurrency,
                session_key=self.session_key,
            ),
            what="A worker",
        )

    async def register_again(self) -> None:
        """Add this worker to the fleet once more: it was taken for lost, and deleted."""
        name = self.worker.name
        await self.register()
        logger.warning("%s was taken for lost: it is %s now", name, self.worker.name)

    def log_ready(self) -> None:
        """Log that this worker receives notifications, and claims jobs from now on."""
        logger.info(
            "%s is ready: queues %s, %d at a time, job types %s", self.worker.name,
            ", ".join(self._options.queues or ("all",)), self._options.concurrency,
            ", ".join(self._capabilities.job_types),
        )  # fmt: skip

    async def unregister(self) -> None:
        """Remove this worker from the fleet, if the database can be reached."""
        with contextlib.suppress(psycopg.Error):
            async with self._database.connection() as connection:
                await fleet.unregister(connection, self.worker.id)

    async def run(
        self,
        *,
        stuck: Callable[[], int],
        draining: Callable[[], bool],
        listening: Callable[[], bool],
        troubles: Callable[[], Sequence[Mapping[str, str]]],
    ) -> None:
        """Send heartbeats, until cancelled.

        Args:
            troubles: what the database refuses.
            stuck: how many handlers ignore their cancellation.
            draining: whether the worker is stopping.
            listening: whether notifications arrive.
        """
        failures = 0
        reported: Sequence[Mapping[str, str]] = ()
        while True:
            try:
                async with self._database.connection() as connection:
                    known = await fleet.heartbeat(
                        connection,
                        self.worker.id,
                        stuck=stuck(),
                        draining=draining(),
                        listening=listening(),
                        troubles=(reported := troubles()),
                    )
                if not known:
                    await self.register_again()
                failures = 0
            except psycopg.Error as error:
                if failures % HEARTBEATS_PER_WARNING == 0:
                    logger.warning("No heartbeat this time: %s", error)
                failures += 1
            await self._until_due(
                lambda: self._lost_its_session(listening) or len(troubles()) != len(reported)
            )

    def _lost_its_session(self, listening: Callable[[], bool]) -> bool:
        """Whether only frequent heartbeats prove that this process lives."""
        return self.session_key is not None and not listening()

    async def _until_due(self, is_urgent: Callable[[], bool]) -> None:
        """Until the next heartbeat; soon, if it is urgent."""
        ends = time.monotonic() + self._options.update_heartbeat_interval
        while (left := ends - time.monotonic()) > 0:
            await asyncio.sleep(min(left, HEARTBEAT_WITHOUT_SESSION))
            if is_urgent():
                return


@asynccontextmanager
async def watched(options: WorkerOptions) -> AsyncGenerator[None]:
    """Have a thread detect that the event loop stands still, for as long as the block lasts."""
    feeding = tasks.start(_feed_watchdog(options), name="watchdog")
    await asyncio.sleep(0)  # the thread has started when the block begins
    try:
        yield
    finally:
        feeding.cancel()
        await asyncio.wait([feeding])


async def _feed_watchdog(options: WorkerOptions) -> None:
    lease = options.lease_seconds
    owns_process = options.install_signal_handlers  # else it is another program's
    exit_after = HANGS_FOR_GOOD * lease if owns_process else None
    with Watchdog(warn_after=lease, exit_after=exit_after) as watchdog:
        while True:
            watchdog.beat()
            await asyncio.sleep(BEAT / 2)
