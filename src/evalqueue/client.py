"""The client for other services: submit, get, list, cancel, retry, wait, watch."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from evalqueue import admission, arguments
from evalqueue.errors import JobNotFound, NotCancellable
from evalqueue.jobs import AttemptRecord, Job, JobStatus
from evalqueue.jobtypes import AdmissionContext, JobParams, JobTypes
from evalqueue.postgres import store
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.listener import JOB_CHANGED, Listener
from evalqueue.postgres.store import Submission
from evalqueue.settings import Settings, check_address, read
from evalqueue.telemetry.jobs import submission, submitted

SUBMIT_MANY_MAX = 10_000  # jobs in one statement
REREAD_INTERVAL = 15.0  # seconds between reads, in case a notification is lost


class Client:
    """Submits and follows jobs::

        client = evalqueue.Client("postgresql://…")
        job = await client.submit(EvaluateBatch(data_path="chats.csv"))
        async for change in client.watch(job.id):
            print(change.progress.message)

    It sees the jobs of every owner. Where `owner` is given, other owners' jobs don't exist for it.

    Connects when first used; `aclose` it, or use it as an async context manager. One client serves
    a whole process.

    Args:
        dsn: a libpq address; without it, `DATABASE_URL`.
        job_types: what `submit_params` may submit. `submit` takes any `JobParams`.

    Raises:
        ValueError: the dsn can't be read.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        job_types: Iterable[type[JobParams]] = (),
        settings: Settings | None = None,
        database: Database | None = None,
    ) -> None:
        self.settings = settings or read()
        self.job_types = JobTypes(job_types)
        if dsn is not None:
            check_address(dsn)
        self._dsn = dsn
        self._database = database
        self._owns_database = database is None
        self._listener: Listener | None = None
        self._declared = set[type[JobParams]]()
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.database()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
        if self._database is not None and self._owns_database:
            await self._database.close()
            self._database = None

    async def submit(
        self,
        params: JobParams,
        *,
        connection: Connection | None = None,
        owner: str = "default",
        priority: int = 0,
        scheduled_at: datetime | None = None,
        queue: str | None = None,
        max_attempts: int = 3,
        idempotency_key: str | None = None,
        after: UUID | None = None,
        sees: str | None = None,
    ) -> Job:
        """Submit a job.

        Args:
            connection: a psycopg connection of yours: the job appears when your transaction
                commits, and never if it is rolled back.
            owner: whose job it is.
            priority: higher goes first.
            scheduled_at: not before this moment; None: as soon as possible.
            queue: the queue it waits in; None: `EVALQUEUE_QUEUE`.
            max_attempts: how often it may fail or lose its worker.
            idempotency_key: the same key of the same owner is the same job, however often it is
                submitted: for a caller that can't know whether the first try succeeded. Kept as
                long as the job.
            after: start when this job is completed; be cancelled if it comes to another end.
            sees: the owner whose runs the params may name; None: those of every owner.

        Raises:
            InvalidParams: the params or another argument can't work; nothing was stored.
            KeyReused: another request came with this idempotency key before.
        """
        arguments.check_params(params)
        options = Submission(
            job_type=params.job_type,
            params={},  # once they are admitted
            owner=owner,
            priority=priority,
            scheduled_at=scheduled_at,
            queue=queue or self.settings.queue,
            max_attempts=max_attempts,
            idempotency_key=idempotency_key,
            after=after,
        )
        (options,) = arguments.checked([options])
        await self._declare(type(params))
        with submission(options.queue, options.job_type) as work:
            options = replace(options, traceparent=work.traceparent)
            context = await self._admission(options, sees)
            connect = partial(self._connection, connection)
            return submitted(work, await admission.submit(connect, params, options, context))

    async def submit_many(
        self,
        params: Sequence[JobParams],
        *,
        connection: Connection | None = None,
        owner: str = "default",
        priority: int = 0,
        scheduled_at: datetime | None = None,
        queue: str | None = None,
        max_attempts: int = 3,
        idempotency_keys: Sequence[str | None] | None = None,
        after: UUID | None = None,
        sees: str | None = None,
    ) -> Sequence[Job]:
        """Submit many jobs in one statement: all of them, or none if one can't be stored.

        The other arguments are those of `submit`, and hold for every job.

        Args:
            params: 10,000 at most; they may be of different job types.
            idempotency_keys: one for each of the params; None: that job has none.

        Returns:
            The jobs in the order of `params`. Where a key was used before, also in the same call,
            the job that has it.

        Raises:
            InvalidParams: everything that is wrong, each at `("jobs", index, …)`.
            KeyReused: another request came with one of the keys before.
            ValueError: too many params, or not as many keys as params.
        """
        if len(params) > SUBMIT_MANY_MAX:
            raise ValueError(f"{len(params)} jobs at once, over {SUBMIT_MANY_MAX}")
        keys = [None] * len(params) if idempotency_keys is None else list(idempotency_keys)
        if len(keys) != len(params):
            raise ValueError(f"{len(keys)} idempotency keys for {len(params)} jobs")
        if not params:
            return []
        for each in params:
            arguments.check_params(each)
        for kind in dict.fromkeys(map(type, params)):
            await self._declare(kind)
        first = Submission(
            job_type=params[0].job_type,
            params={},  # each has its own
            owner=owner,
            priority=priority,
            scheduled_at=scheduled_at,
            queue=queue or self.settings.queue,
            max_attempts=max_attempts,
            after=after,
        )
        (first,) = arguments.checked([first])
        submissions = [
            replace(first, job_type=each.job_type, params=each.stored(), idempotency_key=key)
            for each, key in zip(params, keys, strict=True)
        ]
        with submission(queue or self.settings.queue, None, count=len(params)) as work:
            submissions = [replace(each, traceparent=work.traceparent) for each in submissions]
            context = await self._admission(submissions[0], sees)
            connect = partial(self._connection, connection)
            return await admission.submit_many(connect, params, submissions, context)

    async def _declare(self, kind: type[JobParams]) -> None:
        """Declare a job type before its first submission.

        On a connection of ours: the declaration holds even if the caller rolls back.
        """
        if kind not in self._declared:
            async with self._connection() as own:
                await kind.declare(own)
            self._declared.add(kind)

    async def submit_params(
        self,
        job_type: str,
        params: Mapping[str, Any],
        *,
        owner: str = "default",
        idempotency_key: str | None = None,
        sees: str | None = None,
    ) -> Job:
        """Submit a job from params as they come from outside.

        Raises:
            UnknownJobType: not among this client's `job_types`.
            InvalidParams: all that is wrong, field by field.
            KeyReused: another request came with this idempotency key before.
        """
        return await self.submit(
            self.job_types.decode(job_type, params),
            owner=owner,
            idempotency_key=idempotency_key,
            sees=sees,
        )

    async def retry(self, job_id: UUID, *, owner: str | None = None) -> Job:
        """Continue a job that is over with items missing or failed: a failed or cancelled job, or
        one completed with errors. A new job does the rest, in the same run; the old one stays as it
        is. A second call returns the same new job.

        Raises:
            JobNotFound: there is none with this id.
            NotRetryable: it is not over, nothing is missing, it was continued already, or would
                end at once again.
        """
        old = await self.get(job_id, owner=owner)
        context = AdmissionContext(settings=self.settings, database=await self.database())
        await admission.admit_retry(old, self.job_types, context)
        async with self._connection() as connection:
            job = await store.retry(connection, old.id, owner=owner)
        if job is None:
            raise JobNotFound(job_id)
        return job

    async def get(self, job_id: UUID, *, owner: str | None = None) -> Job:
        """One job.

        Raises:
            JobNotFound: there is none with this id.
        """
        job_id = arguments.checked_id(job_id)
        async with self._connection() as connection:
            job = await store.get(connection, job_id, owner=owner)
        if job is None:
            raise JobNotFound(job_id)
        return job

    async def list(
        self,
        *,
        status: JobStatus | None = None,
        job_type: str | None = None,
        owner: str | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> Sequence[Job]:
        """Jobs, newest first. Params and results of more than 4 KiB are shortened; `get` has them
        whole."""
        wanted: dict[str, Any] = {
            "status": status, "job_type": job_type, "owner": owner, "limit": limit,
            "offset": offset,
        }  # fmt: skip
        arguments.check_listing(**wanted)
        async with self._connection() as connection:
            return await store.list_jobs(connection, **wanted)

    async def attempts(self, job_id: UUID, *, owner: str | None = None) -> Sequence[AttemptRecord]:
        """The attempts so far, oldest first."""
        job_id = arguments.checked_id(job_id)
        async with self._connection() as connection:
            return await store.attempts(connection, job_id, owner=owner)

    async def cancel(self, job_id: UUID, *, owner: str | None = None) -> None:
        """Cancel a queued or running job: final when this returns, whatever its worker does.

        Raises:
            JobNotFound: there is none with this id.
            NotCancellable: it was over already.
        """
        job_id = arguments.checked_id(job_id)
        async with self._connection() as connection:
            cancelled = await store.cancel(connection, job_id, owner=owner)
        if cancelled is None:
            raise JobNotFound(job_id)
        if not cancelled:
            raise NotCancellable(job_id, (await self.get(job_id)).status)

    async def wait(self, job_id: UUID, *, timeout: float | None = None) -> Job:
        """Wait until a job is over.

        Args:
            timeout: seconds; None: as long as it takes.

        Raises:
            JobNotFound: there is none with this id.
            TimeoutError: it was not over in time.
        """
        try:
            async with asyncio.timeout(timeout):
                async for job in self.watch(job_id):
                    if job.status.is_over:
                        return job
        except TimeoutError as error:
            raise TimeoutError(f"Job {job_id} was not over within {timeout} s") from error
        raise JobNotFound(job_id)

    async def watch(self, job_id: UUID) -> AsyncIterator[Job]:
        """A job as it is, then each time it changed, until it is over.

        Changes that come faster than they are taken are skipped: what is yielded is always the
        latest.

        Raises:
            JobNotFound: there is none with this id.
        """
        listener = await self.listener()
        changed = asyncio.Event()
        job_id = arguments.checked_id(job_id)
        wanted = str(job_id)

        def on_notify(payload: str) -> None:
            if payload == wanted:
                changed.set()

        with listener.subscribe(JOB_CHANGED, on_notify, changed.set):
            last: Job | None = None
            while True:
                changed.clear()  # before the look: what changes from now on is not missed
                job = await self.get(job_id)
                if last is None or (job.revision, job.ahead) != (last.revision, last.ahead):
                    yield job
                    last = job
                if job.status.is_over:
                    return
                try:
                    async with asyncio.timeout(REREAD_INTERVAL):
                        await changed.wait()
                except TimeoutError:
                    continue

    async def database(self) -> Database:
        """The pool, opened when first asked for."""
        async with self._opening:
            if self._database is None:
                dsn = self._dsn or self.settings.database_address
                if dsn is None:
                    raise ValueError("Client needs a dsn, or DATABASE_URL in the environment")
                database = Database.of(self.settings, dsn)
                await database.open(wait_seconds=self.settings.database_wait_seconds)
                self._database = database
            return self._database

    async def listener(self) -> Listener:
        """The notifications of the database, listened to from when first asked for."""
        database = await self.database()
        async with self._opening:
            if self._listener is None:
                self._listener = Listener(database, [JOB_CHANGED])
                self._listener.start()
            return self._listener

    async def _admission(self, options: Submission, sees: str | None) -> AdmissionContext:
        return AdmissionContext(
            settings=self.settings,
            database=await self.database(),
            owner=options.owner,
            sees=sees,
            is_due=options.scheduled_at is None,
        )

    @asynccontextmanager
    async def _connection(self, given: Connection | None = None) -> AsyncGenerator[Connection]:
        if given is not None:
            yield given
            return
        async with (await self.database()).connection() as connection:
            yield connection
