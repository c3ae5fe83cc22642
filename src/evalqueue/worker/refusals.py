"""What the database refuses to a worker: statements, and jobs that it can't claim.

A trigger of another program may raise at the claim of a job. A claim is one statement for all free
slots, so one such job stops them all. After a claim that raised, the next jobs are tried one by
one; those that can't be claimed are left out for a while.

What is refused again and again is in the worker's heartbeats, where `evalqueue doctor` finds it.
"""

import asyncio
import logging
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

import psycopg

from evalqueue.errors import ONE_LINE_LIMIT, one_line
from evalqueue.postgres import fleet
from evalqueue.postgres.database import TRANSIENT, Database
from evalqueue.postgres.fleet import Capabilities, RegisteredWorker

SKIP_SECONDS = 1.0  # the first time; doubled by each refusal
SKIP_SECONDS_MAX = 300.0
REFUSALS_MAX = 1000  # remembered jobs
TRIED_AGAIN_WITHIN = 10.0  # seconds after which a job that was not tried again counts as claimed
REPORTED_AFTER = 2.0  # seconds: what was refused for a shorter time may be an outage
REPORTED_MAX = 20  # jobs in a heartbeat

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    since: datetime
    error: str

    @property
    def lasts(self) -> bool:
        return (datetime.now(UTC) - self.since).total_seconds() >= REPORTED_AFTER


class Troubles:
    """Statements of a worker that fail, until they succeed again."""

    def __init__(self) -> None:
        self._known: dict[str, _Trouble] = {}

    @contextmanager
    def watching(self, what: str) -> Generator[None]:
        """Note whether a database error ends the block.

        Args:
            what: completes "It can't …".
        """
        try:
            yield
        except psycopg.Error as error:
            known = self._known.get(what)
            since = datetime.now(UTC) if known is None else known.since
            self._known[what] = _Trouble(since=since, error=one_line(error))
            raise
        else:
            self._known.pop(what, None)

    def forget(self, what: str) -> None:
        """There is nothing to do of this kind any more."""
        self._known.pop(what, None)

    def report(self) -> list[dict[str, str]]:
        """What has failed for a while, as a heartbeat has it."""
        return [
            {"what": what, "error": trouble.error, "since": trouble.since.isoformat()}
            for what, trouble in self._known.items()
            if trouble.lasts
        ]


@dataclass(slots=True)
class _Refusal:
    until: float  # in the event loop's time
    seconds: float
    problem: str
    since: datetime


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

    def report(self) -> Sequence[dict[str, str]]:
        """The jobs that can't be claimed, as a heartbeat has them."""
        now = asyncio.get_running_loop().time()
        current = (
            {
                "what": "claim a job",
                "error": refusal.problem,
                "since": refusal.since.isoformat(),
                "job_id": str(job_id),
            }
            for job_id, refusal in self._refused.items()
            if refusal.until > now - TRIED_AGAIN_WITHIN
        )
        return list(islice(current, REPORTED_MAX))

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
        since = datetime.now(UTC) if known is None else known.since
        self._refused[job_id] = _Refusal(now + seconds, seconds, problem[:ONE_LINE_LIMIT], since)
        if len(self._refused) > REFUSALS_MAX:
            self._refused.pop(next(iter(self._refused)))
