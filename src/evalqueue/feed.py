"""What the database tells: one LISTEN connection per process, fanned out to whoever subscribed.

A notification only ever says *that* something changed. What changed is read from the rows, so a
notification that was missed costs nothing but time: after every reconnect all subscribers are told
that they may have missed something.
"""

import asyncio
import contextlib
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Any, Self, cast

import asyncpg

from evalqueue.database import asyncpg_dsn

JOB_CHANGED = "evalqueue_job_v1"
"""Payload: the id of a job whose status or progress changed."""
JOB_CANCELLED = "evalqueue_cancel_v1"
"""Payload: the id of a job that is cancelled as of now."""
WORK_WAITS = "evalqueue_work_v1"
"""Payload: the queue a job went back to."""

PING_INTERVAL = 10.0  # seconds
PING_TIMEOUT = 5.0  # seconds; a half-open connection answers nothing for ever
RECONNECT_DELAY_MAX = 5.0  # seconds

logger = logging.getLogger(__name__)

_LOST = (
    OSError, TimeoutError,
    asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
)  # fmt: skip


class Feed:
    """Listens on some channels from `start` to `close`, through every outage in between."""

    def __init__(self, conninfo: str, channels: Iterable[str]) -> None:
        self._dsn = asyncpg_dsn(conninfo)
        self._channels = tuple(channels)
        self._subscribers: dict[str, set[Callable[[str], None]]] = defaultdict(set)
        self._resync: set[Callable[[], None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    @property
    def is_listening(self) -> bool:
        return self._listening.is_set()

    def start(self) -> None:
        """Begin to listen. Subscribers are told by `resync` when it is so: nobody has to wait."""
        self._task = asyncio.create_task(self._run(), name="evalqueue feed")

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    @contextlib.contextmanager
    def subscribe(
        self, channel: str, told: Callable[[str], None], resync: Callable[[], None]
    ) -> Generator[None]:
        """Call `told(payload)` for each notification, and `resync()` after a gap in listening."""
        self._subscribers[channel].add(told)
        self._resync.add(resync)
        try:
            yield
        finally:
            self._subscribers[channel].discard(told)
            self._resync.discard(resync)

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                await self._listen()
            except _LOST as error:
                if self._listening.is_set() or failures == 0:
                    logger.warning("Lost the LISTEN connection (%r): reconnecting", error)
                failures = 0 if self._listening.is_set() else failures + 1
                self._listening.clear()
            delay = min(RECONNECT_DELAY_MAX, 0.1 * 2 ** min(failures, 10))
            await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311  jitter, not a secret

    async def _listen(self) -> None:
        connect = cast("Any", asyncpg.connect)  # its annotations are incomplete
        connection = await connect(self._dsn, timeout=PING_TIMEOUT)
        lost = asyncio.Event()
        connection.add_termination_listener(lambda *_: lost.set())  # pyright: ignore[reportUnknownLambdaType]  asyncpg's connection, unused
        try:
            for channel in self._channels:
                await connection.add_listener(channel, self._deliver)
            self._listening.set()
            for resync in tuple(self._resync):
                resync()
            while not lost.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PING_INTERVAL):
                        await lost.wait()
                await connection.execute("SELECT 1", timeout=PING_TIMEOUT)
        finally:
            connection.terminate()

    def _deliver(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        for told in tuple(self._subscribers[channel]):
            told(str(payload))
