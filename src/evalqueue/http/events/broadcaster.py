"""Sends changes of jobs to all watchers of this process: each is read once and encoded once.

The process's listener says which jobs changed. Their ids are collected, read in one statement and
sent, one read at a time; the more watchers there are, the longer the pause between two reads. No
watcher holds a connection to Postgres, and no read waits for a watcher.

A missed notification is no loss: after a gap every client gets `resync`: read again.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Collection, Iterable
from uuid import UUID

from starlette.exceptions import HTTPException

from evalqueue.client import Client
from evalqueue.errors import JobNotFound
from evalqueue.http.events.changes import PendingChanges
from evalqueue.http.events.event_log import EventLog, encode_event
from evalqueue.http.events.streams import EventStream
from evalqueue.http.events.watchers import JobsWatcher, JobWatcher, Watcher
from evalqueue.http.models.events import QueueEvent, job_event_json, job_json
from evalqueue.jobs import Job, JobStatus
from evalqueue.postgres import store
from evalqueue.postgres.database import Database
from evalqueue.postgres.listener import JOB_CHANGED
from evalqueue.postgres.store import QueuePosition
from evalqueue.telemetry.logs import LoggedError

PAUSE_SECONDS = 0.02  # between two reads, at least
PAUSE_SECONDS_PER_WATCHER = 0.0001  # more: at most 10,000 writes to sockets a second
POSITIONS_INTERVAL_SECONDS = 1.0  # between two reads of queue positions
POSITIONS_PER_QUEUE = 200  # sent when the queue moves
RESYNC_INTERVAL_SECONDS = 1.0  # between two resyncs because of too many changes
MAX_REVISIONS = 10_000  # jobs whose last sent revision is remembered
IDLE_SECONDS = 60.0  # without a watcher, after which nothing is read or logged any more
RETRY_AFTER = {"Retry-After": "10"}  # seconds

_Positions = dict[str, tuple[QueuePosition, ...]]

logger = logging.getLogger(__name__)


class Broadcaster:
    """Starts with the first watcher, and stops after `IDLE_SECONDS` without one."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._streams: set[EventStream] = set()
        self._jobs_watchers: set[JobsWatcher] = set()
        self._job_watchers: dict[UUID, set[JobWatcher]] = {}
        self._running: asyncio.Task[None] | None = None
        self._has_ended = False
        self._reset()

    def _reset(self) -> None:
        self._event_log = EventLog()
        self._changes = PendingChanges()
        self._sent_revisions: dict[UUID, int] = {}
        self._moved_queues: set[str] = set()
        self._positions: _Positions = {}

    @property
    def watching(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    # Watchers

    async def watch_jobs(
        self, visible_owner: str | None, last_event_id: str | None, *, caller: str
    ) -> EventStream:
        """Watch all jobs: all changes from now on, or since the last event that was received.

        Args:
            caller: who holds the stream.
            visible_owner: the owner whose jobs may be seen; None: all owners.
        """
        await self._start(caller)
        event_log = self._event_log
        if last_event_id is None:
            watcher = JobsWatcher(visible_owner=visible_owner, starts_after=event_log.last_id)
        else:
            watcher = JobsWatcher(visible_owner=visible_owner, starts_after=None)
            missed = event_log.since(last_event_id)
            if missed is None:
                watcher.resync(event_log.last_id)
            else:
                watcher.add(missed)
                self._send_positions(self._positions, [watcher])
        self._jobs_watchers.add(watcher)
        return self._stream(watcher, caller)

    async def watch_job(
        self, job_id: UUID, visible_owner: str | None, last_event_id: str | None, *, caller: str
    ) -> EventStream | None:
        """Watch one job: its current state, then each change. None: its end was received before.

        Raises:
            JobNotFound: there is none with this id that may be seen.
        """
        database = await self._start(caller)
        watcher = JobWatcher(job_id)
        self._job_watchers.setdefault(job_id, set()).add(watcher)
        stream = self._stream(watcher, caller)
        with contextlib.ExitStack() as undo:
            undo.callback(self._remove, stream)
            async with database.connection() as connection:
                jobs = await store.changed(connection, [job_id], watched=[job_id])
            if not jobs or visible_owner not in {None, jobs[0].owner}:
                raise JobNotFound(job_id)
            (job,) = jobs
            if job.status.is_over and last_event_id == str(job.revision):
                return None
            if watcher.is_newer(job):
                watcher.add(job, _encode_job(job))
            undo.pop_all()
        return stream

    def _stream(self, watcher: Watcher, caller: str) -> EventStream:
        stream = EventStream(watcher, caller=caller, on_end=self._remove)
        self._streams.add(stream)
        return stream

    def _remove(self, stream: EventStream) -> None:
        self._streams.discard(stream)
        match stream.watcher:
            case JobsWatcher() as watcher:
                self._jobs_watchers.discard(watcher)
            case JobWatcher() as watcher:
                others = self._job_watchers.get(watcher.job_id, set())
                others.discard(watcher)
                if not others:
                    self._job_watchers.pop(watcher.job_id, None)
            case _:
                pass

    # Start and end

    def end(self) -> None:
        """End all streams and accept no new ones, because the process is about to end."""
        self._has_ended = True
        for stream in self._streams:
            stream.end()
        if self._running is not None:
            self._running.cancel()

    async def aclose(self) -> None:
        self.end()
        if self._running is not None:
            await asyncio.wait({self._running})

    def _make_room(self, caller: str) -> None:
        """End the oldest stream of the caller that has the most, for one that has fewer.

        Raises:
            HTTPException: 503: no other caller has more than this one.
        """
        held = Counter(stream.caller for stream in self._streams)
        most, number = held.most_common(1)[0]
        if number <= held[caller] + 1:
            reason = "There are as many watchers as EVALQUEUE_MAX_WATCHERS allows. Come back later."
            raise HTTPException(503, reason, RETRY_AFTER)
        theirs = [stream for stream in self._streams if stream.caller == most]
        oldest = min(theirs, key=lambda stream: stream.began_at)
        oldest.end()
        self._remove(oldest)

    async def _start(self, caller: str) -> Database:
        """Start, if necessary, before a watcher is added.

        Raises:
            HTTPException: 503, if the process is ending or there are too many watchers.
        """
        listener, database = await self._client.listener(), await self._client.database()
        if self._has_ended:
            raise HTTPException(503, "The server is about to end. Come back.", RETRY_AFTER)
        if len(self._streams) >= self._client.settings.max_watchers:
            self._make_room(caller)
        if self._running is None:
            self._reset()
            subscription = contextlib.ExitStack()
            subscription.enter_context(
                listener.subscribe(JOB_CHANGED, self._changes.on_notify, self._changes.on_gap)
            )
            self._running = asyncio.create_task(
                self._run(database, subscription), name="broadcaster"
            )
            self._running.add_done_callback(self._on_stop)
        return database

    async def _run(self, database: Database, subscription: contextlib.ExitStack) -> None:
        with subscription:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send_changes(database), name="broadcaster: changes")
                tasks.create_task(self._watch_positions(database), name="broadcaster: positions")
                tasks.create_task(self._check_streams(), name="broadcaster: streams")

    def _on_stop(self, running: asyncio.Task[None]) -> None:
        """End the streams, which would receive nothing any more: their clients reconnect."""
        self._running = None
        for stream in self._streams:
            stream.end()
        if not running.cancelled() and (error := running.exception()) is not None:
            logger.error(
                "The broadcaster failed; its clients reconnect",
                exc_info=LoggedError.of(error),
            )

    async def _check_streams(self) -> None:
        loop = asyncio.get_running_loop()
        watched_at = loop.time()
        while self._streams or loop.time() - watched_at < IDLE_SECONDS:
            if self._streams:
                watched_at = loop.time()
            for stream in tuple(self._streams):
                stream.check(loop.time())
            await asyncio.sleep(1.0)
        if self._running is not None:
            self._running.cancel()

    # Changes

    async def _send_changes(self, database: Database) -> None:
        while True:
            await self._changes.wait()
            if self._changes.has_gap:
                await self._resync()
            ids, changed = self._changes.take()
            if ids:
                await self._read(database, ids, changed)
            await asyncio.sleep(PAUSE_SECONDS + PAUSE_SECONDS_PER_WATCHER * len(self._streams))

    async def _resync(self) -> None:
        """After a gap: tell watchers of all jobs to read again, and read each watched job."""
        if self._changes.has_overflow:
            await asyncio.sleep(RESYNC_INTERVAL_SECONDS)  # more may come: one resync covers them
        self._changes.forget_changes()
        self._changes.request(self._job_watchers)
        self._sent_revisions.clear()
        self._moved_queues.update(self._positions)
        event = self._event_log.add_resync()
        for watcher in self._jobs_watchers:
            watcher.add([event])

    async def _read(
        self, database: Database, ids: Collection[UUID], changed: Collection[UUID]
    ) -> None:
        watched = self._job_watchers.keys() & ids
        jobs = await database.until_done(
            lambda connection: store.changed(connection, ids, watched=watched),
            what="Reading changed jobs for watchers",
        )
        self._send_to_jobs_watchers(
            job for job in jobs if job.id in changed and job.parent_id is None
        )
        for job in jobs:
            self._send_to_job_watchers(job)
        for deleted in watched - {job.id for job in jobs}:
            for watcher in self._job_watchers.get(deleted, ()):
                watcher.end()

    def _send_to_jobs_watchers(self, jobs: Iterable[Job]) -> None:
        if len(self._sent_revisions) > MAX_REVISIONS:
            self._sent_revisions.clear()
        for job in jobs:
            self._moved_queues.add(job.queue)
            if job.revision <= self._sent_revisions.get(job.id, 0):
                continue
            self._sent_revisions[job.id] = job.revision
            event = self._event_log.add_job(job.id, job.owner, job_event_json(job))
            for watcher in self._jobs_watchers:
                watcher.add([event])

    def _send_to_job_watchers(self, job: Job) -> None:
        outdated = [each for each in self._job_watchers.get(job.id, ()) if each.is_newer(job)]
        if outdated:
            encoded = _encode_job(job)
            for watcher in outdated:
                watcher.add(job, encoded)

    # Positions in queues

    async def _watch_positions(self, database: Database) -> None:
        """A job's row does not change when its position does, so positions in queues that moved are
        read at intervals."""
        while True:
            await asyncio.sleep(POSITIONS_INTERVAL_SECONDS)
            if not self._moved_queues or not self._streams:
                continue
            queues, self._moved_queues = self._moved_queues, set()
            positions = await database.until_done(
                lambda connection, queues=queues: store.queue_positions(
                    connection, queues, at_most=POSITIONS_PER_QUEUE
                ),
                what="Reading queue positions for watchers",
            )
            changed = {
                queue: jobs
                for queue, jobs in positions.items()
                if jobs != self._positions.get(queue, ())
            }
            all_positions = self._positions | positions
            self._positions = {queue: jobs for queue, jobs in all_positions.items() if jobs}
            self._send_positions(changed, self._jobs_watchers)
            self._changes.request(self._watched_in(queues))

    def _send_positions(self, positions: _Positions, watchers: Collection[JobsWatcher]) -> None:
        event_id = self._event_log.last_id
        for queue, jobs in positions.items():
            for owner in {watcher.visible_owner for watcher in watchers}:
                ahead = {each.job_id: each.ahead for each in jobs if owner in {None, each.owner}}
                data = QueueEvent(queue=queue, ahead=ahead).model_dump_json().encode()
                encoded = encode_event("queue", event_id, data)
                for watcher in watchers:
                    if watcher.visible_owner == owner:
                        watcher.add_positions(queue, encoded, event_id)

    def _watched_in(self, queues: Collection[str]) -> Iterable[UUID]:
        """The jobs in these queues that have watchers of their own."""
        for job_id, watchers in self._job_watchers.items():
            if any(
                each.job is not None
                and each.job.status is JobStatus.QUEUED
                and each.job.queue in queues
                for each in watchers
            ):
                yield job_id


def _encode_job(job: Job) -> bytes:
    """The event for watchers of one job. Its id is the job's revision."""
    return encode_event("job", str(job.revision), job_json(job))
