"""Records how attempts ended: at once, and together where several end at about the same time.

While one statement is on its way, attempts that complete wait for the next one, which takes all of
them. An attempt whose rows are locked, or whose result can't be written, gets a statement of its
own: it delays none of the others.
"""

import asyncio
import contextvars
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from evalqueue import codec
from evalqueue.jobs import AttemptOutcome, Ended, Job, JobStatus
from evalqueue.postgres import store
from evalqueue.postgres.database import TRANSIENT, UNWRITABLE, Connection, Database
from evalqueue.postgres.store import CompletedAttempt
from evalqueue.telemetry import tasks
from evalqueue.telemetry.logs import LoggedError

BATCH_MAX = 200  # attempts in one statement
BATCH_CHARACTERS = 4 * 1024 * 1024  # of JSON in one statement; a single result may have more
ALONE_PATIENCE = 0.05  # seconds that other attempts wait for the statement of one

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    job: Job
    ended: Ended
    result: str  # JSON
    recorded: asyncio.Future[JobStatus | None]


class OutcomeRecorder:
    """Records the ends of a worker's attempts.

    Args:
        delete_tasks_after: outcomes after which procrastinate's row is deleted.
    """

    def __init__(
        self, database: Database, *, delete_tasks_after: frozenset[str] = frozenset()
    ) -> None:
        self._database = database
        self._delete_tasks_after = delete_tasks_after
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._alone: set[asyncio.Task[None]] = set()

    async def record(self, job: Job, ended: Ended) -> JobStatus | None:
        """Write that the job's attempt ended. Waits while Postgres is away.

        Returns:
            the job's status; None: the attempt was over already.

        Raises:
            one of `UNWRITABLE`: this end can't be written.
        """
        deletes_task = ended.kind.value in self._delete_tasks_after
        if ended.kind is not AttemptOutcome.COMPLETED or deletes_task:
            return await self._finish(job, ended)
        waiting = _Waiting(
            job=job,
            ended=ended,
            result=codec.dump_json(ended.result or {}),
            recorded=asyncio.get_running_loop().create_future(),
        )
        self._waiting.append(waiting)
        if self._writing is None:
            # Of no job: it writes the outcomes of others, too.
            self._writing = tasks.start(
                self._write(), name="outcomes", context=contextvars.Context()
            )
        return await waiting.recorded

    async def _write(self) -> None:
        """Until no attempt waits."""
        try:
            while self._waiting:
                batch = self._take()
                if len(batch) > 1:
                    await self._write_together(batch)
                else:
                    await asyncio.wait({self._write_alone(batch[0])}, timeout=ALONE_PATIENCE)
        finally:
            self._writing = None

    def _take(self) -> Sequence[_Waiting]:
        """The attempts that the next statement takes: those that wait the longest."""
        characters = taken = 0
        for waiting in self._waiting[:BATCH_MAX]:
            characters += len(waiting.result)
            if taken and characters > BATCH_CHARACTERS:
                break
            taken += 1
        batch = self._waiting[:taken]
        del self._waiting[:taken]
        return batch

    async def _write_together(self, batch: Sequence[_Waiting]) -> None:
        completed = [
            CompletedAttempt(job_id=each.job.id, attempt=each.job.attempt, result=each.result)
            for each in batch
        ]

        statuses: store.Statuses = {}
        try:
            async with self._database.connection() as connection:
                statuses = await store.complete_many(connection, completed)
        except (*TRANSIENT, *UNWRITABLE) as error:
            # One of them may be the reason: each is repeated for itself as long as need be.
            logger.warning("%d outcomes can't be written together: %s", len(batch), error)
        except Exception as error:  # the attempts wait for an answer, whatever it is
            logger.exception(
                "%d outcomes can't be written together", len(batch), exc_info=LoggedError.of(error)
            )
        for each in batch:
            if each.job.id not in statuses:
                self._write_alone(each)
            elif not each.recorded.done():
                each.recorded.set_result(statuses[each.job.id])

    def _write_alone(self, waiting: _Waiting) -> asyncio.Task[None]:
        async def write() -> None:
            try:
                status = await self._finish(waiting.job, waiting.ended)
            except Exception as error:  # the attempt waits for an answer, whatever it is
                if not waiting.recorded.done():
                    waiting.recorded.set_exception(error)
            else:
                if not waiting.recorded.done():
                    waiting.recorded.set_result(status)

        task = tasks.start(write(), name=f"outcome of {waiting.job.id}")
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)
        return task

    async def _finish(self, job: Job, ended: Ended) -> JobStatus | None:
        async def finish(connection: Connection) -> JobStatus | None:
            return await store.finish(
                connection,
                job_id=job.id,
                attempt=job.attempt,
                ended=ended,
                delete_task=ended.kind.value in self._delete_tasks_after,
            )

        return await self._database.until_done(finish, what=f"The outcome of job {job.id}")
