"""Watchers: the events that one client has yet to receive.

Each watcher holds only the latest event of each job and queue, and at most `MAX_UNSENT` of them.
The bytes are shared by all watchers. Adding an event never waits for the client: its stream takes
them when the connection accepts more.
"""

import asyncio
import random
from collections.abc import Hashable, Iterable
from uuid import UUID

from evalqueue.http.events.event_log import LoggedEvent, encode_resync
from evalqueue.jobs import Job

MAX_UNSENT = 500  # jobs and queues; a client further behind must read everything again
RETRY_MILLISECONDS = (1_000, 3_000)  # until a client reconnects; random, so that not all do at once

_HEARTBEAT, _RETRY, _RESYNC = object(), object(), object()


class Watcher:
    """The unsent events of one client.

    Args:
        starts_after: the id of the last event that the client knows at its start.
    """

    def __init__(self, *, starts_after: str | None = None) -> None:
        self._unsent: dict[Hashable, bytes] = {}
        self._has_changed = asyncio.Event()
        self._is_over = False
        retry = random.randint(*RETRY_MILLISECONDS)  # noqa: S311  jitter, not a secret
        last_id = b"" if starts_after is None else b"id: %b\n" % starts_after.encode()
        self.put(_RETRY, b"retry: %d\n%b\n" % (retry, last_id))

    def end(self) -> None:
        """End the stream after the unsent events."""
        self._is_over = True
        self._has_changed.set()

    def heartbeat(self) -> None:
        """Send a comment that shows that the connection works, if there is no event to send."""
        if not self._unsent:
            self.put(_HEARTBEAT, b":\n\n")

    def put(self, key: Hashable, encoded: bytes) -> None:
        """Add an event after all others. It replaces an unsent one with the same key."""
        self._unsent.pop(key, None)
        self._unsent[key] = encoded
        self._has_changed.set()

    async def take(self) -> bytes:
        """Wait for unsent events and remove them. Empty: the stream is over."""
        while not self._unsent and not self._is_over:
            self._has_changed.clear()
            await self._has_changed.wait()
        encoded = b"".join(self._unsent.values())
        self._unsent.clear()
        return encoded


class JobsWatcher(Watcher):
    """Watches all jobs that its client may see.

    Args:
        visible_owner: the owner of these jobs; None: all owners.
    """

    def __init__(self, *, visible_owner: str | None, starts_after: str | None) -> None:
        super().__init__(starts_after=starts_after)
        self.visible_owner = visible_owner

    def add(self, events: Iterable[LoggedEvent]) -> None:
        """Add those events that the client may see."""
        for event in events:
            if event.job_id is None:
                self.resync(event.event_id)
            elif self.visible_owner in {None, event.owner}:
                self._put_bounded(event.job_id, event.encoded, event.event_id)

    def add_positions(self, queue: str, encoded: bytes, event_id: str) -> None:
        """Add the positions of the jobs of a queue."""
        self._put_bounded(queue, encoded, event_id)

    def resync(self, event_id: str) -> None:
        """Replace all unsent events by one that tells the client to read everything again."""
        retry = self._unsent.get(_RETRY)
        self._unsent.clear()
        if retry is not None:
            self.put(_RETRY, retry)
        self.put(_RESYNC, encode_resync(event_id))

    def _put_bounded(self, key: Hashable, encoded: bytes, event_id: str) -> None:
        if key not in self._unsent and len(self._unsent) >= MAX_UNSENT:
            self.resync(event_id)
        else:
            self.put(key, encoded)


class JobWatcher(Watcher):
    """Watches one job until it is over."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__()
        self.job_id = job_id
        self.job: Job | None = None
        """As it was when it was last added."""

    def is_newer(self, job: Job) -> bool:
        """Whether the job has changed since it was last added."""
        last = self.job
        return last is None or (
            job.revision > last.revision
            or (job.revision == last.revision and job.ahead != last.ahead)
        )

    def add(self, job: Job, encoded: bytes) -> None:
        self.job = job
        self.put(job.id, encoded)
        if job.status.is_over:
            self.end()
