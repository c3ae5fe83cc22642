"""The items of a job: what is done with each, and which attempt works on it.

A shared job is worked on by its own attempt and by its helper jobs, each of which claims a few
items at a time. A claim holds as long as the attempt that made it runs, so nothing has to be
released: the items of a lost worker are free as soon as its loss is known.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar

from evalqueue.errors import AttemptOver, describe
from evalqueue.jobs import Job
from evalqueue.postgres import store
from evalqueue.postgres.database import Connection, Database

CLAIM_LIMIT = 256  # items named in one statement
WAIT_INTERVAL = 0.5  # seconds between tries to claim what other attempts still work on
REFRESH_INTERVAL = 1.0  # seconds between reads of what other attempts have done
STORE_INTERVAL = 0.05  # seconds between transactions that store results
STORED_AT_ONCE = 8  # results that wait no longer
STORE_SECONDS = 1.0  # that a transaction may take, as long as the last one took for each result
STORED_TOGETHER = 64  # results in one transaction at most

Item_contra = TypeVar("Item_contra", contravariant=True)
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class ItemWork(Protocol[Item_contra, Result]):
    """What `JobContext.map` does with each item of a job. Subclass it."""

    noun: str = "Item"
    """What progress messages and spans call an item."""
    log_field: str = "item"
    """What log records and spans call its key."""

    def key(self, item: Item_contra, /) -> str:
        """The item's name in the checkpoint, unique in the job."""
        return str(item)

    def may_look_ahead(self, _upcoming: "Upcoming", /) -> None:
        """Called before the first item, with what tells which items are next."""

    async def work(self, item: Item_contra, /) -> Result | None:
        """Make the result of an item. None: it is not to be had yet. What it raises ends the whole
        map."""
        ...

    async def before_store(self) -> None:
        """Called before a transaction that stores results."""

    async def store(self, connection: Connection, result: Result, /) -> None:
        """Store a result, in a transaction inside the fence, which may store others, too.

        May run again after a commit whose answer was lost, and must then leave alone what is there.
        """
        ...

    def succeeded(self, _result: Result, /) -> bool:
        """Whether a result counts as ok or as failed in the progress."""
        return True

    def on_stored(self, _result: Result, /) -> None:
        """Called once a result is stored for good."""


class Upcoming(Protocol):
    """Tells which items are next."""

    def __call__(self, count: int, /) -> Sequence[str]:
        """The keys of so many items at most, in order. Each will be worked on here, unless the
        attempt ends before."""
        ...


class ItemQueue(Protocol):
    """The items that are left for one attempt."""

    async def take(self) -> str | None:
        """The next item to work on; None: there is none for this attempt."""
        ...

    def upcoming(self, count: int, /) -> Sequence[str]:
        """See `Upcoming`."""
        ...

    async def done(self, connection: Connection, items: Mapping[str, bool]) -> None:
        """Record which items are done, and whether they succeeded, in the transaction that stores
        their results."""
        ...

    @property
    def has_items_left(self) -> bool: ...


class SharingAttempt(Protocol):
    """What `SharedItems` needs to know of an attempt."""

    job: Job
    database: Database

    @property
    def is_helper(self) -> bool: ...

    @property
    def should_yield(self) -> bool: ...


class OwnItems:
    """Items that only this attempt works on."""

    def __init__(self, items: Sequence[str]) -> None:
        self._left = deque(items)

    @property
    def has_items_left(self) -> bool:
        return bool(self._left)

    async def take(self) -> str | None:
        return self._left.popleft() if self._left else None

    def upcoming(self, count: int, /) -> Sequence[str]:
        return list(islice(self._left, count))

    async def done(self, connection: Connection, items: Mapping[str, bool]) -> None:
        """No other attempt has to know."""


class SharedItems:
    """Items that other attempts work on, too.

    Args:
        at_once: how many items are claimed at a time.
        on_done: called for every item that another attempt has done: its key, whether it succeeded.
    """

    def __init__(
        self,
        attempt: SharingAttempt,
        items: Sequence[str],
        at_once: int,
        on_done: Callable[[str, bool], None],
    ) -> None:
        self._attempt = attempt
        self._at_once = at_once
        self._on_done = on_done
        self._left = deque(items)
        self._ours = deque[str]()
        self._others = dict[str, None]()  # in order
        self._lock = asyncio.Lock()
        self._refreshed_at = time.monotonic()

    @property
    def has_items_left(self) -> bool:
        return bool(self._left or self._ours or self._others)

    async def take(self) -> str | None:
        async with self._lock:
            while not self._attempt.should_yield:
                if self._ours:
                    return self._ours.popleft()
                if self._others and time.monotonic() - self._refreshed_at > REFRESH_INTERVAL:
                    await self._refresh()
                if self._left:
                    await self._claim([self._left.popleft() for _ in range(self._batch_size())])
                elif not self._others:
                    return None
                elif not await self._take_over():
                    if self._attempt.is_helper:
                        return None  # the attempts that work on the rest will store it
                    await asyncio.sleep(WAIT_INTERVAL)
            return None

    def upcoming(self, count: int, /) -> Sequence[str]:
        return list(islice(self._ours, count))

    async def done(self, connection: Connection, items: Mapping[str, bool]) -> None:
        await store.note_items_done(connection, root_id=self._attempt.job.root_id, items=items)

    def _batch_size(self) -> int:
        return min(CLAIM_LIMIT, len(self._left))

    async def _claim(self, requested: Sequence[str]) -> None:
        job = self._attempt.job

        async def claim(connection: Connection) -> frozenset[str] | None:
            return await store.claim_items(
                connection,
                job_id=job.id,
                attempt=job.attempt,
                items=requested,
                wanted=self._at_once,
            )

        ours = await self._attempt.database.until_done(claim, what=f"Items of job {job.id}")
        if ours is None:
            raise AttemptOver(f"Job {job.id}: attempt {job.attempt} is over")
        self._ours.extend(item for item in requested if item in ours)
        last = max((n for n, item in enumerate(requested) if item in ours), default=len(requested))
        for item in requested[: last + 1]:
            if item in ours:
                self._others.pop(item, None)
            else:
                self._others[item] = None
        # Items after the last one claimed were not reached, or lost in a race.
        behind = [item for item in requested[last + 1 :] if item not in self._others]
        self._left.extendleft(reversed(behind))

    async def _take_over(self) -> bool:
        """Claim what other attempts have left undone, or requested first and then did not get."""
        await self._refresh()
        await self._claim(list(self._others)[:CLAIM_LIMIT])
        return bool(self._ours) or not self._others

    async def _refresh(self) -> None:
        """Count what other attempts have done."""
        self._refreshed_at = time.monotonic()
        job = self._attempt.job
        others = list(self._others)

        async def read(connection: Connection) -> dict[str, bool]:
            return dict(await store.items_done(connection, root_id=job.root_id, items=others))

        done = await self._attempt.database.until_done(read, what=f"Items of job {job.id}")
        for item, ok in done.items():
            del self._others[item]
            self._on_done(item, ok)


class ItemResults(Generic[Result]):
    """Stores results: at once, but in one transaction those that come soon after another.

    A transaction costs both processes more than the rows of a result.
    """

    def __init__(
        self,
        store: Callable[[Mapping[str, Result]], Awaitable[None]],
        on_stored: Callable[[str, Result], None],
    ) -> None:
        """Make one.

        Args:
            store: stores results by the keys of their items, all or none of them.
            on_stored: called for each that is stored for good.
        """
        self._store = store
        self._on_stored = on_stored
        self._unstored: dict[str, Result] = {}
        self._held: dict[str, Result] = {}
        """Those of `_unstored` that belong to no transaction yet."""
        self._transactions: dict[str, asyncio.Future[bool]] = {}
        """Those that store another one's result, too, by its key: whether it is stored."""
        self._turn = asyncio.Lock()
        self._is_full = asyncio.Event()
        self._begun_at = -math.inf
        self._seconds_each = math.inf
        """What the last transaction took for each result."""

    async def add(self, key: str, result: Result) -> None:
        """Store a result. Returns once it is stored."""
        self._unstored[key] = self._held[key] = result
        if len(self._held) >= STORED_AT_ONCE:
            self._is_full.set()
        together: Mapping[str, Result] = {}
        async with self._turn:
            if key in self._held:
                await self._until_due()
                together = self._begin(key)
        if together:
            await self._store_together(key, together)
        elif not await asyncio.shield(self._transactions.pop(key)):  # it is not this one's alone
            await self._store_these({key: result})

    async def store_rest(self) -> None:
        """Store what is not stored yet, each by itself. Nothing is added any more.

        Raises:
            ExceptionGroup: what kept some of them from being stored.
            AttemptOver: the attempt is over.
        """
        errors = list[Exception]()
        for key, result in list(self._unstored.items()):
            try:
                await self._store_these({key: result})
            except AttemptOver:
                raise
            except Exception as error:  # whatever it is, the others may be storable
                errors.append(error)
        if errors:
            raise ExceptionGroup("Results can't be stored", errors)

    async def _until_due(self) -> None:
        pause = self._begun_at + STORE_INTERVAL - time.monotonic()
        if pause > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._is_full.wait()

    def _begin(self, key: str) -> Mapping[str, Result]:
        """Take a result, and as many others as are stored in a short time."""
        self._begun_at = time.monotonic()
        self._is_full.clear()
        most = max(1, min(STORED_TOGETHER, int(STORE_SECONDS / self._seconds_each)))
        others = list(islice((each for each in self._held if each != key), most - 1))
        stored = asyncio.get_running_loop().create_future()
        self._transactions |= dict.fromkeys(others, stored)
        return {each: self._held.pop(each) for each in (key, *others)}

    async def _store_together(self, key: str, together: Mapping[str, Result]) -> None:
        others = [self._transactions[each] for each in together if each != key]
        is_stored = False
        try:
            await self._store_these(together)
            is_stored = True
        except AttemptOver:
            raise
        except Exception as error:  # whatever it is, it may be about one of the others
            if not others:
                raise
            logger.debug("Results are stored one by one: %s", describe(error))
        finally:
            for each in others[:1]:  # it is the same for all
                each.set_result(is_stored)
        if not is_stored:
            await self._store_these({key: together[key]})

    async def _store_these(self, results: Mapping[str, Result]) -> None:
        began = time.monotonic()
        try:
            await self._store(results)
        except Exception:
            for key in results if len(results) == 1 else ():  # it can't be stored
                del self._unstored[key]
            raise
        self._seconds_each = (time.monotonic() - began) / len(results)
        for key in results:
            del self._unstored[key]
        for key, result in results.items():
            self._on_stored(key, result)


@dataclass(slots=True, kw_only=True)
class ItemCounts:
    """How many items are finished, and how many of them succeeded."""

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
