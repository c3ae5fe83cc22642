"""Jobs that the database refuses to hand out: a trigger of another program raises at their claim.

A claim is one statement for all free slots, so one such job stops them all. After a claim that
raised, the next jobs are tried one by one; those that can't be claimed are left out for a while.
"""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

import psycopg

from evalqueue.postgres import fleet
from evalqueue.postgres.database import TRANSIENT, Database
from evalqueue.postgres.fleet import Capabilities, RegisteredWorker

SKIP_SECONDS = 1.0  # the first time; doubled by each refusal
SKIP_SECONDS_MAX = 300.0
REFUSALS_MAX = 1000  # remembered jobs

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Refusal:
    until: float  # in the event loop's time
    seconds: float


class Refusals:
    """Which jobs a worker leaves out of its claims."""

    def __init__(self, database: Database, capabilities: Capabilities) -> None:
        self._database = database
        self._capabilities = capabilities
        self._refused: dict[UUID, _Refusal] = {}

    @property
    def skipped(self) -> Collection[UUID]:
        now = asyncio.get_running_loop().time()
        return [job_id for job_id, refusal in self._refused.items() if refusal.until > now]

    @property
    def next_try(self) -> float | None:
        """Seconds until one of them is tried again; None: there are none."""
        now = asyncio.get_running_loop().time()
        waits = [each.until - now for each in self._refused.values() if each.until > now]
        return min(waits, default=None)

    async def find(
        self, worker: RegisteredWorker, error: psycopg.Error, *, slots: int, lease_seconds: float
    ) -> bool:
        """After a claim that raised: find the jobs that are the reason. False: there are none.

        Raises:
            psycopg.Error: the database can't say.
        """
        async with self._database.connection() as connection:
            found = await fleet.try_claims(
                connection,
                worker,
                self._capabilities,
                slots=slots,
                lease_seconds=lease_seconds,
                skipped=self.skipped,
            )
        problems = {job_id: problem for job_id, problem in found.items() if problem is not None}
        if isinstance(error, TRANSIENT) and len(problems) == len(found):
            return False  # the database is the trouble, not a row
        for job_id, problem in problems.items():
            self._skip(job_id, problem)
        return bool(problems)

    def _skip(self, job_id: UUID, problem: str) -> None:
        now = asyncio.get_running_loop().time()
        known = self._refused.pop(job_id, None)
        seconds = SKIP_SECONDS if known is None else min(SKIP_SECONDS_MAX, 2 * known.seconds)
        if known is None:
            logger.error(
                "Job %s can't be claimed, and is left out for a while: %s", job_id, problem
            )
        self._refused[job_id] = _Refusal(now + seconds, seconds)
        if len(self._refused) > REFUSALS_MAX:
            self._refused.pop(next(iter(self._refused)))
