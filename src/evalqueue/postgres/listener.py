"""Notifications: one LISTEN connection per process, fanned out to its subscribers.

A notification says only *that* something changed. What changed is read from the rows, so a missed
notification costs nothing but time: after every reconnect, `resync` is called for all subscribers.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Any, Self, cast
from uuid import uuid4

import asyncpg
import psycopg

from evalqueue.errors import NotificationsLost
from evalqueue.postgres.addresses import asyncpg_dsn
from evalqueue.postgres.database import Database
from evalqueue.postgres.passwords import PasswordUnavailable
from evalqueue.telemetry import tasks

JOB_CHANGED = "evalqueue_job_v1"
"""Payload: the id of a job that is new, or whose revision went up."""
JOB_CANCELLED = "evalqueue_cancel_v1"
"""Payload: the id of a job that is cancelled as of now."""
WORK_WAITS = "evalqueue_work_v1"
"""Payload: the queue a job went back to; empty: any."""

PING_INTERVAL = 10.0  # seconds between proofs that notifications arrive
PING_TIMEOUT = 5.0  # seconds; a half-open connection answers nothing for ever
FIRST_PROOF_SECONDS = 2 * PING_TIMEOUT
RECONNECT_DELAY_MAX = 5.0  # seconds

logger = logging.getLogger(__name__)

_LOST = (
    OSError, TimeoutError, PasswordUnavailable,
    asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
)  # fmt: skip


class Listener:
    """Listens on some channels from `start` to `close`, through every outage in between.

    Args:
        session_key: locked, shared, while the connection lives: others see by it that this process
            does. Behind a pooler, which forwards no notifications, it is never locked.
    """

    def __init__(
        self, database: Database, channels: Iterable[str], *, session_key: int | None = None
    ) -> None:
        self._database = database
        self._dsn = asyncpg_dsn(database.listen_conninfo)
        self._channels = tuple(channels)
        self._session_key = session_key
        self._echo_channel = f"evalqueue_echo_{uuid4().hex}"
        self._echo = asyncio.Event()  # of the last one sent, to prove that it arrives
        self._proven = asyncio.Event()  # by an echo, on the current connection
        self._deaf = asyncio.Event()
        self._subscribers: dict[str, set[Callable[[str], None]]] = defaultdict(set)
        self._resync: set[Callable[[], None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()
        self._began_at = 0.0
        self._probed_at: float | None = None

    @property
    def probe_age_seconds(self) -> float | None:
        """Since a proof succeeded last. None: none did yet."""
        return None if self._probed_at is None else time.monotonic() - self._probed_at

    @property
    def is_starting(self) -> bool:
        """Whether it has just begun to listen, and nothing is known yet."""
        return (
            self._probed_at is None
            and not self._deaf.is_set()
            and time.monotonic() - self._began_at < FIRST_PROOF_SECONDS
        )

    @property
    def is_listening(self) -> bool:
        """Whether the last proof succeeded, and the connection was not lost since."""
        return self._listening.is_set() and self._proven.is_set()

    async def wait_for_proof(self) -> None:
        """Wait for the first proof that notifications arrive; while Postgres is away, not for ever.

        Raises:
            NotificationsLost: they are sent, and don't arrive.
        """
        proven = tasks.start(self._proven.wait(), name="proof of notifications")
        deaf = tasks.start(self._deaf.wait(), name="lack of notifications")
        try:
            await asyncio.wait(
                {proven, deaf}, timeout=FIRST_PROOF_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            proven.cancel()
            deaf.cancel()
        if self._deaf.is_set():
            raise NotificationsLost(
                "NOTIFY is sent through DATABASE_URL and does not arrive at our LISTEN connection: "
                "a pooler such as PgBouncer in transaction mode forwards none. Set "
                "EVALQUEUE_LISTEN_URL to an address of Postgres itself (the same database)."
            )

    def start(self) -> None:
        """Begin to listen. `resync` is called for all subscribers once it listens."""
        self._began_at = time.monotonic()
        self._task = tasks.start(self._run(), name="evalqueue listener")

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
        self, channel: str, on_notify: Callable[[str], None], resync: Callable[[], None]
    ) -> Generator[None]:
        """Call `on_notify(payload)` for each notification, and `resync()` after a gap."""
        self._subscribers[channel].add(on_notify)
        self._resync.add(resync)
        try:
            yield
        finally:
            self._subscribers[channel].discard(on_notify)
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
        password = await self._database.passwords.of(self._database.listen_conninfo)
        connection = await connect(self._dsn, timeout=PING_TIMEOUT, password=password)
        lost = asyncio.Event()
        connection.add_termination_listener(lambda *_: lost.set())  # pyright: ignore[reportUnknownLambdaType]  asyncpg's connection, unused
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                for channel in self._channels:
                    await connection.add_listener(channel, self._deliver)
                await connection.add_listener(self._echo_channel, self._on_echo)
            self._listening.set()
            for resync in tuple(self._resync):
                resync()
            holds = self._session_key is None
            while not lost.is_set():
                await self._prove(connection)
                if not holds and self._proven.is_set():
                    # LISTEN comes first: people find the session by it in pg_stat_activity.
                    await connection.execute(
                        f"LISTEN {self._echo_channel};"
                        f" SELECT pg_catalog.pg_advisory_lock_shared({self._session_key})",
                        timeout=PING_TIMEOUT,
                    )
                    holds = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PING_INTERVAL):
                        await lost.wait()
            await connection.execute("SELECT 1", timeout=PING_TIMEOUT)  # raises why it was lost
        finally:
            self._proven.clear()
            connection.terminate()

    async def _prove(self, connection: Any) -> None:
        """Send a notification through the pool, and wait for it here. A connection that receives
        none, half-open or behind a pooler, looks like any other. The last proof holds meanwhile."""
        self._echo.clear()
        try:
            async with asyncio.timeout(PING_TIMEOUT), self._database.connection() as sending:
                await sending.execute("SELECT pg_notify(%s, '')", [self._echo_channel])
        except (TimeoutError, psycopg.Error):
            # The pool's connections fail, not this one: check that it answers.
            await connection.execute(f"LISTEN {self._echo_channel}", timeout=PING_TIMEOUT)
            return
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                await self._echo.wait()
        except TimeoutError:
            self._deaf.set()
            raise
        self._deaf.clear()

    def _on_echo(self, *_notified: object) -> None:
        self._probed_at = time.monotonic()
        self._echo.set()
        self._proven.set()

    def _deliver(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        for on_notify in tuple(self._subscribers[channel]):
            on_notify(str(payload))
