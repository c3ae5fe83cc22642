"""The leases of all running attempts: fence, lease and progress, in one statement for all of them.

Progress is written at once, then at most four times a second and job; without any, the fence is
checked every second. An attempt whose row is locked, or whose progress can't be written, gets a
statement of its own: it delays none of the others.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from evalqueue.context import JobContext
from evalqueue.postgres import store
from evalqueue.postgres.database import TRANSIENT, UNWRITABLE, Connection, Database
from evalqueue.postgres.store import HeldAttempt
from evalqueue.telemetry import tasks
from evalqueue.worker.refusals import Troubles

FLUSH_INTERVAL = 0.25  # seconds: at most four progress writes a second and job
FENCE_INTERVAL = 1.0  # seconds between checks of the fence while there is nothing to write
EXTENDING = "extend leases"
STATEMENT_GAP = 0.02  # seconds between statements: what is noted meanwhile goes into one

logger = logging.getLogger(__name__)


class Lease:
    """One attempt's lease, from `Leases.hold`."""

    def __init__(
        self, context: JobContext, *, now: float, on_lost: Callable[[], None],
        on_error: Callable[[BaseException], None],
    ) -> None:  # fmt: skip
        self.context = context
        self.on_lost = on_lost
        self.on_error = on_error
        self.write_at = now
        """When progress may be written next; a time of the event loop, as below."""
        self.check_at = now + FENCE_INTERVAL
        """When the fence is checked next."""
        self.flushing: asyncio.Future[None] | None = None
        """Done when the statement that has this attempt in it has ended."""

    @property
    def due_at(self) -> float:
        return self.write_at if self.context.has_noted else self.check_at


class Leases:
    """Extends the leases of a worker's attempts and writes their progress, while `run` runs."""

    def __init__(self, database: Database, *, lease_seconds: float, troubles: Troubles) -> None:
        self._database = database
        self._troubles = troubles
        self._lease_seconds = lease_seconds
        self._held: set[Lease] = set()
        self._wake = asyncio.Event()
        self._alone: set[asyncio.Task[None]] = set()
        self._troubled = False

    async def run(self) -> None:
        """Write what is due, until cancelled."""
        while True:
            self._wake.clear()
            if not self._held:
                self._troubles.forget(EXTENDING)
            now = asyncio.get_running_loop().time()
            free = [lease for lease in self._held if lease.flushing is None]
            due = [lease for lease in free if lease.due_at <= now]
            if due:
                if not await self._flush(due):
                    await asyncio.sleep(FENCE_INTERVAL)
                await asyncio.sleep(STATEMENT_GAP)
                continue
            next_due = min((lease.due_at - now for lease in free), default=FENCE_INTERVAL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(next_due, FENCE_INTERVAL)):
                    await self._wake.wait()

    @asynccontextmanager
    async def hold(
        self,
        context: JobContext,
        *,
        on_lost: Callable[[], None],
        on_error: Callable[[BaseException], None],
    ) -> AsyncGenerator[None]:
        """Keep an attempt's lease while the block runs.

        Args:
            on_lost: called when the database says that the attempt is over.
            on_error: called when its progress can't be written.
        """
        now = asyncio.get_running_loop().time()
        context.hold_until(now + self._lease_seconds)
        lease = Lease(context, now=now, on_lost=on_lost, on_error=on_error)
        self._held.add(lease)
        context.on_noted = self._wake.set
        try:
            yield
        finally:
            context.on_noted = None
            self._held.discard(lease)
            while lease.flushing is not None:
                # Not cancelled: a statement that is cut short costs its connection.
                await asyncio.wait({lease.flushing})

    async def write_last(self, context: JobContext) -> None:
        """Write what was noted and not written yet. Waits while Postgres is away."""
        noted = context.take_noted()
        if noted is None:
            return

        async def flush(connection: Connection) -> bool:
            return await self._flush_one(connection, context, noted)

        await self._database.until_done(flush, what=f"The progress of job {context.job.id}")

    async def _flush(self, due: Sequence[Lease]) -> bool:
        """Write all that is due. False: it has to be repeated."""
        notes = {lease: lease.context.take_noted() for lease in due}
        sent_at = asyncio.get_running_loop().time()
        if self._troubled:  # one of them may be the reason
            self._troubled = False
            alive = dict[Lease, bool | None]()
        else:
            ended = asyncio.get_running_loop().create_future()
            for lease in due:
                lease.flushing = ended
            try:
                alive = await self._flush_together(notes)
            finally:
                for lease in due:
                    lease.flushing = None
                ended.set_result(None)
        if alive is None:
            self._troubled = True
            for lease, noted in notes.items():
                lease.context.put_back(noted)
            return False
        for lease, noted in notes.items():
            if (answer := alive.get(lease)) is None:
                self._flush_alone(lease, noted)
            else:
                self._answered(lease, alive=answer, sent_at=sent_at)
        return True

    async def _flush_together(
        self, notes: Mapping[Lease, Mapping[str, Any] | None]
    ) -> Mapping[Lease, bool | None] | None:
        """One statement for all of them, and which of them are alive. Those that need a statement
        of their own are missing, or None. None: the statement has to be repeated."""
        held = [
            HeldAttempt(
                job_id=lease.context.job.id, attempt=lease.context.job.attempt, progress=noted
            )
            for lease, noted in notes.items()
        ]
        try:
            with self._troubles.watching(EXTENDING):
                async with self._database.connection() as connection:
                    alive = await store.flush_many(
                        connection, held, lease_seconds=self._lease_seconds
                    )
        except TRANSIENT as error:
            logger.warning("The progress of %d job(s) waits for Postgres: %s", len(notes), error)
            return None
        except UNWRITABLE as error:
            logger.warning("Progress can't be written together: %s", error)
            return {}
        return {lease: alive[lease.context.job.id] for lease in notes}

    def _answered(self, lease: Lease, *, alive: bool, sent_at: float | None = None) -> None:
        """Note what is known of an attempt; `sent_at`: when a statement that extended its lease was
        sent."""
        now = asyncio.get_running_loop().time()
        lease.write_at = now + FLUSH_INTERVAL
        lease.check_at = now + FENCE_INTERVAL
        if alive and sent_at is not None:
            lease.context.hold_until(sent_at + self._lease_seconds)
        if not alive and lease in self._held:
            self._held.discard(lease)
            lease.on_lost()

    def _flush_alone(self, lease: Lease, noted: Mapping[str, Any] | None) -> None:
        """A statement of its own, which waits for the row's lock."""

        async def flush() -> None:
            sent_at = asyncio.get_running_loop().time()
            try:
                async with self._database.connection() as connection:
                    alive = await self._flush_one(connection, lease.context, noted)
            except TRANSIENT:
                lease.context.put_back(noted)
                self._answered(lease, alive=True)  # as far as is known
            except UNWRITABLE as error:
                if lease in self._held:
                    self._held.discard(lease)
                    lease.on_error(error)
            else:
                self._answered(lease, alive=alive, sent_at=sent_at)
            finally:
                lease.flushing = None

        task = tasks.start(flush(), name=f"lease {lease.context.job.id}")
        lease.flushing = task
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)

    async def _flush_one(
        self, connection: Connection, context: JobContext, noted: Mapping[str, Any] | None
    ) -> bool:
        return await store.flush(
            connection,
            job_id=context.job.id,
            attempt=context.job.attempt,
            progress=noted,
            lease_seconds=self._lease_seconds,
        )
