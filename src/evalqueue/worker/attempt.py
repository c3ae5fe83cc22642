"""One attempt at one job, from claim to recorded end: call → classify → record."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from evalqueue import context as contexts
from evalqueue.codec import UnreadableJson
from evalqueue.context import JobContext
from evalqueue.errors import JobFailed, describe
from evalqueue.handlers import Handler, Handlers
from evalqueue.jobs import AttemptOutcome, Ended, Job
from evalqueue.jobtypes import JobTypes
from evalqueue.metrics.jobs import OVER, JobMetrics
from evalqueue.postgres.database import UNWRITABLE, Database
from evalqueue.telemetry import jobs as telemetry
from evalqueue.telemetry.spans import TracedWork
from evalqueue.worker.leases import Leases
from evalqueue.worker.outcomes import Stop, classify, interrupted
from evalqueue.worker.recorder import OutcomeRecorder

RECORD_PATIENCE = 5.0  # seconds to record an end, after which the slot is free
CANCELLATIONS = 3  # requests to stop before a handler is abandoned

logger = logging.getLogger(__name__)

Handling = asyncio.Task[Mapping[str, Any]]


class Attempt:
    """One attempt at one job. `run` does all of it; `stop` may be called at any time.

    Args:
        job: as it was claimed, its attempt running.
        patience_seconds: how long an interrupted handler may take to end, after each of three
            cancellations. After that it is abandoned, and its slot is free.
        on_recording: called when its handler has ended and its end is being recorded, and again
            when that takes long: Postgres is away, or refuses this row again and again.
    """

    def __init__(
        self,
        job: Job,
        *,
        database: Database,
        handlers: Handlers,
        leases: Leases,
        recorder: OutcomeRecorder,
        metrics: JobMetrics,
        patience_seconds: float,
        on_recording: Callable[[], None],
    ) -> None:
        self.job = job
        self._began = time.monotonic()
        self._metrics = metrics
        self.is_recording = False
        self.is_unrecorded = False
        """Whether recording its end takes long."""
        self._on_recording = on_recording
        self._handlers = handlers
        self._leases = leases
        self._recorder = recorder
        self._patience_seconds = patience_seconds
        self._context = JobContext(job, database)
        self._stopped: Stop | None = None
        self._stop_requested: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._progress_error: BaseException | None = None
        self._handling: Handling | None = None

    @property
    def abandoned_handler(self) -> Handling | None:
        """The handler, if it still runs although it was cancelled."""
        handling = self._handling
        return handling if handling is not None and not handling.done() else None

    @property
    def should_yield(self) -> bool:
        return self._context.should_yield

    async def run(self) -> None:
        """Call the handler, classify how it ended, record that."""
        with telemetry.attempt(self.job) as work:
            await self._run(work)

    async def _run(self, work: TracedWork) -> None:
        job = self.job
        logger.info("Job %s starts (%s, attempt %d)", job.id, job.job_type, job.attempt)
        ended = await self._call()
        telemetry.attempt_ended(work, ended)
        if ended is None:
            outcome = Stop.CANCELLED if self._stopped is Stop.CANCELLED else OVER
            logger.info(
                "Job %s: attempt %d is over", job.id, job.attempt, extra={"outcome": str(outcome)}
            )
            self._metrics.ended(job, outcome, time.monotonic() - self._began)
            return
        late = asyncio.get_running_loop().call_later(RECORD_PATIENCE, self._is_late)
        self.is_recording = True
        self._on_recording()
        try:
            await self._record(ended)
        except UNWRITABLE as error:
            unwritten = Ended.failed(f"Its outcome could not be written: {describe(error)}")
            telemetry.attempt_ended(work, unwritten)
            await self._record(unwritten)
        finally:
            late.cancel()

    def stop(self, why: Stop) -> None:
        """Interrupt the handler where it waits. Its result is not recorded."""
        first = self._stopped is None
        if self._stopped is not Stop.CANCELLED and (first or why.is_final):
            self._stopped = why
        if not self._stop_requested.done():
            self._stop_requested.set_result(None)
        if first and self._handling is not None:
            self._handling.cancel()  # once: a second one would interrupt its clean-up

    def yield_slot(self) -> None:
        """Ask the handler to yield its slot at the next good moment."""
        self._context.yield_slot()

    def drain(self) -> None:
        """Announce to the handler that its worker will stop."""
        self._context.drain()

    async def _call(self) -> Ended | None:
        """Run the handler under the lease. None: the attempt is over, with nothing to record."""
        if self._stopped is not None:
            return interrupted(self._stopped)
        handler = self._handlers[self.job.job_type]
        self._handling = handling = asyncio.create_task(
            _handle(handler, self._context), name=f"job {self.job.id}"
        )
        async with self._leases.hold(
            self._context, on_lost=lambda: self.stop(Stop.OVER), on_error=self._on_progress_error
        ):
            await self._until_ended(handling)
        if (error := self._progress_error) is not None:
            return Ended.failed(f"Its progress could not be written: {describe(error)}")
        if not handling.done():
            handling.add_done_callback(_retrieve)
            return interrupted(self._stopped)
        _retrieve(handling)
        ended = classify(handling, self.job, self._stopped)
        if ended is not None:
            await self._leases.write_last(self._context)
        return ended

    def _on_progress_error(self, error: BaseException) -> None:
        self._progress_error = error
        self.stop(self._stopped or Stop.OVER)

    async def _until_ended(self, handling: Handling) -> None:
        """Until the handler has ended, was stopped, or its lease was lost."""
        try:
            await asyncio.wait(
                {handling, self._stop_requested}, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            if not handling.done():
                self.stop(self._stopped or Stop.OVER)
                await self._interrupt(handling)

    async def _interrupt(self, handling: Handling) -> None:
        """Wait for a cancelled handler, and cancel it again; abandon one that ignores it.

        The fence refuses all that it writes from then on.
        """
        for _ in range(CANCELLATIONS - 1):
            await asyncio.wait({handling}, timeout=self._patience_seconds)
            if handling.done():
                return
            logger.warning("Job %s ignores its cancellation: cancelled again", self.job.id)
            handling.cancel()
        await asyncio.wait({handling}, timeout=self._patience_seconds)
        if not handling.done():
            logger.error(
                "Job %s still runs after %d cancellations: abandoned. Its handler swallows "
                "asyncio.CancelledError%s",
                self.job.id, CANCELLATIONS, _where(handling),
            )  # fmt: skip

    def _is_late(self) -> None:
        self.is_unrecorded = True
        self._on_recording()

    async def _record(self, ended: Ended) -> None:
        job = self.job
        status = await self._recorder.record(job, ended)
        self._metrics.recorded(job, ended.kind, status, time.monotonic() - self._began)
        is_failure = ended.kind in {AttemptOutcome.FAILED, AttemptOutcome.RETRY}
        logger.log(  # not the reason, which may quote a conversation: it is in jobs.error_message
            logging.WARNING if is_failure else logging.INFO,
            "Job %s: attempt %d %s; the job is %s",
            job.id, job.attempt, ended.kind.value, status or "no longer ours",
            extra={"outcome": ended.kind.value},
        )  # fmt: skip


async def _handle(handler: Handler, context: JobContext) -> Mapping[str, Any]:
    contexts.current.set(context)
    if isinstance(context.job.params, UnreadableJson):
        raise JobFailed(f"Its params can't be read: {context.job.params.problem}")
    params = JobTypes([handler.params]).decode(context.job.job_type, context.job.params)
    return await handler.function(context, params) or {}


def _retrieve(handling: asyncio.Task[Any]) -> None:
    """Retrieve an exception, so that asyncio does not log it as never retrieved."""
    if not handling.cancelled():
        handling.exception()


def _where(handling: asyncio.Task[Any]) -> str:
    """Where in its code a task waits, for a log line."""
    frames = handling.get_stack(limit=1)
    return f", in {frames[0].f_code.co_qualname}, line {frames[0].f_lineno}" if frames else ""
