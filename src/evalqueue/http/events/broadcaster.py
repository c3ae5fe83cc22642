"""What all watchers of this process are told: read once, put into bytes once, shared.

The process's feed says which jobs changed. They are collected, read anew in one statement, and
handed out; one read at a time, and the more watchers there are, the longer between two of them. No
watcher holds a connection to Postgres, and none is waited for.

A notification that was missed is no loss: after a gap everybody is told to read again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterable
from uuid import UUID

from starlette.exceptions import HTTPException

from evalqueue.client import Client
from evalqueue.errors import JobNotFound
from evalqueue.http.events.event_log import EventLog, event
from evalqueue.http.events.streams import EventStream
from evalqueue.http.events.watchers import JobsWatcher, JobWatcher, Watcher
from evalqueue.http.models.events import QueueEvent, brief, whole
from evalqueue.jobs import Job, JobStatus
from evalqueue.postgres import store
from evalqueue.postgres.database import Database
from evalqueue.postgres.listener import JOB_CHANGED
from evalqueue.postgres.store import Place

PAUSE = 0.02  # seconds between two reads, at least
PAUSE_PER_WATCHER = 0.0001  # seconds more: at most 10,000 writes to sockets a second
LINE_INTERVAL = 1.0  # seconds between two looks at who stands where
LINE_LENGTH = 200  # places of each queue that are told when it moves
READ_AT_ONCE = 200  # jobs
MAX_UNREAD = 2_000  # jobs; when more have changed it is less to read all again
MISSED_INTERVAL = 1.0  # seconds between two times that this is said
MAX_KNOWN = 10_000  # jobs whose last told revision is known
IDLE_SECONDS = 60.0  # without a watcher: then nothing is read or kept any more
RETRY_AFTER = {"Retry-After": "10"}  # seconds

logger = logging.getLogger(__name__)


class Broadcaster:
    """Begins with the first watcher, and goes on until there was none for a while."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._streams: set[EventStream] = set()
        self._of_all: set[JobsWatcher] = set()
        self._of_job: dict[UUID, set[JobWatcher]] = {}
        self._running: asyncio.Task[None] | None = None
        self._has_ended = False
        self._forget()

    def _forget(self) -> None:
        self._event_log = EventLog()
        self._told: set[UUID] = set()  # these have changed
        self._asked: set[UUID] = set()  # these may have, and somebody watches them
        self._has_missed = False
        self._something = asyncio.Event()
        self._known: dict[UUID, int] = {}  # the revisions that were told
        self._moved: set[str] = set()  # queues
        self._lines: dict[str, tuple[Place, ...]] = {}

    # Who watches

    async def follow(self, sees: str | None, last_event_id: str | None) -> EventStream:
        """All jobs: what happens from now on, or since what was received last.

        Args:
            sees: the owner whose jobs may be seen; None: everybody's.
        """
        await self._begin()
        event_log = self._event_log
        if last_event_id is None:
            watcher = JobsWatcher(sees=sees, starts_after=event_log.last_id)
        else:
            watcher = JobsWatcher(sees=sees, starts_after=None)
            missed = event_log.since(last_event_id)
            if missed is None:
                watcher.resync(event_log.last_id)
            else:
                watcher.tell_all(missed)
                self._tell_lines(self._lines, [watcher])
        self._of_all.add(watcher)
        return self._stream(watcher)

    async def follow_job(
        self, job_id: UUID, sees: str | None, last_event_id: str | None
    ) -> EventStream | None:
        """One job: as it is, then each time it changed. None: its end was received before.

        Raises:
            JobNotFound: there is none with this id that may be seen.
        """
        database = await self._begin()
        watcher = JobWatcher(job_id)
        self._of_job.setdefault(job_id, set()).add(watcher)
        stream = self._stream(watcher)
        with contextlib.ExitStack() as undone:
            undone.callback(self._leave, stream)
            async with database.connection() as connection:
                found = await store.changed(connection, [job_id], watched=[job_id])
            if not found or sees not in (None, found[0].owner):
                raise JobNotFound(job_id)
            (job,) = found
            if job.status.is_over and last_event_id == str(job.revision):
                return None
            if watcher.wants(job):
                watcher.tell(job, _of_its_own(job))
            undone.pop_all()
        return stream

    def end(self) -> None:
        """End all streams, and begin none any more: the process is about to end."""
        self._has_ended = True
        for stream in self._streams:
            stream.end()
        if self._running is not None:
            self._running.cancel()

    async def aclose(self) -> None:
        self.end()
        if self._running is not None:
            await asyncio.wait({self._running})

    async def _begin(self) -> Database:
        listener, database = await self._client.listener(), await self._client.database()
        if self._has_ended:
            raise HTTPException(503, "The server is about to end. Come back.", RETRY_AFTER)
        if len(self._streams) >= self._client.settings.max_watchers:
            reason = "There are as many watchers as EVALQUEUE_MAX_WATCHERS allows. Come back later."
            raise HTTPException(503, reason, RETRY_AFTER)
        if self._running is None:
            self._forget()
            hearing = contextlib.ExitStack()
            hearing.enter_context(listener.subscribe(JOB_CHANGED, self._hear, self._miss))
            self._running = asyncio.create_task(self._run(database, hearing), name="bulletin")
            self._running.add_done_callback(self._stopped)
        return database

    def _stream(self, watcher: Watcher) -> EventStream:
        stream = EventStream(watcher, leave=self._leave)
        self._streams.add(stream)
        return stream

    def _leave(self, stream: EventStream) -> None:
        self._streams.discard(stream)
        match stream.watcher:
            case JobsWatcher() as watcher:
                self._of_all.discard(watcher)
            case JobWatcher() as watcher:
                others = self._of_job.get(watcher.job_id, set())
                others.discard(watcher)
                if not others:
                    self._of_job.pop(watcher.job_id, None)
            case _:
                pass

    async def _run(self, database: Database, hearing: contextlib.ExitStack) -> None:
        with hearing:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(database), name="bulletin: changes")
                tasks.create_task(self._read_lines(database), name="bulletin: lines")
                tasks.create_task(self._look_after(), name="bulletin: streams")

    def _stopped(self, running: asyncio.Task[None]) -> None:
        """Nobody is left waiting for what nobody reads: the clients come back."""
        self._running = None
        for stream in self._streams:
            stream.end()
        if not running.cancelled() and (error := running.exception()) is not None:
            logger.error("What watchers are told broke off; they come back", exc_info=error)

    async def _look_after(self) -> None:
        loop = asyncio.get_running_loop()
        watched_at = loop.time()
        while self._streams or loop.time() - watched_at < IDLE_SECONDS:
            if self._streams:
                watched_at = loop.time()
            for stream in tuple(self._streams):
                stream.look_after(loop.time())
            await asyncio.sleep(1.0)
        if self._running is not None:
            self._running.cancel()

    # What happens

    def _hear(self, payload: str) -> None:
        if self._has_missed:
            return
        with contextlib.suppress(ValueError):  # anybody may NOTIFY anything
            self._told.add(UUID(payload))
        self._has_missed = len(self._told) > MAX_UNREAD
        self._something.set()

    def _miss(self) -> None:
        self._has_missed = True
        self._something.set()

    async def _read(self, database: Database) -> None:
        while True:
            await self._something.wait()
            if self._has_missed:
                await self._catch_up()
            ids = [*self._told, *(self._asked - self._told)][:READ_AT_ONCE]
            told = self._told.intersection(ids)
            self._told.difference_update(ids)
            self._asked.difference_update(ids)
            if not self._told and not self._asked:
                self._something.clear()
            if ids:
                await self._read_changed(database, ids, told)
            await asyncio.sleep(PAUSE + PAUSE_PER_WATCHER * len(self._streams))

    async def _catch_up(self) -> None:
        """More has happened than can be told, or nobody knows what."""
        if len(self._told) > MAX_UNREAD:
            await asyncio.sleep(MISSED_INTERVAL)  # it may go on: it is said once
        self._has_missed = False
        self._told.clear()
        self._known.clear()
        self._asked.update(self._of_job)
        self._moved.update(self._lines)
        news = self._event_log.resync()
        for watcher in self._of_all:
            watcher.tell(news)

    async def _read_changed(
        self, database: Database, ids: Collection[UUID], told: Collection[UUID]
    ) -> None:
        watched = self._of_job.keys() & ids
        jobs = await database.until_done(
            lambda connection: store.changed(connection, ids, watched=watched),
            what="What watchers are told",
        )
        self._tell(job for job in jobs if job.id in told and job.parent_id is None)
        for job in jobs:
            self._tell_of_its_own(job)
        for gone in watched - {job.id for job in jobs}:
            for watcher in self._of_job.get(gone, ()):
                watcher.end()

    def _tell(self, jobs: Iterable[Job]) -> None:
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        for job in jobs:
            self._moved.add(job.queue)
            if job.revision <= self._known.get(job.id, 0):
                continue
            self._known[job.id] = job.revision
            news = self._event_log.job(job.id, job.owner, brief(job))
            for watcher in self._of_all:
                watcher.tell(news)

    def _tell_of_its_own(self, job: Job) -> None:
        if wanting := [each for each in self._of_job.get(job.id, ()) if each.wants(job)]:
            wire = _of_its_own(job)
            for watcher in wanting:
                watcher.tell(job, wire)

    # Who stands where

    async def _read_lines(self, database: Database) -> None:
        """In the row of a job whose turn comes nearer nothing changes: queues that move are looked
        at now and then."""
        while True:
            await asyncio.sleep(LINE_INTERVAL)
            if not self._moved or not self._streams:
                continue
            queues, self._moved = self._moved, set()
            lines = await database.until_done(
                lambda connection, queues=queues: store.lines(
                    connection, queues, at_most=LINE_LENGTH
                ),
                what="What watchers are told of queues",
            )
            changed = {
                queue: line for queue, line in lines.items() if line != self._lines.get(queue, ())
            }
            self._lines = {queue: line for queue, line in (self._lines | lines).items() if line}
            self._tell_lines(changed, self._of_all)
            self._ask_for_places(queues)

    def _tell_lines(
        self, lines: dict[str, tuple[Place, ...]], watchers: Collection[JobsWatcher]
    ) -> None:
        event_id = self._event_log.last_id
        for queue, line in lines.items():
            for sees in {watcher.sees for watcher in watchers}:
                ahead = {each.job_id: each.ahead for each in line if sees in (None, each.owner)}
                data = QueueEvent(queue=queue, ahead=ahead).model_dump_json().encode()
                wire = event("queue", event_id, data)
                for watcher in watchers:
                    if watcher.sees == sees:
                        watcher.tell_line(queue, wire, event_id)

    def _ask_for_places(self, queues: Collection[str]) -> None:
        """Those that are watched by themselves are read again, wherever they stand."""
        for job_id, watchers in self._of_job.items():
            if any(
                each.job is not None
                and each.job.status is JobStatus.QUEUED
                and each.job.queue in queues
                for each in watchers
            ):
                self._asked.add(job_id)
                self._something.set()


def _of_its_own(job: Job) -> bytes:
    """For those who watch this job alone: ids are its revisions."""
    return event("job", str(job.revision), whole(job))
