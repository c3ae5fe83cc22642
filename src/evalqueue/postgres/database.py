"""Connections to Postgres: one psycopg pool per process, and statements that wait for the server.

Connections are in autocommit mode: a single statement is one round trip, and code that needs a
transaction says so.
"""

import asyncio
import contextlib
import logging
import os
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self, TypeVar

import psycopg
import psycopg.conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from evalqueue.postgres import addresses, sessions
from evalqueue.postgres.passwords import Passwords
from evalqueue.settings import Settings
from evalqueue.telemetry import tasks

Answer = TypeVar("Answer")
Connection = psycopg.AsyncConnection[TupleRow]

TRANSIENT = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
)
"""What a statement raises when the database, not the statement, is the trouble: PoolTimeout, a cut
connection, a deadlock, a timeout, a full disk, a shutdown, a server that is only a standby now.

What is over a limit of Postgres is an OperationalError as well, but stays so however often it is
said: out of `Database.connection` and `transaction` it comes as a DataError."""

UNWRITABLE = (psycopg.Error, TypeError, ValueError)
"""What a statement raises when its values can't be written; `TRANSIENT` errors are waited out
before."""

_DEAD_PEER = {
    "connect_timeout": 10,  # seconds; a peer may accept and then say nothing
    "keepalives_idle": 10,  # seconds
    "keepalives_interval": 5,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}
"""Unless the address says otherwise: a peer gone without a word is noticed in 15 to 25 s."""
_OVER_A_LIMIT = "54"  # the class of SQLSTATEs: a value over 1 GB, too many columns
RETRY_DELAY_MAX = 5.0  # seconds between tries to say something again
ANSWER_PATIENCE = 30.0  # seconds a connection may be held; what takes longer is a transaction
WAIT_LOG_INTERVAL = 10.0  # seconds between log lines about statements that wait
POOL_TIMEOUT = 10.0  # seconds to wait for a connection before the caller gets an error
LONG_SHARE = 5  # of so many connections, one may be held for minutes
RECONNECT_INTERVAL = 1.0  # seconds between tries to connect while the server is away

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUse:
    """How a pool is used now: connections, and those who wait for one."""

    used: int
    idle: int
    most: int
    waiting: int


class Database:
    """One pool, opened once per process and shared by everything in it.

    Args:
        listen_conninfo: where to LISTEN, if `conninfo` leads to a pooler in transaction mode.
        password_command: prints the password of both, unless they have one.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        max_size: int = 10,
        listen_conninfo: str | None = None,
        password_command: Sequence[str] = (),
    ) -> None:
        self.conninfo = conninfo
        self.passwords = Passwords(password_command)
        self.listen_conninfo = listen_conninfo or conninfo
        self._pooled_sessions = listen_conninfo is not None
        given = psycopg.conninfo.conninfo_to_dict(conninfo)
        self.pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            psycopg.conninfo.make_conninfo("", **(_DEAD_PEER | given | addresses.ENCODING)),
            min_size=1,
            timeout=POOL_TIMEOUT,
            max_size=max_size,
            open=False,
            kwargs=self._parameters,
            configure=sessions.configure_pooled if listen_conninfo else sessions.configure_session,
            check=sessions.check,
            # Left to itself, the pool doubles its delay with each failure: after a long outage it
            # would be away for as long again.
            reconnect_timeout=RECONNECT_INTERVAL,
            reconnect_failed=self._reconnect,
        )
        few = max(1, max_size // LONG_SHARE)
        self._long = asyncio.Semaphore(few)
        self._long_reads = asyncio.Semaphore(max(1, few // 2))
        self._turns = _Turns()
        self._reconnecting: asyncio.Task[None] | None = None
        self._logged_at: float | None = None
        self._unlogged = 0

    @classmethod
    def of(cls, settings: Settings, address: str, *, max_size: int | None = None) -> Self:
        """The database at an address, as the settings have it.

        Args:
            max_size: of the pool; None: the settings'.
        """
        return cls(
            address,
            max_size=max_size or settings.pool_size,
            listen_conninfo=settings.listen_address,
            password_command=settings.password_command,
        )

    async def _parameters(self) -> dict[str, object]:
        """The pool's parameters of a connection that is to be opened."""
        # Behind a pooler the next statement may meet another server process.
        prepared = {"prepare_threshold": None} if self._pooled_sessions else {}
        password = await self.passwords.of(self.conninfo)
        return {"autocommit": True, "password": password, **prepared}

    async def open(self, *, wait_seconds: float = 30.0) -> None:
        """Connect, waiting for a server that isn't up yet.

        Raises:
            DatabaseUnavailable: none answered within `wait_seconds`, or it can't be used.
        """
        addresses.check_demands(self.listen_conninfo)
        await addresses.wait_for_server(
            self.conninfo, self.passwords, wait_seconds, pooled=self._pooled_sessions
        )
        await self.pool.open()

    async def close(self) -> None:
        await self.pool.close()
        if self._reconnecting is not None:
            await asyncio.wait({self._reconnecting})  # it sees that the pool is closed

    def pool_use(self) -> PoolUse:
        """How the pool is used now."""
        stats = self.pool.get_stats()
        idle = stats["pool_available"]
        return PoolUse(
            used=stats["pool_size"] - idle,
            idle=idle,
            most=self.pool.max_size,
            waiting=stats["requests_waiting"],
        )

    async def _reconnect(self, _pool: object) -> None:
        if self._reconnecting is None or self._reconnecting.done():
            self._reconnecting = tasks.start(self._until_connected(), name="reconnecting")

    async def _until_connected(self) -> None:
        """Ask for a connection again and again: each time the pool tries anew."""
        while not self.pool.closed:
            try:
                async with self.pool.connection(timeout=RECONNECT_INTERVAL):
                    return
            except psycopg.OperationalError:
                continue  # PoolTimeout: it has waited

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """A connection in autocommit mode, for 30 s at most: then it is closed, and
        the statement that waits for its answer fails with an error of `TRANSIENT`.

        A peer that is half gone may never answer, and still acknowledge every packet.
        """
        async with self._pooled() as connection:
            patience = asyncio.get_running_loop().call_later(
                ANSWER_PATIENCE, _shut_down, connection
            )
            try:
                yield connection
            finally:
                patience.cancel()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """A connection inside a transaction: committed at the end, or rolled back. As long as it
        takes."""
        async with self._pooled() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def _pooled(self) -> AsyncGenerator[Connection]:
        """A connection of the pool; a cancellation that gets lost while waiting for it is raised.

        The pool waits by asyncio.wait_for, and Python 3.11's forgets a cancellation that comes
        together with what was waited for (bpo-37658). A loop would go on for ever.
        """
        before = _cancellations()
        try:
            async with self.pool.connection() as connection, _classified(connection):
                _raise_cancellation(since=before)
                yield connection
        finally:
            _raise_cancellation(since=before)

    @asynccontextmanager
    async def long_transaction(self, *, owner: str | None = None) -> AsyncGenerator[Connection]:
        """A transaction that may take minutes; so few at once that the pool is never exhausted.

        Args:
            owner: whose work it is: one at a time, so that others don't wait for all of it.
        """
        async with self._turns.of(owner), self._long, self.transaction() as connection:
            yield connection

    @asynccontextmanager
    async def long_read(self, *, owner: str | None = None) -> AsyncGenerator[Connection]:
        """A long transaction that only reads; fewer at once, so that a writer always gets one.

        Args:
            owner: as of `long_transaction`.
        """
        async with self._turns.of(owner), self._long_reads, self.long_transaction() as connection:
            yield connection

    async def until_done(
        self, statement: Callable[[Connection], Awaitable[Answer]], *, what: str
    ) -> Answer:
        """Run a statement until the database has answered, however long it is away.

        Args:
            statement: may run more than once, also after a commit whose answer was lost.
            what: names it in the log.
        """

        async def attempt() -> Answer:
            async with self.connection() as connection:
                return await statement(connection)

        return await self.retry_transient(attempt, what=what)

    async def retry_transient(self, work: Callable[[], Awaitable[Answer]], *, what: str) -> Answer:
        """Repeat work of several statements while the database is away.

        Args:
            work: may run more than once; gets its connections from here.
            what: names it in the log.
        """
        delay = 0.1
        while True:
            try:
                return await work()
            except TRANSIENT as error:
                self._log_wait(what, error)
                await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311  jitter, not a secret
                delay = min(RETRY_DELAY_MAX, delay * 2)

    def _log_wait(self, what: str, error: Exception) -> None:
        """Log what waits, once in a while for all of them: a worker may have hundreds."""
        self._unlogged += 1
        now = time.monotonic()
        if self._logged_at is None or now - self._logged_at >= WAIT_LOG_INTERVAL:
            others = f" (and {self._unlogged - 1} more tries)" if self._unlogged > 1 else ""
            logger.warning("%s waits for Postgres%s: %s", what, others, error)
            self._logged_at, self._unlogged = now, 0


class _Turns:
    """One turn at a time for each owner, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._asked = Counter[str]()

    @asynccontextmanager
    async def of(self, owner: str | None) -> AsyncGenerator[None]:
        """Wait for a turn of this owner. None: at once."""
        if owner is None:
            yield
            return
        lock = self._locks.setdefault(owner, asyncio.Lock())
        self._asked[owner] += 1
        try:
            async with lock:
                yield
        finally:
            self._asked[owner] -= 1
            if not self._asked[owner]:
                del self._asked[owner], self._locks[owner]


def _shut_down(connection: Connection) -> None:
    """End a connection from outside, under the statement that waits for its answer."""
    logger.warning("A connection to Postgres has not answered for %.0f s: closed", ANSWER_PATIENCE)
    with (
        contextlib.suppress(OSError),  # it was gone already
        socket.socket(fileno=os.dup(connection.pgconn.socket)) as peer,
    ):
        peer.shutdown(socket.SHUT_RDWR)


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _raise_cancellation(*, since: int) -> None:
    if _cancellations() > since:
        raise asyncio.CancelledError


@asynccontextmanager
async def _classified(connection: Connection) -> AsyncGenerator[None]:
    """Errors as what they are: the database is away, or the statement is wrong.

    A session that ends at a COMMIT means that the database is away, also behind a pooler. The
    server and the pooler each end it then, and psycopg reports an internal error.

    A statement over a limit is wrong, although psycopg calls the error operational.

    A transaction that met a migration is to be repeated as a whole.
    """
    try:
        yield
    except psycopg.OperationalError as error:
        if not (error.sqlstate or "").startswith(_OVER_A_LIMIT):
            raise
        raise psycopg.DataError(f"over a limit of Postgres: {error}") from error
    except psycopg.NotSupportedError as error:
        if not sessions.met_schema_change(error):
            raise
        raise psycopg.OperationalError(f"the schema has changed: {error}") from error
    except psycopg.InternalError as error:
        if sessions.met_schema_change(error):
            raise psycopg.OperationalError(f"the schema has changed: {error}") from error
        if error.sqlstate is not None or not connection.broken:
            raise
        raise psycopg.OperationalError(f"the connection is lost: {error}") from error
