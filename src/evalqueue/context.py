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

from evalqueue import codec
from evalqueue.errors import AttemptOver, EvalqueueError, YieldSlot
from evalqueue.items import AllOurs, Share, SharedWithOthers, Tally
from evalqueue.jobs import Job
from evalqueue.postgres import store
from evalqueue.postgres.database import Connection, Database

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
        self._should_yield = False
        self._is_draining = False

    @property
    def is_helper(self) -> bool:
        """Whether this job only helps another one with its items."""
        return self.job.parent_id is not None

    @property
    def should_yield(self) -> bool:
        """Whether others wait for this slot: let go at the next good moment (`map` does)."""
        return self._should_yield

    def yield_slot(self) -> None:
        self._should_yield = True

    @property
    def is_draining(self) -> bool:
        """Whether this worker is told to stop: begin nothing that could not be gone on with."""
        return self._is_draining

    def drain(self) -> None:
        self._is_draining = True

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

        For writing, not for thinking: after 15 idle seconds the server ends it, and it may take 30
        in all.

        Raises:
            AttemptOver: the attempt is over; nothing was written.
        """
        async with self.database.connection() as connection, self._fenced(connection):
            yield connection

    async def retry_fenced(self, statement: Callable[[Connection], Awaitable[Found]]) -> Found:
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
        kept: Callable[[Found], None] | None = None,
        noun: str = "Item",
        max_helpers: int = 0,
    ) -> None:
        """Work on items concurrently; keep each result the moment it is there.

        Items in the checkpoint are not worked on again. Progress counts finished items:
        "Thread 7/20 (5 ok, 2 failed)".

        Args:
            work: makes a result of an item. What it raises ends the whole map.
            keep: stores a result, inside a transaction inside the fence. What was stored before
                is left alone: it is called again when the answer to a commit was lost.
            succeeded: whether a result counts as ok or as failed in the progress.
            concurrency: items in flight at most, in each process that works on them.
            kept: told of each result once it is stored for good.
            hands: other workers that may help at most, when they have nothing better to do. They
                run the same handler, as a job of their own (`is_hand`).

        Raises:
            YieldSlot: others wait for this slot; what is left is done by a later attempt.
        """
        todo = {key(item): item for item in items if key(item) not in checkpoint}
        tally = Tally(
            noun=noun,
            total=len(items),
            ok=sum(key(item) in checkpoint.succeeded for item in items),
            failed=sum(key(item) in checkpoint.failed for item in items),
        )
        self.progress(tally.finished, tally.total, tally.message)
        if max_helpers and not self.is_helper:
            await self._start_helpers(max_helpers)
        shared = bool(max_helpers) or self.is_helper

        def count(_key: str, ok: bool) -> None:
            tally.count(ok=ok)
            self.progress(tally.finished, tally.total, tally.message)

        share: Share = (
            SharedWithOthers(self, list(todo), concurrency, count)
            if shared
            else AllOurs(list(todo))
        )

        async def lane() -> None:
            while not self.should_yield and (name := await share.take()) is not None:
                found = await work(todo[name])
                await self.retry_fenced(
                    partial(_keeping, keep, found, share, name, succeeded(found))
                )
                count(name, succeeded(found))
                if kept is not None:
                    kept(found)

        async with asyncio.TaskGroup() as lanes:
            for _ in range(min(concurrency, len(todo))):
                lanes.create_task(lane())
        if self.should_yield and share.something_is_left:
            raise YieldSlot("Others wait for this slot")

    async def _start_helpers(self, wanted: int) -> None:
        async def ask(connection: Connection) -> bool:
            return await store.start_helpers(
                connection, job_id=self.job.id, attempt=self.job.attempt, wanted=wanted
            )

        if not await self.database.until_done(ask, what=f"Hands for job {self.job.id}"):
            raise AttemptOver(f"Job {self.job.id}: attempt {self.job.attempt} is over")

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
    keep: Callable[[Connection, Found], Awaitable[None]],
    found: Found,
    share: Share,
    name: str,
    ok: bool,
    connection: Connection,
) -> None:
    await keep(connection, found)
    await share.done(connection, name, ok)


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
