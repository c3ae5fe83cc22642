"""What each watcher has yet to be sent: of everything only the latest, and never more than so much.

Nobody waits for a watcher. What he is told is put down for him, as bytes that all share, and his
stream takes it from there when his connection takes something.
"""

import asyncio
import random
from collections.abc import Hashable, Iterable
from uuid import UUID

from evalqueue.http.events.event_log import News, resync
from evalqueue.jobs import Job

MAX_UNSENT = 500  # jobs and queues; who lags further behind had better read all again
RETRY_MILLISECONDS = (1_000, 3_000)  # until a client comes back; not all of them at once

_BEAT, _HELLO, _RESYNC = object(), object(), object()


class Watcher:
    """One who watches.

    Args:
        starts_after: the id of what he knows when he begins.
    """

    def __init__(self, *, starts_after: str | None = None) -> None:
        self._unsent: dict[Hashable, bytes] = {}
        self._said = asyncio.Event()
        self._is_over = False
        retry = random.randint(*RETRY_MILLISECONDS)  # noqa: S311  jitter, not a secret
        known = b"" if starts_after is None else b"id: %b\n" % starts_after.encode()
        self.put(_HELLO, b"retry: %d\n%b\n" % (retry, known))

    def end(self) -> None:
        """Nothing more will come."""
        self._is_over = True
        self._said.set()

    def beat(self) -> None:
        """Show that the connection lives, if there is nothing else to say."""
        if not self._unsent:
            self.put(_BEAT, b":\n\n")

    def put(self, key: Hashable, wire: bytes) -> None:
        """Say this next, after all else, in the place of what was to be said of the same thing."""
        self._unsent.pop(key, None)
        self._unsent[key] = wire
        self._said.set()

    async def take(self) -> bytes:
        """What is to be sent, as soon as there is something. Empty: it is over."""
        while not self._unsent and not self._is_over:
            self._said.clear()
            await self._said.wait()
        taken = b"".join(self._unsent.values())
        self._unsent.clear()
        return taken


class JobsWatcher(Watcher):
    """Watches all jobs that he may see.

    Args:
        sees: the owner whose jobs these are; None: everybody's.
    """

    def __init__(self, *, sees: str | None, starts_after: str | None) -> None:
        super().__init__(starts_after=starts_after)
        self.sees = sees

    def tell(self, news: News) -> None:
        if news.job_id is None:
            self.resync(news.event_id)
        elif self.sees is None or self.sees == news.owner:
            self._put_bounded(news.job_id, news.wire, news.event_id)

    def tell_all(self, missed: Iterable[News]) -> None:
        for news in missed:
            self.tell(news)

    def tell_line(self, queue: str, wire: bytes, event_id: str) -> None:
        self._put_bounded(queue, wire, event_id)

    def resync(self, event_id: str) -> None:
        """What was to be said is in what will be read."""
        hello = self._unsent.get(_HELLO)
        self._unsent.clear()
        if hello is not None:
            self.put(_HELLO, hello)
        self.put(_RESYNC, resync(event_id))

    def _put_bounded(self, key: Hashable, wire: bytes, event_id: str) -> None:
        if key not in self._unsent and len(self._unsent) >= MAX_UNSENT:
            self.resync(event_id)
        else:
            self.put(key, wire)


class JobWatcher(Watcher):
    """Watches one job to its end."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__()
        self.job_id = job_id
        self.job: Job | None = None
        """As it was last told."""

    def wants(self, job: Job) -> bool:
        """Whether this is news."""
        known = self.job
        return known is None or (
            job.revision > known.revision
            or (job.revision == known.revision and job.ahead != known.ahead)
        )

    def tell(self, job: Job, wire: bytes) -> None:
        self.job = job
        self.put(job.id, wire)
        if job.status.is_over:
            self.end()
