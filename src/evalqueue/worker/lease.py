"""The lease of a running attempt: progress, lease and fence, in one statement each time."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from evalqueue.context import JobContext
from evalqueue.postgres import store
from evalqueue.postgres.database import TRANSIENT, Connection, Database

FLUSH_INTERVAL = 0.25  # seconds: at most four progress writes a second and job
FENCE_INTERVAL = 1.0  # seconds between checks of the fence while there is nothing to write

logger = logging.getLogger(__name__)


class Lease:
    """Extends an attempt's lease and writes its progress while the context is open.

    Args:
        on_lost: called once when the database says that the attempt is over.
    """

    def __init__(
        self,
        context: JobContext,
        database: Database,
        *,
        lease_seconds: float,
        on_lost: Callable[[], None],
    ) -> None:
        self._context = context
        self._database = database
        self._lease_seconds = lease_seconds
        self._on_lost = on_lost
        self._done = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._keeping = asyncio.create_task(self._keep(), name=f"lease {self._context.job.id}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Signalled, not cancelled: a statement that is cut short costs its connection.
        self._done.set()
        self._context.wake()
        await asyncio.wait({self.task})

    @property
    def task(self) -> asyncio.Task[None]:
        """Done when the attempt is over, or when its progress can't be written."""
        assert self._keeping is not None, "inside `async with`"  # noqa: S101  says so to the checker
        return self._keeping

    @property
    def error(self) -> BaseException | None:
        """Why the progress could not be written, after the context has ended."""
        return self.task.exception()

    async def write_last(self) -> None:
        """Write what was noted and not written yet. Waits while Postgres is away."""
        noted = self._context.take_noted()
        if noted is None:
            return

        async def flush(connection: Connection) -> bool:
            return await self._flush(connection, noted)

        await self._database.until_done(flush, what=f"The progress of job {self._context.job.id}")

    async def _keep(self) -> None:
        troubled = False
        while not self._done.is_set():
            await self._context.until_noted(FENCE_INTERVAL)
            noted = self._context.take_noted()
            if noted is None and self._done.is_set():
                return
            try:
                async with self._database.connection() as connection:
                    alive = await self._flush(connection, noted)
            except TRANSIENT as error:
                self._context.put_back(noted)
                if not troubled:
                    job_id = self._context.job.id
                    logger.warning("Job %s: progress waits for Postgres: %s", job_id, error)
                troubled = True
                await self._pause(FENCE_INTERVAL)
                continue
            troubled = False
            if not alive:
                self._on_lost()
                return
            await self._pause(FLUSH_INTERVAL)

    async def _flush(self, connection: Connection, noted: Mapping[str, Any] | None) -> bool:
        return await store.flush(
            connection,
            job_id=self._context.job.id,
            attempt=self._context.job.attempt,
            progress=noted,
            lease_seconds=self._lease_seconds,
        )

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._done.wait()
