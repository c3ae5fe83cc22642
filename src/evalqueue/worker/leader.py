"""What only the leader of the fleet does: recover lost jobs, submit scheduled ones, delete rows.

Every worker tries to lead; a row in the database names the leader and its term (`job_leader`). A
worker that is paused past its term finds another worker leading.
"""

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import psycopg

from evalqueue.metrics.jobs import JobMetrics
from evalqueue.postgres import fleet, schedules
from evalqueue.postgres.database import Database
from evalqueue.postgres.fleet import RegisteredWorker
from evalqueue.worker.refusals import Troubles

TROUBLE_DELAY = 1.0  # seconds between tries while the database is away
LEAD_DELAY_MIN = 0.2  # seconds between tries while a lost job can't be recovered yet
GRACE = 2.0  # seconds: four heartbeats of a worker without a session
SETTLE = 5.0  # seconds after an outage, in which all sessions come back
LOOK_INTERVAL = 0.4  # seconds between looks at the sessions
LOOK_SHARE = 0.02  # seconds more for each worker of the fleet that looks at the leader
LOOK_GAP_MAX = 5.0  # seconds without a look, after which nothing is known
PRUNE_INTERVAL = 600.0  # seconds
PRUNE_PAUSE = 0.1  # seconds between chunks, for other users of the disk

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long finished jobs, runs, logs and the audit log are kept; None: for ever."""

    jobs: timedelta | None = None
    runs: timedelta | None = None
    logs: timedelta | None = None
    audit: timedelta | None = None

    @property
    def for_ever(self) -> bool:
        return self == Retention()


class Leadership:
    """Runs what only the leader does, while this worker is the leader."""

    def __init__(
        self,
        database: Database,
        me: Callable[[], RegisteredWorker],
        *,
        lease_seconds: float,
        retention: Retention,
        metrics: JobMetrics,
        troubles: Troubles,
    ) -> None:
        self._database = database
        self._me = me
        self._metrics = metrics
        self._troubles = troubles
        self._soon = asyncio.Event()
        self._term_seconds = lease_seconds / 2
        self._retention = retention
        self._pruned_at = time.monotonic()

    async def run(self) -> None:
        """Lead whenever possible, until cancelled."""
        while True:
            self._soon.clear()
            try:
                with self._troubles.watching("lead the fleet"):
                    delay = await self.lead()
            except psycopg.Error as error:
                logger.warning("Can't lead the fleet, trying again: %s", error)
                delay = TROUBLE_DELAY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._soon.wait()

    def lead_soon(self) -> None:
        """Try to lead now: the leader is gone."""
        self._soon.set()

    async def lead(self) -> float:
        """Do it once, if this worker is the leader. Returns seconds until the next time."""
        async with self._database.connection() as connection:
            turn = await fleet.lead(connection, self._me(), term_seconds=self._term_seconds)
            self._metrics.leads(self._term_seconds if turn.is_leader else 0)
            if not turn.is_leader:
                # Not all at once, when the leader is gone.
                return turn.due_in + random.uniform(0, self._term_seconds / 4)  # noqa: S311  jitter, not a secret
            if turn.recovered:
                logger.warning("%d job(s) had lost their worker", turn.recovered)
                self._metrics.recovered(turn.recovered)
            next_schedule = await schedules.fire_due(connection)
        await self._prune()
        dues = [turn.due_in] if next_schedule is None else [turn.due_in, next_schedule]
        return max(min(dues), LEAD_DELAY_MIN)

    async def _prune(self) -> None:
        if self._retention.for_ever or time.monotonic() - self._pruned_at < PRUNE_INTERVAL:
            return
        self._pruned_at = time.monotonic()
        try:
            with self._troubles.watching("delete old rows"):
                pruned = await prune(self._database, self._retention)
        except psycopg.Error as error:
            logger.warning("Old rows can't be deleted: %s", error)
            return
        logger.info("%d old row(s) deleted", pruned)


class SessionWatch:
    """Notices within seconds that the process of another worker has ended.

    The leader looks at all workers that run jobs, the others at the leader. A session that is gone
    is no proof: the worker may open a new one. It is lost when it stays away for `GRACE` and sends
    no heartbeat either. After an outage of Postgres, which ends all sessions, and whenever this
    process could not look for a while, none is taken for lost until all have had time to come back.
    """

    def __init__(
        self,
        database: Database,
        me: Callable[[], RegisteredWorker],
        *,
        on_lost_leader: Callable[[], None],
        metrics: JobMetrics,
        troubles: Troubles,
    ) -> None:
        self._database = database
        self._me = me
        self._metrics = metrics
        self._troubles = troubles
        self._on_lost_leader = on_lost_leader
        self._gone_since = dict[int, float]()
        self._looked_at = -math.inf
        self._settled_at = 0.0

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                with self._troubles.watching("look for lost workers"):
                    delay = await self.look()
            except psycopg.Error:  # other loops of the worker log it
                self._gone_since.clear()
                self._looked_at = -math.inf
                delay = TROUBLE_DELAY
            await asyncio.sleep(delay)

    async def look(self) -> float:
        """Look once. Returns seconds until the next time."""
        me = self._me()
        async with self._database.connection() as connection:
            look = await fleet.without_session(connection, me)
            now = time.monotonic()
            if now - self._looked_at > LOOK_GAP_MAX:
                self._gone_since.clear()
                self._settled_at = now + SETTLE
            self._looked_at = now
            self._gone_since = {each: self._gone_since.get(each, now) for each in look.absent}
            ends = {
                each: max(at + GRACE, self._settled_at) for each, at in self._gone_since.items()
            }
            for each in [each for each, end in ends.items() if end <= now]:
                try:
                    with self._troubles.watching("recover the jobs of a lost worker"):
                        recovered = await fleet.lose(connection, each, silent_seconds=GRACE)
                except psycopg.Error as error:
                    if connection.closed:
                        raise
                    # A trigger of another program, for this one: the others are looked at.
                    logger.warning("Worker %d is lost and can't be recovered: %s", each, error)
                    self._gone_since[each] = now
                    continue
                if recovered is None:
                    continue
                logger.warning(
                    "The process of worker %d has ended: %d job(s) were recovered", each, recovered
                )
                self._metrics.recovered(recovered)
                if not look.is_leader:
                    self._on_lost_leader()
        every = LOOK_INTERVAL if look.is_leader else LOOK_INTERVAL + LOOK_SHARE * look.looks
        waits = [end - now for end in ends.values() if end > now]
        return max(LEAD_DELAY_MIN, min([every, *waits]))


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
                keep_audit=retention.audit,
                is_recorded=total > 0,
            )
        total += deleted
        if deleted == 0:
            return total
        await asyncio.sleep(PRUNE_PAUSE)
