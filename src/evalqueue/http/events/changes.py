"""Jobs that have changed and are not read yet."""

import asyncio
import contextlib
from collections.abc import Iterable
from uuid import UUID

MAX_UNREAD = 2_000  # jobs; if more have changed, reading everything again takes less
BATCH_SIZE = 200  # jobs


class PendingChanges:
    """Collects ids of jobs until they are read, and whether notifications may have been missed."""

    def __init__(self) -> None:
        self._changed: set[UUID] = set()
        self._requested: set[UUID] = set()
        self._has_gap = False
        self._has_any = asyncio.Event()

    def on_notify(self, payload: str) -> None:
        """A notification that names a changed job. Any client of the database can send others."""
        if self._has_gap:
            return
        with contextlib.suppress(ValueError):
            self._changed.add(UUID(payload))
        self._has_gap = self.has_overflow
        self._has_any.set()

    def on_gap(self) -> None:
        """Notifications may have been missed."""
        self._has_gap = True
        self._has_any.set()

    def request(self, job_ids: Iterable[UUID]) -> None:
        """Read these jobs, too: a watched value outside their rows may have changed."""
        self._requested.update(job_ids)
        if self._requested:
            self._has_any.set()

    async def wait(self) -> None:
        """Wait until there is a change or a gap."""
        await self._has_any.wait()

    @property
    def has_gap(self) -> bool:
        return self._has_gap

    @property
    def has_overflow(self) -> bool:
        """Whether the gap is one of too many changes."""
        return len(self._changed) > MAX_UNREAD

    def forget_changes(self) -> None:
        """End a gap: everything will be read again."""
        self._has_gap = False
        self._changed.clear()

    def take(self) -> tuple[list[UUID], set[UUID]]:
        """The next ids to read, at most `BATCH_SIZE`, and which of them have changed."""
        ids = [*self._changed, *(self._requested - self._changed)][:BATCH_SIZE]
        changed = self._changed.intersection(ids)
        self._changed.difference_update(ids)
        self._requested.difference_update(ids)
        if not self._changed and not self._requested:
            self._has_any.clear()
        return ids, changed
