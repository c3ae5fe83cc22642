"""What one worker of the fleet does for all: bring back what was lost, submit what is scheduled,
delete what is old.

Every worker has a caretaker; whose turn it is, is a row in the database with a term (`job_leader`).
Whoever is paused past its term finds somebody else in office.
"""

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from datetime import timedelta

from evalqueue.postgres import fleet, schedules
from evalqueue.postgres.database import TRANSIENT, Database
from evalqueue.postgres.fleet import RegisteredWorker

TROUBLE_DELAY = 1.0  # seconds between tries while the database is away
LOOK_DELAY_MIN = 0.2  # seconds; what can't be taken back yet is looked for this often
PRUNE_INTERVAL = 600.0  # seconds
PRUNE_PAUSE = 0.1  # seconds between chunks: others want the disk, too

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long what is over is kept; None: for ever."""

    jobs: timedelta | None = None
    runs: timedelta | None = None
    logs: timedelta | None = None

    @property
    def for_ever(self) -> bool:
        return self.jobs is None and self.runs is None and self.logs is None


class Leadership:
    """Looks after the fleet while it is this worker's turn."""

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
        self._keeping = retention
        self._pruned_at = time.monotonic()

    async def run(self) -> None:
        """Look, again and again, until cancelled."""
        while True:
            try:
                due = await self.look()
            except TRANSIENT as error:
                logger.warning("Can't look after the fleet, trying again: %s", error)
                due = TROUBLE_DELAY
            await asyncio.sleep(due)

    async def look(self) -> float:
        """Look once, if it is this worker's turn. Returns seconds until the next look."""
        async with self._database.connection() as connection:
            swept = await fleet.sweep(connection, self._me, term_seconds=self._term_seconds)
            if not swept.is_leader:
                # Not all at once, when the leader is gone.
                return swept.due_in + random.uniform(0, self._term_seconds / 4)  # noqa: S311  jitter, not a secret
            if swept.recovered:
                logger.warning("%d job(s) had lost their worker", swept.recovered)
            next_schedule = await schedules.fire_due(connection)
        await self._prune()
        dues = [swept.due_in] if next_schedule is None else [swept.due_in, next_schedule]
        return max(min(dues), LOOK_DELAY_MIN)

    async def _prune(self) -> None:
        if self._keeping.for_ever or time.monotonic() - self._pruned_at < PRUNE_INTERVAL:
            return
        self._pruned_at = time.monotonic()
        pruned = await prune(self._database, self._keeping)
        logger.info("%d old row(s) deleted", pruned)


async def prune(database: Database, retention: Retention) -> int:
    """Delete what is old, a chunk at a time. Returns how many rows went."""
    total = 0
    while True:
        async with database.connection() as connection:
            gone = await fleet.prune(
                connection,
                keep_jobs=retention.jobs,
                keep_runs=retention.runs,
                keep_logs=retention.logs,
            )
        total += gone
        if gone == 0:
            return total
        await asyncio.sleep(PRUNE_PAUSE)
