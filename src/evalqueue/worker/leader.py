"""What only the leader of the fleet does: recover lost jobs, submit scheduled ones, delete rows.

Every worker tries to lead; a row in the database names the leader and its term (`job_leader`). A
worker that is paused past its term finds another worker leading.
"""

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from datetime import timedelta

import psycopg

from evalqueue.postgres import fleet, schedules
from evalqueue.postgres.database import Database
from evalqueue.postgres.fleet import RegisteredWorker

TROUBLE_DELAY = 1.0  # seconds between tries while the database is away
LEAD_DELAY_MIN = 0.2  # seconds between tries while a lost job can't be recovered yet
PRUNE_INTERVAL = 600.0  # seconds
PRUNE_PAUSE = 0.1  # seconds between chunks, for other users of the disk

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long finished jobs, runs and logs are kept; None: for ever."""

    jobs: timedelta | None = None
    runs: timedelta | None = None
    logs: timedelta | None = None

    @property
    def for_ever(self) -> bool:
        return self.jobs is None and self.runs is None and self.logs is None


class Leadership:
    """Runs what only the leader does, while this worker is the leader."""

    def __init__(
        self,
        database: Database,
        me: RegisteredWorker,
        *,
        lease_seconds: float,
        retention: Retention,
    ) -> None:
        self._database = database
        self._me = me
        self._term_seconds = lease_seconds / 2
        self._retention = retention
        self._pruned_at = time.monotonic()

    async def run(self) -> None:
        """Lead whenever possible, until cancelled."""
        while True:
            try:
                delay = await self.lead()
            except psycopg.Error as error:
                logger.warning("Can't lead the fleet, trying again: %s", error)
                delay = TROUBLE_DELAY
            await asyncio.sleep(delay)

    async def lead(self) -> float:
        """Do it once, if this worker is the leader. Returns seconds until the next time."""
        async with self._database.connection() as connection:
            turn = await fleet.lead(connection, self._me, term_seconds=self._term_seconds)
            if not turn.is_leader:
                # Not all at once, when the leader is gone.
                return turn.due_in + random.uniform(0, self._term_seconds / 4)  # noqa: S311  jitter, not a secret
            if turn.recovered:
                logger.warning("%d job(s) had lost their worker", turn.recovered)
            next_schedule = await schedules.fire_due(connection)
        await self._prune()
        dues = [turn.due_in] if next_schedule is None else [turn.due_in, next_schedule]
        return max(min(dues), LEAD_DELAY_MIN)

    async def _prune(self) -> None:
        if self._retention.for_ever or time.monotonic() - self._pruned_at < PRUNE_INTERVAL:
            return
        self._pruned_at = time.monotonic()
        try:
            pruned = await prune(self._database, self._retention)
        except psycopg.Error as error:
            logger.warning("Old rows can't be deleted: %s", error)
            return
        logger.info("%d old row(s) deleted", pruned)


async def prune(database: Database, retention: Retention) -> int:
    """Delete old rows, a chunk at a time. Returns how many were deleted."""
    total = 0
    while True:
        async with database.connection() as connection:
            deleted = await fleet.prune(
                connection,
                keep_jobs=retention.jobs,
                keep_runs=retention.runs,
                keep_logs=retention.logs,
            )
        total += deleted
        if deleted == 0:
            return total
        await asyncio.sleep(PRUNE_PAUSE)
