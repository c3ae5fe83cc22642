"""What was told lately, numbered and as bytes, so that whoever was cut off goes on where he was."""

import secrets
from collections import deque
from dataclasses import dataclass
from uuid import UUID

MAX_EVENTS = 2_000
MAX_BYTES = 4 * 1024 * 1024


def event(kind: str, event_id: str, data: bytes) -> bytes:
    """An event on the wire. JSON has no line breaks of its own."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (kind.encode(), event_id.encode(), data)


def resync(event_id: str) -> bytes:
    return event("resync", event_id, b"{}")


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Something that happened to a job."""

    event_id: str
    job_id: UUID | None
    """None: something may have been missed, by everybody."""
    owner: str | None
    wire: bytes


class EventLog:
    """The last things that were told, in order. Its ids mean nothing to another process's."""

    def __init__(self) -> None:
        self._origin = secrets.token_hex(4)
        self._number = 0  # of the last that was told
        self._kept: deque[News] = deque()
        self._kept_bytes = 0

    @property
    def last_id(self) -> str:
        return f"{self._origin}-{self._number}"

    def job(self, job_id: UUID, owner: str, data: bytes) -> News:
        """A job has changed."""
        self._number += 1
        wire = event("job", self.last_id, data)
        return self._keep(News(event_id=self.last_id, job_id=job_id, owner=owner, wire=wire))

    def resync(self) -> News:
        """Something may have been missed."""
        self._number += 1
        wire = resync(self.last_id)
        return self._keep(News(event_id=self.last_id, job_id=None, owner=None, wire=wire))

    def since(self, event_id: str) -> list[News] | None:
        """What came after this one. None: that is not known any more, or never was."""
        origin, _, number = event_id.rpartition("-")
        if origin != self._origin or not (number.isascii() and number.isdecimal()):
            return None
        missed = self._number - int(number)
        if not 0 <= missed <= len(self._kept):
            return None
        return list(self._kept)[len(self._kept) - missed :]

    def _keep(self, news: News) -> News:
        self._kept.append(news)
        self._kept_bytes += len(news.wire)
        while len(self._kept) > MAX_EVENTS or self._kept_bytes > MAX_BYTES:
            self._kept_bytes -= len(self._kept.popleft().wire)
        return news
