"""The latest events of this process, numbered and encoded, so that clients can resume.

An event's id is the log's random origin and a number; ids of another process are not recognised.
"""

import secrets
from collections import deque
from dataclasses import dataclass
from uuid import UUID

MAX_EVENTS = 2_000
MAX_BYTES = 4 * 1024 * 1024


def encode_event(kind: str, event_id: str, data: bytes) -> bytes:
    """An event as it is sent. JSON contains no line breaks, so that one `data` line is enough."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (kind.encode(), event_id.encode(), data)


def encode_resync(event_id: str) -> bytes:
    """The event that tells a client to read everything again."""
    return encode_event("resync", event_id, b"{}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent:
    """A change of a job, or a gap in what is known about changes."""

    event_id: str
    job_id: UUID | None
    """None: changes may have been missed; it concerns every watcher."""
    owner: str | None
    encoded: bytes


class EventLog:
    """The latest events in order, at most `MAX_EVENTS` and `MAX_BYTES`."""

    def __init__(self) -> None:
        self._origin = secrets.token_hex(4)
        self._last_number = 0
        self._events: deque[LoggedEvent] = deque()
        self._bytes = 0

    @property
    def last_id(self) -> str:
        return f"{self._origin}-{self._last_number}"

    def add_job(self, job_id: UUID, owner: str, data: bytes) -> LoggedEvent:
        """Log a change of a job."""
        self._last_number += 1
        encoded = encode_event("job", self.last_id, data)
        return self._add(
            LoggedEvent(event_id=self.last_id, job_id=job_id, owner=owner, encoded=encoded)
        )

    def add_resync(self) -> LoggedEvent:
        """Log that changes may have been missed."""
        self._last_number += 1
        encoded = encode_resync(self.last_id)
        return self._add(
            LoggedEvent(event_id=self.last_id, job_id=None, owner=None, encoded=encoded)
        )

    def since(self, event_id: str) -> list[LoggedEvent] | None:
        """The events after this one. None: it is no longer in the log, or never was."""
        origin, _, number = event_id.rpartition("-")
        if origin != self._origin or not (number.isascii() and number.isdecimal()):
            return None
        missed = self._last_number - int(number)
        if not 0 <= missed <= len(self._events):
            return None
        return list(self._events)[len(self._events) - missed :]

    def _add(self, event: LoggedEvent) -> LoggedEvent:
        self._events.append(event)
        self._bytes += len(event.encoded)
        while len(self._events) > MAX_EVENTS or self._bytes > MAX_BYTES:
            self._bytes -= len(self._events.popleft().encoded)
        return event
