"""One attempt of one job, from claim to recorded outcome: handle → record.

Outcomes are values. This room is where whatever a handler raises becomes one, and the only one that
may catch everything.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, cast

import psycopg

from evalqueue import codec
from evalqueue import context as contexts
from evalqueue.context import JobContext
from evalqueue.errors import AttemptOver, InvalidParams, JobFailed, TryAgain, YieldSlot, describe
from evalqueue.handlers import Handler, Handlers
from evalqueue.jobs import Job, JobStatus
from evalqueue.jobtypes import JobTypes
from evalqueue.postgres import store
from evalqueue.postgres.database import TRANSIENT, Connection, Database

FLUSH_INTERVAL = 0.25  # seconds: at most four progress writes a second and job
FENCE_INTERVAL = 1.0  # seconds between looks at the fence while there is nothing to write
BACKOFF_BASE = 2.0  # seconds
BACKOFF_MAX = 120.0  # seconds
RETRY_AFTER_MAX = 30 * 86_400.0  # seconds a handler may put its job off
RESULT_LIMIT = 1024 * 1024  # characters of JSON; what is larger belongs into a table

UNWRITABLE = (psycopg.Error, TypeError, ValueError)
"""What says that an outcome, not the database, is the trouble (once TRANSIENT is waited out)."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The handler returned."""

    name: str = "completed"
    result: Mapping[str, Any]
    error: None = None
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Failed for good."""

    name: str = "failed"
    error: str
    result: Mapping[str, Any] | None = None
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """Not now: again after a delay, as long as there are attempts left."""

    name: str = "retry"
    error: str
    delay_seconds: float
    result: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The worker is stopping: back to the queue, not counted."""

    name: str = "released"
    error: str = "Its worker was stopped; it goes on elsewhere"
    result: None = None
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Yielded:
    """It made room for others: back to the end of its line, not counted."""

    name: str = "yielded"
    error: str = "It made room for others, and goes on when it is its turn again"
    result: None = None
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """The attempt ended from outside (cancelled, lost): there is nothing left to record."""


Outcome = Completed | Failed | Retried | Released | Yielded
Ending = Outcome | Over


class Stop(StrEnum):
    """Why a running attempt is told to stop."""

    OVER = "over"
    SHUTDOWN = "shutdown"


class Attempt:
    """One try at one job. `run` does all of it; `stop` may be called at any time.

    Args:
        job: as it was claimed, its attempt running.
        patience_seconds: how long a handler that was interrupted may take to let go, each of the
            three times it is told. Then it is left to itself, and its slot is free.
    """

    def __init__(
        self,
        job: Job,
        *,
        database: Database,
        handlers: Handlers,
        lease_seconds: float,
        patience_seconds: float,
        delete_task_after: frozenset[str] = frozenset(),
    ) -> None:
        self.job = job
        self._database = database
        self._handlers = handlers
        self._lease_seconds = lease_seconds
        self._patience_seconds = patience_seconds
        self._delete_task_after = delete_task_after
        self._context = JobContext(job, database)
        self._stopped: Stop | None = None
        self._told = asyncio.Event()
        self._handling: asyncio.Task[Mapping[str, Any]] | None = None

    @property
    def left_behind(self) -> asyncio.Task[Mapping[str, Any]] | None:
        """The handler, if it goes on although it was told to stop."""
        handling = self._handling
        return handling if handling is not None and not handling.done() else None

    @property
    def should_yield(self) -> bool:
        return self._context.should_yield

    async def run(self) -> None:
        """Handle, record."""
        job = self.job
        logger.info("Job %s starts (%s, attempt %d)", job.id, job.job_type, job.attempt)
        ending = await self._handle()
        if isinstance(ending, Over):
            logger.info("Job %s: attempt %d is over", job.id, job.attempt)
            return
        try:
            await self._record(ending)
        except UNWRITABLE as error:
            reason = f"Its outcome could not be written: {describe(error)}"
            await self._record(Failed(error=reason))

    def stop(self, why: Stop) -> None:
        """Interrupt the handler where it waits. What it finds afterwards is not recorded."""
        first = self._stopped is None
        if first or why is Stop.OVER:
            self._stopped = why
        self._told.set()
        if first and self._handling is not None:
            self._handling.cancel()  # once: a second one would cut short how it lets go

    def yield_slot(self) -> None:
        """Ask the handler to let go at its next good moment."""
        self._context.yield_slot()

    def drain(self) -> None:
        """Tell the handler that its worker is to stop, though not yet."""
        self._context.drain()

    async def _handle(self) -> Ending:
        if self._stopped is not None:
            return self._interrupted()
        job, context = self.job, self._context
        handler = self._handlers[job.job_type]
        self._handling = asyncio.create_task(_call(handler, context), name=f"job {job.id}")
        done = asyncio.Event()
        keeping = asyncio.create_task(self._keep_alive(context, done), name=f"lease {job.id}")
        told = asyncio.create_task(self._told.wait(), name=f"stop {job.id}")
        try:
            await asyncio.wait({self._handling, keeping, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            if not self._handling.done():
                self.stop(self._stopped or Stop.OVER)
            await self._let_go(self._handling)
            # Told, not cancelled: a statement that is cut short costs its connection.
            done.set()
            context.wake()
            await asyncio.wait({keeping})
        if (broken := keeping.exception()) is not None:
            return Failed(error=f"Its progress could not be written: {describe(broken)}")
        if not self._handling.done():
            self._handling.add_done_callback(_heard)
            return self._interrupted()
        _heard(self._handling)
        ending = _ending(self._handling, job, self._stopped)
        if not isinstance(ending, Over):
            await self._last_progress(context)
        return ending

    def _interrupted(self) -> Ending:
        return Released() if self._stopped is Stop.SHUTDOWN else Over()

    async def _let_go(self, handling: asyncio.Task[Any]) -> None:
        """Wait for an interrupted handler, and tell it again; one that won't listen is left alone.

        Whatever it does from then on is refused by the fence.
        """
        for _ in range(2):
            await asyncio.wait({handling}, timeout=self._patience_seconds)
            if handling.done():
                return
            logger.warning("Job %s ignores that it is to stop: told again", self.job.id)
            handling.cancel()
        await asyncio.wait({handling}, timeout=self._patience_seconds)
        if not handling.done():
            logger.error(
                "Job %s goes on although it was told three times to stop: left to itself. Its "
                "handler swallows asyncio.CancelledError%s",
                self.job.id, _where(handling),
            )  # fmt: skip

    async def _keep_alive(self, context: JobContext, done: asyncio.Event) -> None:
        """Write progress, keep the lease, watch the fence: one statement each time."""
        troubled = False
        while not done.is_set():
            await context.until_noted(FENCE_INTERVAL)
            noted = context.take_noted()
            if noted is None and done.is_set():
                return
            try:
                alive = await self._flush(context.job, noted)
            except TRANSIENT as error:
                context.put_back(noted)
                if not troubled:
                    logger.warning("Job %s: progress waits for Postgres: %s", context.job.id, error)
                troubled = True
                await _pause(done, FENCE_INTERVAL)
                continue
            troubled = False
            if not alive:
                self.stop(Stop.OVER)
                return
            await _pause(done, FLUSH_INTERVAL)

    async def _flush(self, job: Job, noted: Mapping[str, Any] | None) -> bool:
        async with self._database.connection() as connection:
            return await self._flush_on(job, noted, connection)

    async def _flush_on(
        self, job: Job, noted: Mapping[str, Any] | None, connection: Connection
    ) -> bool:
        return await store.flush(
            connection,
            job_id=job.id,
            attempt=job.attempt,
            progress=noted,
            lease_seconds=self._lease_seconds,
        )

    async def _last_progress(self, context: JobContext) -> None:
        noted = context.take_noted()
        if noted is not None:
            flush = partial(self._flush_on, context.job, noted)
            await self._database.until_done(flush, what=f"The progress of job {context.job.id}")

    async def _record(self, outcome: Outcome) -> None:
        job = self.job

        async def finish(connection: Connection) -> JobStatus | None:
            return await store.finish(
                connection,
                job_id=job.id,
                attempt=job.attempt,
                outcome=outcome,
                delete_task=outcome.name in self._delete_task_after,
            )

        status = await self._database.until_done(finish, what=f"The outcome of job {job.id}")
        logger.info(
            "Job %s: attempt %d %s; the job is %s",
            job.id, job.attempt, outcome.name, status or "no longer ours",
        )  # fmt: skip


def _heard(handling: asyncio.Task[Any]) -> None:
    """What an interrupted handler raised is nobody's business: asyncio need not complain of it."""
    if not handling.cancelled():
        handling.exception()


def _where(handling: asyncio.Task[Any]) -> str:
    """Where in its code a task waits, for a log line."""
    frames = handling.get_stack(limit=1)
    return f", in {frames[0].f_code.co_qualname}, line {frames[0].f_lineno}" if frames else ""


async def _pause(done: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await done.wait()


async def _call(handler: Handler, context: JobContext) -> Mapping[str, Any]:
    contexts.current.set(context)
    params = JobTypes([handler.params]).decode(context.job.job_type, context.job.params)
    return await handler.function(context, params) or {}


def _ending(handling: asyncio.Task[Mapping[str, Any]], job: Job, stopped: Stop | None) -> Ending:
    """What became of the handler, as a value."""
    if stopped is Stop.OVER:
        return Over()
    if handling.cancelled():
        if stopped is Stop.SHUTDOWN:
            return Released()
        return Failed(error="Its handler cancelled itself")
    error = handling.exception()
    if error is None:
        return _completed(handling.result())
    if stopped is Stop.SHUTDOWN:
        logger.info("Job %s was interrupted by the shutdown: %s", job.id, describe(error))
        return Released()
    return _failure(_first(error), job)


def _completed(result: Mapping[str, Any]) -> Ending:
    unfit = _unfit(result)
    return Completed(result=result) if unfit is None else Failed(error=unfit)


def _failed(error: str, result: Mapping[str, Any] | None) -> Ending:
    unfit = None if result is None else _unfit(result)
    return Failed(error=error, result=result) if unfit is None else Failed(error=error)


def _unfit(result: object) -> str | None:
    """Why something can't be a job's result; None: it can."""
    if not isinstance(result, Mapping):
        return f"Its handler returned {type(result).__name__}, and a result is a JSON object"
    try:
        size = len(codec.dump_json(dict(result)))  # pyright: ignore[reportUnknownArgumentType]  that is what is checked
    except (TypeError, ValueError) as error:
        return f"Its handler returned something that is not JSON: {error}"
    if size > RESULT_LIMIT:
        return f"Its handler returned {size} characters of JSON, over {RESULT_LIMIT}"
    return None


def _failure(error: BaseException, job: Job) -> Ending:
    match error:
        case AttemptOver() | YieldSlot():
            return Over() if isinstance(error, AttemptOver) else Yielded()
        case JobFailed():
            return _failed(str(error) or describe(error), error.result)
        case TryAgain():
            return Retried(error=str(error), delay_seconds=_delay(job, error.after))
        case InvalidParams():
            return Failed(error=f"Its params don't fit the job type {job.job_type!r}: {error}")
        case _ if isinstance(error, TRANSIENT):
            return Retried(error=describe(error), delay_seconds=_delay(job, None))
        case _:
            logger.error("Job %s failed", job.id, exc_info=error)
            return Failed(error=describe(error))


def _first(error: BaseException) -> BaseException:
    """Of several errors at once the one that decides: a lost fence, then a handler's own word."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    leaves = [_first(inner) for inner in group.exceptions]
    rank = (AttemptOver, JobFailed, TryAgain, YieldSlot)
    return min(leaves, key=lambda e: next((i for i, t in enumerate(rank) if isinstance(e, t)), 9))


def _delay(job: Job, after: float | None) -> float:
    """Seconds until the next attempt: what was asked for, else exponential with full jitter
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)."""
    if after is not None:
        return min(max(after, 0.0), RETRY_AFTER_MAX)
    return random.uniform(0, min(BACKOFF_MAX, BACKOFF_BASE * 2**job.failed_attempts))  # noqa: S311  jitter
