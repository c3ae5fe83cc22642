"""The client for programs without an event loop: Django, Flask, scripts."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from evalqueue.client import Client
from evalqueue.jobs import AttemptRecord, Job, JobStatus
from evalqueue.jobtypes import JobParams
from evalqueue.settings import Settings

Result = TypeVar("Result")


class SyncClient:
    """Submits and follows jobs; each method returns when it is done, and is documented at `Client`.

        with evalqueue.SyncClient("postgresql://…") as client:
            job = client.submit(EvaluateBatch(data_path="chats.csv"))
            print(client.wait(job.id).status)

    Any threads may share it. An event loop runs in a thread of its own, from the first call until
    `close`, which raises `concurrent.futures.CancelledError` where another thread still waits.
    Threads don't outlast a fork: a process that forks makes its client afterwards.

    It has no `connection`: to submit in a transaction of yours, call the SQL function
    `evalqueue_submit_job` there.

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
    ) -> None:
        self._client = Client(dsn, job_types=job_types, settings=settings)
        self._pid = os.getpid()
        self._is_closed = False
        self._starting = Lock()
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event
        self._calls = set[asyncio.Task[Any]]()

    def __enter__(self) -> Self:
        self._call(self._client.database)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what other threads wait for, close all connections, and end the thread."""
        with self._starting:
            self._is_closed = True
            thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid():
            self._loop.call_soon_threadsafe(self._stopping.set)
            thread.join()

    def submit(
        self,
        params: JobParams,
        *,
        owner: str = "default",
        priority: int = 0,
        scheduled_at: datetime | None = None,
        queue: str | None = None,
        max_attempts: int = 3,
        idempotency_key: str | None = None,
        after: UUID | None = None,
        sees: str | None = None,
    ) -> Job:
        return self._call(
            lambda: self._client.submit(
                params,
                owner=owner,
                priority=priority,
                scheduled_at=scheduled_at,
                queue=queue,
                max_attempts=max_attempts,
                idempotency_key=idempotency_key,
                after=after,
                sees=sees,
            )
        )

    def submit_many(
        self,
        params: Sequence[JobParams],
        *,
        owner: str = "default",
        priority: int = 0,
        scheduled_at: datetime | None = None,
        queue: str | None = None,
        max_attempts: int = 3,
        idempotency_keys: Sequence[str | None] | None = None,
        after: UUID | None = None,
        sees: str | None = None,
    ) -> Sequence[Job]:
        return self._call(
            lambda: self._client.submit_many(
                params,
                owner=owner,
                priority=priority,
                scheduled_at=scheduled_at,
                queue=queue,
                max_attempts=max_attempts,
                idempotency_keys=idempotency_keys,
                after=after,
                sees=sees,
            )
        )

    def submit_params(
        self,
        job_type: str,
        params: Mapping[str, Any],
        *,
        owner: str = "default",
        idempotency_key: str | None = None,
        sees: str | None = None,
    ) -> Job:
        return self._call(
            lambda: self._client.submit_params(
                job_type, params, owner=owner, idempotency_key=idempotency_key, sees=sees
            )
        )

    def retry(self, job_id: UUID, *, owner: str | None = None) -> Job:
        return self._call(lambda: self._client.retry(job_id, owner=owner))

    def get(self, job_id: UUID, *, owner: str | None = None) -> Job:
        return self._call(lambda: self._client.get(job_id, owner=owner))

    def list(
        self,
        *,
        status: JobStatus | None = None,
        job_type: str | None = None,
        owner: str | None = None,
        limit: int = 20,
        offset: int = 0,
    ) -> Sequence[Job]:
        return self._call(
            lambda: self._client.list(
                status=status, job_type=job_type, owner=owner, limit=limit, offset=offset
            )
        )

    def attempts(self, job_id: UUID, *, owner: str | None = None) -> Sequence[AttemptRecord]:
        return self._call(lambda: self._client.attempts(job_id, owner=owner))

    def cancel(self, job_id: UUID, *, owner: str | None = None) -> None:
        self._call(lambda: self._client.cancel(job_id, owner=owner))

    def wait(self, job_id: UUID, *, timeout: float | None = None) -> Job:
        return self._call(lambda: self._client.wait(job_id, timeout=timeout))

    def watch(self, job_id: UUID) -> Iterator[Job]:
        changes = aiter(self._client.watch(job_id))

        async def next_change() -> Job | None:
            return await anext(changes, None)

        while (job := self._call(next_change)) is not None:
            yield job

    def _call(self, work: Callable[[], Awaitable[Result]]) -> Result:
        with self._starting:
            if self._pid != os.getpid():
                raise RuntimeError("This client was made before a fork: make one in each process")
            if self._is_closed:
                raise RuntimeError("This client is closed")
            if self._thread is None:
                self._start()
            doing = asyncio.run_coroutine_threadsafe(self._awaited(work), self._loop)
        try:
            return doing.result()
        except BaseException:  # as KeyboardInterrupt, which the loop knows nothing of
            doing.cancel()
            raise

    def _start(self) -> None:
        is_running = Event()
        # A daemon: a program that ends without `close` is not held up.
        self._thread = Thread(
            target=lambda: asyncio.run(self._run(is_running)), name="evalqueue", daemon=True
        )
        self._thread.start()
        is_running.wait()

    async def _run(self, is_running: Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        is_running.set()
        await self._stopping.wait()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._client.aclose()

    async def _awaited(self, work: Callable[[], Awaitable[Result]]) -> Result:
        call = asyncio.current_task()
        assert call is not None  # noqa: S101  a coroutine of `run_coroutine_threadsafe` is a task
        self._calls.add(call)
        try:
            return await work()
        finally:
            self._calls.discard(call)
