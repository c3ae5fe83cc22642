"""Fairness: a worker without a free slot yields one when other jobs wait for their share."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Collection
from uuid import UUID

import psycopg

from evalqueue.postgres import fleet
from evalqueue.postgres.database import Database
from evalqueue.postgres.fleet import Capabilities
from evalqueue.worker.heartbeat import Membership
from evalqueue.worker.options import WorkerOptions
from evalqueue.worker.refusals import Troubles
from evalqueue.worker.running import RunningAttempts

CHECKING = "check for waiting jobs"
YIELD_DELAY_MAX = 0.3  # seconds; which of the full workers yields a slot is left to chance

logger = logging.getLogger(__name__)


class SlotYielding:
    """Checks for waiting jobs while every slot is taken, and asks attempts to yield."""

    def __init__(
        self,
        database: Database,
        membership: Membership,
        capabilities: Capabilities,
        running: RunningAttempts,
        options: WorkerOptions,
        troubles: Troubles,
    ) -> None:
        self._troubles = troubles
        self._database = database
        self._membership = membership
        self._capabilities = capabilities
        self._running = running
        self._options = options
        self._work_waits = asyncio.Event()

    def check_soon(self) -> None:
        """A job may wait: don't delay the next check by a whole time slice."""
        self._work_waits.set()

    async def run(self) -> None:
        """Check again and again, until cancelled."""
        concurrency = self._options.concurrency
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.slice_seconds):
                    await self._work_waits.wait()
            self._work_waits.clear()
            if self._running.free_slots > 0:
                self._troubles.forget(CHECKING)
                continue
            await asyncio.sleep(random.uniform(0, YIELD_DELAY_MAX))  # noqa: S311  jitter, not a secret
            held = [
                job_id
                for job_id, attempt in self._running.attempts.items()
                if not attempt.should_yield
            ]
            if len(held) < concurrency:
                continue
            try:
                with self._troubles.watching(CHECKING):
                    await self._yield_slots(held)
            except psycopg.Error as error:
                logger.warning("Can't check for waiting jobs: %s", error)

    async def _yield_slots(self, held: Collection[UUID]) -> None:
        async with self._database.connection() as connection:
            yielding = await fleet.jobs_to_yield(
                connection,
                self._membership.worker,
                self._capabilities,
                held=held,
                slice_seconds=self._options.slice_seconds,
            )
        for job_id in yielding:
            if (attempt := self._running.attempts.get(job_id)) is not None:
                logger.info("Job %s yields its slot", job_id)
                attempt.yield_slot()
