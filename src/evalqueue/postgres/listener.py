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
from uuid import uuid4

import asyncpg

from evalqueue.errors import NotificationsLost
from evalqueue.postgres.database import TRANSIENT, Database, asyncpg_dsn

JOB_CHANGED = "evalqueue_job_v1"
"""Payload: the id of a job that is new, or whose revision went up."""
JOB_CANCELLED = "evalqueue_cancel_v1"
"""Payload: the id of a job that is cancelled as of now."""
WORK_WAITS = "evalqueue_work_v1"
"""Payload: the queue a job went back to."""

PING_INTERVAL = 10.0  # seconds between proofs that what is sent is heard
PING_TIMEOUT = 5.0  # seconds; a half-open connection answers nothing for ever
RECONNECT_DELAY_MAX = 5.0  # seconds

logger = logging.getLogger(__name__)

_LOST = (
    OSError, TimeoutError,
    asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
)  # fmt: skip


class Listener:
    """Listens on some channels from `start` to `close`, through every outage in between."""

    def __init__(self, database: Database, channels: Iterable[str]) -> None:
        self._database = database
        self._dsn = asyncpg_dsn(database.listen_conninfo)
        self._channels = tuple(channels)
        self._echo_channel = f"evalqueue_echo_{uuid4().hex}"
        self._echo = asyncio.Event()  # of what was sent last, to prove that it is heard
        self._heard = asyncio.Event()  # an echo, on the connection there is
        self._deaf = asyncio.Event()
        self._subscribers: dict[str, set[Callable[[str], None]]] = defaultdict(set)
        self._resync: set[Callable[[], None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    @property
    def is_listening(self) -> bool:
        """Whether what is sent was heard when it was last tried, and nothing has happened since."""
        return self._listening.is_set() and self._heard.is_set()

    async def heard_itself(self) -> None:
        """Wait for the first proof that notifications arrive; while Postgres is away, not for ever.

        Raises:
            NotificationsLost: they are sent, and don't arrive.
        """
        heard = asyncio.create_task(self._heard.wait())
        deaf = asyncio.create_task(self._deaf.wait())
        try:
            await asyncio.wait(
                {heard, deaf}, timeout=2 * PING_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            heard.cancel()
            deaf.cancel()
        if self._deaf.is_set():
            raise NotificationsLost(
                "NOTIFY is sent through DATABASE_URL and does not arrive at our LISTEN connection: "
                "a pooler such as PgBouncer in transaction mode forwards none. Set "
                "EVALQUEUE_LISTEN_URL to an address of Postgres itself (the same database)."
            )

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
            async with asyncio.timeout(PING_TIMEOUT):
                for channel in self._channels:
                    await connection.add_listener(channel, self._deliver)
                await connection.add_listener(self._echo_channel, self._hear_itself)
            self._listening.set()
            for resync in tuple(self._resync):
                resync()
            while not lost.is_set():
                await self._prove(connection)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PING_INTERVAL):
                        await lost.wait()
            await connection.execute("SELECT 1", timeout=PING_TIMEOUT)  # says how it was lost
        finally:
            self._heard.clear()
            connection.terminate()

    async def _prove(self, connection: Any) -> None:
        """What is said through the pool is heard here. A connection that hears nothing, half-open
        or behind a pooler, looks like any other one. What was proven before holds meanwhile."""
        self._echo.clear()
        try:
            async with asyncio.timeout(PING_TIMEOUT), self._database.connection() as speaking:
                await speaking.execute("SELECT pg_notify(%s, '')", [self._echo_channel])
        except (TimeoutError, *TRANSIENT):
            # The pool's trouble, not ours: at least this connection answers.
            await connection.execute("SELECT 1", timeout=PING_TIMEOUT)
            return
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                await self._echo.wait()
        except TimeoutError:
            self._deaf.set()
            raise
        self._deaf.clear()

    def _hear_itself(self, *_notified: object) -> None:
        self._echo.set()
        self._heard.set()

    def _deliver(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        for told in tuple(self._subscribers[channel]):
            told(str(payload))
