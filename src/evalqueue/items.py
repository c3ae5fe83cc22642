"""Whose turn an item is: all ours, or shared with other workers through the database.

A shared job is worked on by its own attempt and by its hands, each of which claims a few items at a
time. A claim holds as long as the attempt that made it runs, so nothing has to be given back: what
a lost worker held is free as soon as its loss is known.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from evalqueue.errors import AttemptOver
from evalqueue.jobs import Job
from evalqueue.postgres import store
from evalqueue.postgres.database import Connection, Database

WINDOW = 256  # items asked for in one statement
LOOK_INTERVAL = 0.5  # seconds between looks at what others still work on, when nothing else is left
LEARN_INTERVAL = 1.0  # seconds between looks at what others have done, while there is work of ours


class Share(Protocol):
    """The items of one attempt."""

    async def take(self) -> str | None:
        """The next item to work on; None: there is none for us."""
        ...

    async def done(self, connection: Connection, item: str, ok: bool) -> None:
        """Say that an item is done, in the transaction that keeps what was found."""
        ...

    @property
    def something_is_left(self) -> bool: ...


class Sharer(Protocol):
    """What sharing needs to know of an attempt."""

    job: Job
    database: Database

    @property
    def is_helper(self) -> bool: ...

    @property
    def should_yield(self) -> bool: ...


class AllOurs:
    """Nobody else works on these."""

    def __init__(self, items: Sequence[str]) -> None:
        self._left = deque(items)

    @property
    def something_is_left(self) -> bool:
        return bool(self._left)

    async def take(self) -> str | None:
        return self._left.popleft() if self._left else None

    async def done(self, connection: Connection, item: str, ok: bool) -> None:
        """Nobody else has to know."""


class SharedWithOthers:
    """Others work on these, too.

    Args:
        at_once: how many items are claimed at a time.
        count: told of every item that somebody else has done.
    """

    def __init__(
        self,
        sharer: Sharer,
        items: Sequence[str],
        at_once: int,
        count: Callable[[str, bool], None],
    ) -> None:
        self._sharer = sharer
        self._at_once = at_once
        self._count = count
        self._left = deque(items)
        self._ours = deque[str]()
        self._theirs = dict[str, None]()  # in order
        self._taking = asyncio.Lock()
        self._looked_at = time.monotonic()

    @property
    def something_is_left(self) -> bool:
        return bool(self._left or self._ours or self._theirs)

    async def take(self) -> str | None:
        async with self._taking:
            while not self._sharer.should_yield:
                if self._ours:
                    return self._ours.popleft()
                if self._theirs and time.monotonic() - self._looked_at > LEARN_INTERVAL:
                    await self._learn()
                if self._left:
                    await self._claim([self._left.popleft() for _ in range(self._window())])
                elif not self._theirs:
                    return None
                elif not await self._take_over():
                    if self._sharer.is_helper:
                        return None  # whoever works on the rest will keep it
                    await asyncio.sleep(LOOK_INTERVAL)
            return None

    async def done(self, connection: Connection, item: str, ok: bool) -> None:
        root = self._sharer.job.root_id
        await store.item_done(connection, root_id=root, item=item, succeeded=ok)

    def _window(self) -> int:
        return min(WINDOW, len(self._left))

    async def _claim(self, wished: Sequence[str]) -> None:
        job = self._sharer.job

        async def claim(connection: Connection) -> frozenset[str] | None:
            return await store.claim_items(
                connection,
                job_id=job.id,
                attempt=job.attempt,
                items=wished,
                wanted=self._at_once,
            )

        ours = await self._sharer.database.until_done(claim, what=f"Items of job {job.id}")
        if ours is None:
            raise AttemptOver(f"Job {job.id}: attempt {job.attempt} is over")
        self._ours.extend(item for item in wished if item in ours)
        last = max((n for n, item in enumerate(wished) if item in ours), default=len(wished))
        for item in wished[: last + 1]:
            if item in ours:
                self._theirs.pop(item, None)
            else:
                self._theirs[item] = None
        # What lies behind the last one that we got was not reached, or lost in a race.
        behind = [item for item in wished[last + 1 :] if item not in self._theirs]
        self._left.extendleft(reversed(behind))

    async def _take_over(self) -> bool:
        """Take what others have left undone, or were faster to ask for and then did not get."""
        await self._learn()
        await self._claim(list(self._theirs)[:WINDOW])
        return bool(self._ours) or not self._theirs

    async def _learn(self) -> None:
        """Count what others have done."""
        self._looked_at = time.monotonic()
        job = self._sharer.job
        theirs = list(self._theirs)

        async def look(connection: Connection) -> dict[str, bool]:
            return dict(await store.items_done(connection, root_id=job.root_id, items=theirs))

        done = await self._sharer.database.until_done(look, what=f"Items of job {job.id}")
        for item, ok in done.items():
            del self._theirs[item]
            self._count(item, ok)


@dataclass(slots=True, kw_only=True)
class Tally:
    """How many items are finished, and how they went."""

    noun: str
    total: int
    ok: int
    failed: int

    def count(self, *, ok: bool) -> None:
        if ok:
            self.ok += 1
        else:
            self.failed += 1

    @property
    def finished(self) -> int:
        return self.ok + self.failed

    @property
    def message(self) -> str:
        return f"{self.noun} {self.finished}/{self.total} ({self.ok} ok, {self.failed} failed)"
