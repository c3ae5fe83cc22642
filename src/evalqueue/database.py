"""Connections to Postgres: one psycopg pool per process, and how to wait for the server.

Connections are in autocommit mode: a single statement is one round trip, and whoever needs a
transaction says so.
"""

import asyncio
import logging
import random
import select
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlencode

import psycopg
import psycopg.conninfo
from psycopg.rows import TupleRow
from psycopg.types.json import set_json_dumps
from psycopg_pool import AsyncConnectionPool

from evalqueue import codec
from evalqueue.errors import DatabaseUnavailable

Answer = TypeVar("Answer")
Connection = psycopg.AsyncConnection[TupleRow]

TRANSIENT = (psycopg.OperationalError, psycopg.InterfaceError)
"""What a statement raises when the database, not the statement, is the trouble: PoolTimeout, a cut
connection, a deadlock, a shutdown."""

_ASYNCPG_KNOWS = frozenset({
    "application_name", "dbname", "host", "krbsrvname", "options", "passfile", "password", "port",
    "sslcert", "sslcrl", "sslkey", "sslmode", "sslrootcert", "target_session_attrs", "user",
})  # fmt: skip
_DEAD_PEER = {
    "keepalives_idle": 10,  # seconds
    "keepalives_interval": 5,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
}
"""Unless the address says otherwise: a peer gone without a word is noticed in 15 to 25 s."""
_HOPELESS = (
    "password authentication failed",
    "no pg_hba.conf entry",
    '" does not exist',
)
"""What a server says that waiting won't change: an unknown role or database, a bad password."""
RETRY_DELAY_MAX = 5.0  # seconds between tries to say something again
POOL_TIMEOUT = 10.0  # seconds to wait for a connection before the caller is told

logger = logging.getLogger(__name__)


def asyncpg_dsn(conninfo: str) -> str:
    """The same address for asyncpg, which knows only URLs and not all of libpq's words."""
    parts = psycopg.conninfo.conninfo_to_dict(conninfo)
    kept = {k: str(v) for k, v in parts.items() if v is not None and k in _ASYNCPG_KNOWS}
    return "postgresql://?" + urlencode(kept)


def without_secrets(conninfo: str) -> str:
    """An address fit for a log line."""
    parts = psycopg.conninfo.conninfo_to_dict(conninfo)
    return psycopg.conninfo.make_conninfo("", **{k: v for k, v in parts.items() if k != "password"})


class Database:
    """One pool, opened once per process and shared by everything in it."""

    def __init__(self, conninfo: str, *, max_size: int = 10) -> None:
        self.conninfo = conninfo
        given = psycopg.conninfo.conninfo_to_dict(conninfo)
        self.pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            psycopg.conninfo.make_conninfo("", **(_DEAD_PEER | given)),
            min_size=1,
            timeout=POOL_TIMEOUT,
            max_size=max_size,
            open=False,
            kwargs={"autocommit": True},
            configure=_configure,
            check=_check,
        )

    async def open(self, *, wait_seconds: float = 30.0) -> None:
        """Connect, waiting for a server that isn't up yet.

        Raises:
            DatabaseUnavailable: none answered within `wait_seconds`.
        """
        await _wait_for_server(self.conninfo, wait_seconds)
        await self.pool.open()

    async def close(self) -> None:
        await self.pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """A connection in autocommit mode."""
        async with self.pool.connection() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """A connection inside a transaction: committed at the end, or rolled back."""
        async with self.pool.connection() as connection, connection.transaction():
            yield connection

    async def until_done(
        self, statement: Callable[[Connection], Awaitable[Answer]], *, what: str
    ) -> Answer:
        """Say it until the database has heard, however long it is away.

        Args:
            statement: may run more than once, also after a commit whose answer was lost.
            what: names it in the log.
        """
        delay = 0.1
        while True:
            try:
                async with self.connection() as connection:
                    return await statement(connection)
            except TRANSIENT as error:
                logger.warning("%s waits for Postgres: %s", what, error)
                await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311  jitter
                delay = min(RETRY_DELAY_MAX, delay * 2)


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    set_json_dumps(codec.dump_json, connection)


async def _check(connection: psycopg.AsyncConnection[Any]) -> None:
    """Whether an idle connection still lives, without a round trip when it does.

    A server says nothing to an idle client of its own accord but goodbye: only a connection that
    has something to read is suspect, and is asked.
    """
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)


async def _wait_for_server(conninfo: str, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    told = False
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(conninfo, connect_timeout=5)
        except psycopg.OperationalError as error:
            reason = " ".join(str(error).split()).rstrip("?.")
            where = without_secrets(conninfo)
            if any(words in reason for words in _HOPELESS):
                raise DatabaseUnavailable(
                    f"Postgres refuses us ({where}): {reason}. Is DATABASE_URL right?"
                ) from error
            if time.monotonic() >= deadline:
                raise DatabaseUnavailable(
                    f"Postgres does not answer ({where}): {reason}. "
                    "Is it running, and is DATABASE_URL right?"
                ) from error
            if not told:
                logger.warning(
                    "Waiting up to %.0f s for Postgres (%s): %s",
                    wait_seconds, where, reason,
                )  # fmt: skip
                told = True
            await asyncio.sleep(min(0.5, max(0.0, deadline - time.monotonic())))
        else:
            await connection.close()
            return
