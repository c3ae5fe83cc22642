"""What a handler may do while it works on a job: tell how far it is, and keep what it found.

Whatever it keeps goes through the fence: once this attempt is over (cancelled, taken over by
another worker), every write raises `AttemptOver` and changes nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from evalqueue import codec, store
from evalqueue.database import Connection, Database
from evalqueue.errors import AttemptOver, EvalqueueError
from evalqueue.jobs import Job

MESSAGE_LIMIT = 500  # characters

Item = TypeVar("Item")
Found = TypeVar("Found")

current: ContextVar["JobContext"] = ContextVar("evalqueue_job_context")
"""The context of the job that the running code works on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What an earlier attempt has already kept: keys of items, and how they went."""

    succeeded: Collection[str] = ()
    failed: Collection[str] = ()

    def __contains__(self, key: str) -> bool:
        return key in self.succeeded or key in self.failed


class JobContext:
    """One attempt's hold on its job."""

    def __init__(self, job: Job, database: Database) -> None:
        self.job = job
        self.database = database
        self._noted: dict[str, Any] | None = None
        self._dirty = asyncio.Event()

    def progress(self, current: int, total: int, message: str = "", **details: Any) -> None:
        """Note how far the job is. Written within 250 ms, together with whatever else is noted.

        Args:
            current: finished items; never goes backwards in the table.
            total: items in all.
            message: for people.
            details: merged into the progress object beside these three.

        Raises:
            TypeError: something in the details is not JSON.
        """
        codec.dump_json(details)  # refused here, where it was said, rather than when it is written
        said = {"current": int(current), "total": int(total), "message": message[:MESSAGE_LIMIT]}
        self._noted = (self._noted or {}) | details | said
        self._dirty.set()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """A transaction inside the fence: nobody can end this attempt before it commits.

        For writing, not for thinking: after 15 idle seconds the server ends it.

        Raises:
            AttemptOver: the attempt is over; nothing was written.
        """
        async with self.database.connection() as connection, self._fenced(connection):
            yield connection

    async def insist(self, statement: Callable[[Connection], Awaitable[Found]]) -> Found:
        """Do something in a transaction inside the fence, again and again while Postgres is away.

        Args:
            statement: may run more than once, also after a commit whose answer was lost.

        Raises:
            AttemptOver: the attempt is over; nothing was written.
        """

        async def fenced(connection: Connection) -> Found:
            async with self._fenced(connection):
                return await statement(connection)

        return await self.database.until_done(fenced, what=f"Job {self.job.id}")

    @asynccontextmanager
    async def _fenced(self, connection: Connection) -> AsyncGenerator[None]:
        async with connection.transaction():
            if not await store.hold(connection, job_id=self.job.id, attempt=self.job.attempt):
                raise AttemptOver(f"Job {self.job.id}: attempt {self.job.attempt} is over")
            yield

    async def map(
        self,
        items: Collection[Item],
        work: Callable[[Item], Awaitable[Found]],
        *,
        key: Callable[[Item], str],
        keep: Callable[[Connection, Found], Awaitable[None]],
        succeeded: Callable[[Found], bool],
        checkpoint: Checkpoint,
        concurrency: int,
        noun: str = "Item",
    ) -> None:
        """Work on items concurrently; keep each result the moment it is there.

        Items in the checkpoint are not worked on again. Progress counts finished items:
        "Thread 7/20 (5 ok, 2 failed)".

        Args:
            work: makes a result of an item. What it raises ends the whole map.
            keep: stores a result, inside a transaction inside the fence. What was stored before
                is left alone: it is called again when the answer to a commit was lost.
            succeeded: whether a result counts as ok or as failed in the progress.
            concurrency: items in flight at most.
        """
        waiting = iter([item for item in items if key(item) not in checkpoint])
        tally = _Tally(
            noun=noun,
            total=len(items),
            ok=sum(key(item) in checkpoint.succeeded for item in items),
            failed=sum(key(item) in checkpoint.failed for item in items),
        )
        self.progress(tally.finished, tally.total, tally.message)

        async def lane() -> None:
            for item in waiting:
                found = await work(item)
                await self.insist(partial(_keeping, keep, found))
                tally.count(ok=succeeded(found))
                self.progress(tally.finished, tally.total, tally.message)

        async with asyncio.TaskGroup() as lanes:
            for _ in range(min(concurrency, len(items))):
                lanes.create_task(lane())

    def take_noted(self) -> Mapping[str, Any] | None:
        """What was noted since the last call, for whoever writes it down."""
        noted, self._noted = self._noted, None
        self._dirty.clear()
        return noted

    def put_back(self, noted: Mapping[str, Any] | None) -> None:
        """It could not be written: keep it, beneath whatever was noted since."""
        if noted is not None:
            self._noted = {**noted, **(self._noted or {})}

    def wake(self) -> None:
        """Let whoever waits in `until_noted` look around now."""
        self._dirty.set()

    async def until_noted(self, timeout: float) -> None:
        """Wait until something is noted, `timeout` seconds at most."""
        try:
            async with asyncio.timeout(timeout):
                await self._dirty.wait()
        except TimeoutError:
            return


async def _keeping(
    keep: Callable[[Connection, Found], Awaitable[None]], found: Found, connection: Connection
) -> None:
    await keep(connection, found)


@dataclass(slots=True, kw_only=True)
class _Tally:
    noun: str
    total: int
    ok: int
    failed: int

    def count(self, *, ok: bool) -> None:
        if ok:
            self.ok += 1
        else:
            self.failed += 1

    @property
    def finished(self) -> int:
        return self.ok + self.failed

    @property
    def message(self) -> str:
        return f"{self.noun} {self.finished}/{self.total} ({self.ok} ok, {self.failed} failed)"


async def update_job_progress(
    job_id: UUID | str, current_item: int, total: int, message: str = ""
) -> None:
    """Note progress from inside a handler that only knows its job's id.

    Raises:
        EvalqueueError: called from outside of this job's handler.
    """
    context = current.get(None)
    if context is None or str(context.job.id) != str(job_id):
        raise EvalqueueError(f"update_job_progress: job {job_id} is not handled by this code")
    context.progress(current_item, total, message)
