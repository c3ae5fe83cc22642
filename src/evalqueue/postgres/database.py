"""Connections to Postgres: one psycopg pool per process, and how to wait for the server.

Connections are in autocommit mode: a single statement is one round trip, and code that needs a
transaction says so.
"""

import asyncio
import contextlib
import logging
import math
import os
import random
import select
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlencode

import psycopg
import psycopg.conninfo
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Conninfo, Format
from psycopg.rows import TupleRow
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool

from evalqueue import codec
from evalqueue.errors import DatabaseUnavailable
from evalqueue.postgres import server

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

_ASYNCPG_KNOWS = frozenset({
    "application_name", "dbname", "host", "krbsrvname", "options", "passfile", "password", "port",
    "service", "sslcert", "sslcrl", "sslkey", "sslmode", "sslnegotiation", "sslpassword",
    "sslrootcert", "ssl_max_protocol_version", "ssl_min_protocol_version", "target_session_attrs",
    "user",
})  # fmt: skip
_ASYNCPG_CANNOT = {
    "channel_binding": {"require"},
    "gssencmode": {"require"},
    "require_auth": None,
    "requirepeer": None,
    "sslcertmode": {"require"},
    "sslcrldir": None,
}
"""Demands on the server that asyncpg does not check; None: any value is one."""
_SERVER_VARIABLES = ("PGDATESTYLE", "PGGEQO", "PGSERVICEFILE", "PGSYSCONFDIR", "PGTZ")
"""libpq reads these, too, although they are not parameters of a connection."""
_DEAD_PEER = {
    "connect_timeout": 10,  # seconds; a peer may accept and then say nothing
    "keepalives_idle": 10,  # seconds
    "keepalives_interval": 5,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}
"""Unless the address says otherwise: a peer gone without a word is noticed in 15 to 25 s."""
_ENCODING = {
    "client_encoding": "UTF8"
}  # whatever PGCLIENTENCODING says: texts are of all languages
_PINNED = """
SELECT set_config(name, setting, false) FROM (VALUES
    ('DateStyle', 'ISO, MDY'), ('IntervalStyle', 'postgres'), ('TimeZone', 'UTC'),
    ('bytea_output', 'hex'), ('extra_float_digits', '1'), ('standard_conforming_strings', 'on'),
    ('row_security', 'on'), ('default_transaction_isolation', 'read committed'),
    ('default_transaction_deferrable', 'off')
) AS pinned (name, setting)
"""
"""What our statements and both drivers rely on, whatever ALTER ROLE and ALTER DATABASE say."""
_OVER_A_LIMIT = "54"  # the class of SQLSTATEs: a value over 1 GB, too many columns
_HOPELESS = (
    "password authentication failed",
    "no pg_hba.conf entry",
    '" does not exist',
    "authentication method requirement",
    "channel binding required",
    "definition of service",
    "invalid command-line argument",
    "invalid value for parameter",
    "permission denied to set parameter",
    "server does not support SSL",
    "unrecognized configuration parameter",
    *(f"invalid {word} value" for word in (
        "channel_binding", "gssencmode", "require_auth", "sslmode", "sslnegotiation",
        "target_session_attrs", "load_balance_hosts", "sslcertmode",
    )),
)  # fmt: skip
"""What waiting won't change: an unknown role or database, a bad password, a wrong parameter."""
RETRY_DELAY_MAX = 5.0  # seconds between tries to say something again
ANSWER_PATIENCE = 30.0  # seconds a connection may be held; what takes longer is a transaction
WAIT_LOG_INTERVAL = 10.0  # seconds between log lines about statements that wait
WARNING_INTERVAL = 600.0  # seconds between log lines about the same warning of the server
WARNINGS_MAX = 1000  # remembered ones
POOL_TIMEOUT = 10.0  # seconds to wait for a connection before the caller gets an error
LONG_SHARE = 5  # of so many connections, one may be held for minutes
RECONNECT_INTERVAL = 1.0  # seconds between tries to connect while the server is away

logger = logging.getLogger(__name__)


def asyncpg_dsn(conninfo: str) -> str:
    """The same address for asyncpg, which knows only URLs, and not all of libpq's parameters and
    variables: PGOPTIONS, for example, is unknown to it."""
    parts = _resolved(conninfo)
    kept = {k: str(v) for k, v in parts.items() if v is not None and k in _ASYNCPG_KNOWS}
    if address := parts.get("hostaddr"):
        kept["host"] = str(address)
    return "postgresql://?" + urlencode(kept)


def check_demands(conninfo: str) -> None:
    """Check that both drivers can meet what the address and the environment demand.

    Raises:
        DatabaseUnavailable: asyncpg can't.
    """
    variables = {option.keyword.decode(): option.envvar for option in Conninfo.get_defaults()}
    for name, value in _resolved(conninfo).items():
        demands = _ASYNCPG_CANNOT.get(name, frozenset[str]())
        if demands is None or value in demands:
            variable = (variables[name] or b"").decode()
            raise DatabaseUnavailable(
                f"The connection that listens for notifications can't guarantee {name}={value}. "
                f"Unset {variable}, or leave {name} out of the address."
            )


def _resolved(conninfo: str) -> dict[str, Any]:
    """Parameters with what libpq takes from the environment and from the file of PGSERVICE."""
    given = psycopg.conninfo.conninfo_to_dict(conninfo)
    if "service" in given:  # the file is stronger than the environment: asyncpg reads both
        return given
    defaults = {
        option.keyword.decode(): option.val.decode()
        for option in Conninfo.get_defaults()
        if option.val is not None and option.val != option.compiled
    }
    return defaults | given


def _variables() -> list[str]:
    """Names of the variables that are set and that libpq reads."""
    read = {option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar}
    return sorted(name for name in read.union(_SERVER_VARIABLES) if name in os.environ)


def without_secrets(conninfo: str) -> str:
    """An address fit for a log line."""
    parts = psycopg.conninfo.conninfo_to_dict(conninfo)
    return psycopg.conninfo.make_conninfo("", **{k: v for k, v in parts.items() if k != "password"})


class Database:
    """One pool, opened once per process and shared by everything in it.

    Args:
        listen_conninfo: where to LISTEN, if `conninfo` leads to a pooler in transaction mode.
    """

    def __init__(
        self, conninfo: str, *, max_size: int = 10, listen_conninfo: str | None = None
    ) -> None:
        self.conninfo = conninfo
        self.listen_conninfo = listen_conninfo or conninfo
        self._pooled_sessions = listen_conninfo is not None
        given = psycopg.conninfo.conninfo_to_dict(conninfo)
        self.pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            psycopg.conninfo.make_conninfo("", **(_DEAD_PEER | given | _ENCODING)),
            min_size=1,
            timeout=POOL_TIMEOUT,
            max_size=max_size,
            open=False,
            # Behind a pooler the next statement may meet another server process.
            kwargs={"autocommit": True} | ({"prepare_threshold": None} if listen_conninfo else {}),
            configure=_configure_pooled if listen_conninfo else _configure_session,
            check=_check,
            # Left to itself, the pool doubles its delay with each failure: after a long outage it
            # would be away for as long again.
            reconnect_timeout=RECONNECT_INTERVAL,
            reconnect_failed=self._reconnect,
        )
        few = max(1, max_size // LONG_SHARE)
        self._long = asyncio.Semaphore(few)
        self._long_reads = asyncio.Semaphore(max(1, few // 2))
        self._reconnecting: asyncio.Task[None] | None = None
        self._logged_at: float | None = None
        self._unlogged = 0

    async def open(self, *, wait_seconds: float = 30.0) -> None:
        """Connect, waiting for a server that isn't up yet.

        Raises:
            DatabaseUnavailable: none answered within `wait_seconds`, or it can't be used.
        """
        check_demands(self.listen_conninfo)
        await _wait_for_server(self.conninfo, wait_seconds, pooled=self._pooled_sessions)
        await self.pool.open()

    async def close(self) -> None:
        await self.pool.close()
        if self._reconnecting is not None:
            await asyncio.wait({self._reconnecting})  # it sees that the pool is closed

    async def _reconnect(self, _pool: object) -> None:
        if self._reconnecting is None or self._reconnecting.done():
            self._reconnecting = asyncio.create_task(self._until_connected(), name="reconnecting")

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
    async def long_transaction(self) -> AsyncGenerator[Connection]:
        """A transaction that may take minutes; so few at once that the pool is never exhausted."""
        async with self._long, self.transaction() as connection:
            yield connection

    @asynccontextmanager
    async def long_read(self) -> AsyncGenerator[Connection]:
        """A long transaction that only reads; fewer at once, so that a writer always gets one."""
        async with self._long_reads, self.long_transaction() as connection:
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


def _shut_down(connection: Connection) -> None:
    """End a connection from outside, under the statement that waits for its answer."""
    logger.warning("A connection to Postgres has not answered for %.0f s: closed", ANSWER_PATIENCE)
    with (
        contextlib.suppress(OSError),  # it was gone already
        socket.socket(fileno=os.dup(connection.pgconn.socket)) as peer,
    ):
        peer.shutdown(socket.SHUT_RDWR)


class _Warnings:
    """Logs the warnings of our SQL functions, each once in a while."""

    def __init__(self) -> None:
        self._logged_at: dict[str, float] = {}

    def on_notice(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized != "WARNING":
            return
        text = notice.message_primary or ""
        now = time.monotonic()
        if now - self._logged_at.get(text, -math.inf) >= WARNING_INTERVAL:
            logger.warning("Postgres warns: %s", text)
            self._logged_at.pop(text, None)  # to the end of the order
            self._logged_at[text] = now
            if len(self._logged_at) > WARNINGS_MAX:
                self._logged_at.pop(next(iter(self._logged_at)))


_warnings = _Warnings()


class _BinaryCursor(psycopg.AsyncCursor[Any]):
    """A cursor whose results don't depend on the session: no DateStyle, IntervalStyle, TimeZone."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.format = Format.BINARY


class _Label(Loader):
    """A value of a type that psycopg does not know, in binary: an enum's label."""

    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        return bytes(data).decode()


async def _configure_pooled(connection: psycopg.AsyncConnection[Any]) -> None:
    """Behind a pooler a session is lent for a transaction: nothing can be set in it."""
    connection.cursor_factory = _BinaryCursor
    connection.adapters.register_loader(0, _Label)
    await _configure(connection)


async def _configure_session(connection: psycopg.AsyncConnection[Any]) -> None:
    """Settings that roles and databases may have set otherwise."""
    await connection.execute(_PINNED)
    await _configure(connection)


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    set_json_dumps(codec.dump_json, connection)
    set_json_loads(codec.load_json, connection)
    connection.add_notice_handler(_warnings.on_notice)


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
    """
    try:
        yield
    except psycopg.OperationalError as error:
        if not (error.sqlstate or "").startswith(_OVER_A_LIMIT):
            raise
        raise psycopg.DataError(f"over a limit of Postgres: {error}") from error
    except psycopg.InternalError as error:
        if error.sqlstate is not None or not connection.broken:
            raise
        raise psycopg.OperationalError(f"the connection is lost: {error}") from error


async def _check(connection: psycopg.AsyncConnection[Any]) -> None:
    """Whether an idle connection still lives, without a round trip when it does.

    A server says nothing to an idle client of its own accord but goodbye: only a connection that
    has something to read is suspect, and is asked.
    """
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)


async def _wait_for_server(conninfo: str, wait_seconds: float, *, pooled: bool) -> None:
    deadline = time.monotonic() + wait_seconds
    logged = False
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(
                conninfo, connect_timeout=5, autocommit=True
            )
        except psycopg.OperationalError as error:
            reason = " ".join(str(error).split()).rstrip("?.")
            where = without_secrets(conninfo)
            if any(words in reason for words in _HOPELESS):
                variables = _variables()
                also = f" These count, too: {', '.join(variables)}." if variables else ""
                raise DatabaseUnavailable(
                    f"Postgres refuses us ({where}): {reason}. Is DATABASE_URL right?{also}"
                ) from error
            if time.monotonic() >= deadline:
                raise DatabaseUnavailable(
                    f"Postgres does not answer ({where}): {reason}. "
                    "Is it running, and is DATABASE_URL right?"
                ) from error
            if not logged:
                logger.warning(
                    "Waiting up to %.0f s for Postgres (%s): %s",
                    wait_seconds, where, reason,
                )  # fmt: skip
                logged = True
            await asyncio.sleep(min(0.5, max(0.0, deadline - time.monotonic())))
        else:
            async with connection:
                await server.check(connection, where=without_secrets(conninfo), pooled=pooled)
            return
