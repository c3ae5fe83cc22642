"""What a handler may do while it works on a job: report progress, and store results.

All that it stores goes through the fence: once this attempt is over (cancelled, taken over by
another worker), every write raises `AttemptOver` and changes nothing.
"""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from evalqueue import codec
from evalqueue.errors import AttemptOver, EvalqueueError, YieldSlot, describe, leaves
from evalqueue.items import (
    ItemCounts,
    ItemQueue,
    ItemResults,
    ItemWork,
    OwnItems,
    SharedItems,
)
from evalqueue.jobs import Job
from evalqueue.postgres import store
from evalqueue.postgres.database import Connection, Database
from evalqueue.telemetry import jobs as telemetry

MESSAGE_LIMIT = 500  # characters

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

current: ContextVar["JobContext"] = ContextVar("evalqueue_job_context")
"""The context of the job that the running code works on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What earlier attempts have stored: keys of items, by whether they succeeded."""

    succeeded: Collection[str] = ()
    failed: Collection[str] = ()

    def __contains__(self, key: str) -> bool:
        return key in self.succeeded or key in self.failed


class JobContext:
    """What the handler of one attempt works with."""

    def __init__(self, job: Job, database: Database) -> None:
        self.job = job
        self.database = database
        self._noted: dict[str, Any] | None = None
        self._shown = (job.progress.current, job.progress.total, job.progress.message)
        self._first_shown: int | None = None
        self._wait: str | None = None
        self.on_noted: Callable[[], None] | None = None
        """Called when there is something to write."""
        self._should_yield = False
        self._is_draining = False
        self._held_until = math.inf
        self._held_again = asyncio.Event()

    @property
    def is_held(self) -> bool:
        """Whether this attempt's lease, as last extended, has not run out. If it has, another
        worker may have the job: begin nothing that is paid for twice."""
        return asyncio.get_running_loop().time() < self._held_until

    async def until_held(self) -> None:
        """Wait until the database has extended the lease. The worker interrupts the handler if it
        says that the attempt is over."""
        while not self.is_held:
            self._held_again.clear()
            await self._held_again.wait()

    def hold_until(self, moment: float) -> None:
        """Note that the lease was extended, until a time of the event loop."""
        self._held_until = moment
        self._held_again.set()

    @property
    def is_helper(self) -> bool:
        """Whether this job only helps another one with its items."""
        return self.job.parent_id is not None

    @property
    def should_yield(self) -> bool:
        """Whether other jobs wait for this slot: end at the next good moment (`map` does)."""
        return self._should_yield

    def yield_slot(self) -> None:
        self._should_yield = True

    @property
    def is_draining(self) -> bool:
        """Whether this worker is stopping: begin nothing that a later attempt can't continue."""
        return self._is_draining

    def drain(self) -> None:
        self._is_draining = True

    def progress(self, current: int, total: int, message: str = "", **details: Any) -> None:
        """Note how far the job is. Written within 250 ms, together with other notes.

        Args:
            current: finished items; never goes backwards in the table.
            total: items in all.
            message: for people.
            details: merged into the progress object beside these three.

        Raises:
            TypeError: something in the details is not JSON.
        """
        codec.dump_json(details)  # raises here, rather than when it is written
        if self._first_shown is None:
            self._first_shown = int(current)
        self._shown = (int(current), int(total), message)
        self._note(details)

    def show_wait(self, reason: str | None) -> None:
        """Show after the progress message what the job waits for. None: it does not wait."""
        if reason != self._wait:
            self._wait = reason
            self._note({})

    @property
    def items_finished(self) -> int:
        """Items that were finished since this attempt began to report progress."""
        return self._shown[0] - (self._first_shown or 0)

    @property
    def items_left(self) -> int:
        return max(0, self._shown[1] - self._shown[0])

    def _note(self, details: Mapping[str, Any]) -> None:
        current, total, message = self._shown
        if self._wait is not None:
            message = f"{message}; {self._wait}" if message else self._wait
        noted = {"current": current, "total": total, "message": message[:MESSAGE_LIMIT]}
        self._noted = {**(self._noted or {}), **details, **noted}
        if self.on_noted is not None:
            self.on_noted()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """A transaction inside the fence: this attempt can't be ended before it commits.

        For short writes: after 15 idle seconds the server ends it, and it may take 30
        in all.

        Raises:
            AttemptOver: the attempt is over; nothing was written.
        """
        async with self.database.connection() as connection, self._fenced(connection):
            yield connection

    async def retry_fenced(self, statement: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Run a statement in a transaction inside the fence; repeat it while Postgres is away.

        Args:
            statement: may run more than once, also after a commit whose answer was lost.

        Raises:
            AttemptOver: the attempt is over; nothing was written.
        """

        async def fenced(connection: Connection) -> Result:
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
        work: ItemWork[Item, Result],
        *,
        checkpoint: Checkpoint,
        concurrency: int,
        max_helpers: int = 0,
    ) -> None:
        """Work on items concurrently; store each result as soon as it is there, or in one
        transaction with those that come within 50 ms.

        Items in the checkpoint are not worked on again. An item without a result (None) is left to
        a later attempt, and not counted: only without helpers. Progress counts finished items:
        "Thread 7/20 (5 ok, 2 failed)".

        Args:
            concurrency: items in progress at most, in each process that works on them.
            max_helpers: other workers that may help at most, when they have no other work. They
                run the same handler, as a job of their own (`is_helper`).

        Raises:
            YieldSlot: other jobs wait for this slot; a later attempt does the rest.
        """
        todo = {key: item for item in items if (key := work.key(item)) not in checkpoint}
        counts = ItemCounts(
            noun=work.noun,
            total=len(items),
            ok=sum(work.key(item) in checkpoint.succeeded for item in items),
            failed=sum(work.key(item) in checkpoint.failed for item in items),
        )
        self.progress(counts.finished, counts.total, counts.message)
        if max_helpers and not self.is_helper:
            await self._start_helpers(max_helpers)

        def count(_key: str, ok: bool) -> None:
            counts.count(ok=ok)
            self.progress(counts.finished, counts.total, counts.message)

        queue: ItemQueue = (
            SharedItems(self, list(todo), concurrency, count)
            if max_helpers or self.is_helper
            else OwnItems(list(todo))
        )

        def note_stored(key: str, result: Result) -> None:
            count(key, work.succeeded(result))
            work.on_stored(result)

        work.may_look_ahead(queue.upcoming)
        results = ItemResults[Result](partial(self._store, work, queue), note_stored)

        async def work_on_items() -> None:
            while not self.should_yield and (key := await queue.take()) is not None:
                with telemetry.item(work.noun, work.log_field, key):
                    result = await work.work(todo[key])
                    if result is not None:
                        await results.add(key, result)

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(concurrency, len(todo))):
                    tasks.create_task(work_on_items())
        except ExceptionGroup:
            await self._store_rest(results)  # what came before the error
            raise
        if self.should_yield and queue.has_items_left:
            raise YieldSlot("Other jobs wait for this slot")

    async def _store_rest(self, results: ItemResults[Any]) -> None:
        """Store what is left behind by an error, which must not be replaced by another one."""
        try:
            await results.store_rest()
        except AttemptOver:
            pass
        except Exception as error:  # whatever it is, the first one decides what becomes of the job
            logger.warning(
                "Job %s: results from before an error can't be stored: %s",
                self.job.id,
                "; ".join(map(describe, leaves(error))),
            )

    async def _store(
        self,
        work: ItemWork[Item, Result],
        queue: ItemQueue,
        results: Mapping[str, Result],
    ) -> None:
        async def store_results(connection: Connection) -> None:
            for result in results.values():
                await work.store(connection, result)
            await queue.done(
                connection, {key: work.succeeded(result) for key, result in results.items()}
            )

        await work.before_store()
        await self.retry_fenced(store_results)

    async def _start_helpers(self, wanted: int) -> None:
        async def ask(connection: Connection) -> bool:
            return await store.start_helpers(
                connection, job_id=self.job.id, attempt=self.job.attempt, wanted=wanted
            )

        if not await self.database.until_done(ask, what=f"Helpers for job {self.job.id}"):
            raise AttemptOver(f"Job {self.job.id}: attempt {self.job.attempt} is over")

    @property
    def has_noted(self) -> bool:
        """Whether there is something to write."""
        return self._noted is not None

    def take_noted(self) -> Mapping[str, Any] | None:
        """The notes since the last call, to be written."""
        noted, self._noted = self._noted, None
        return noted

    def put_back(self, noted: Mapping[str, Any] | None) -> None:
        """Notes that could not be written: later ones win."""
        if noted is not None:
            self._noted = {**noted, **(self._noted or {})}


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
