"""A Postgres of the test's own, to stop and restart. It listens on TCP, so a proxy can be placed in
front of it.
"""

import asyncio
import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import AsyncGenerator
from enum import Enum
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from evalqueue.postgres.embedded import account, binaries
from evalqueue.postgres.embedded.cluster import PostgresCluster

Connection = psycopg.AsyncConnection[Any]

MAX_CONNECTIONS = 60
START_PATIENCE = 90.0  # seconds
RETRY_DELAY = 0.02  # seconds

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": str(MAX_CONNECTIONS),
    "max_wal_senders": "0",
    "shared_buffers": "32MB",
    "log_line_prefix": "%m [%p] ",
    "log_min_duration_statement": "-1",
    # The tests are about what clients see: no data has to survive a power failure.
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_size": "256MB",
    "autovacuum": "off",
}


class Stopping(Enum):
    """How to stop a server: the signal that its postmaster receives."""

    FAST = signal.SIGINT
    """Fast shutdown: open transactions are rolled back, and clients receive a message."""
    IMMEDIATE = signal.SIGQUIT
    """Immediate shutdown, like a crash: the next start runs recovery."""


class Server:
    """A cluster in a directory of its own. The binaries are those of the embedded Postgres.

    Args:
        settings: override `_SETTINGS`.
    """

    def __init__(self, home: Path, **settings: str) -> None:
        self._settings = _SETTINGS | settings
        self.port = free_port()
        self.data = home / "pgdata"
        self.log = home / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._account = account.for_this_process()
        cluster = PostgresCluster(
            home=home,
            binaries=binaries.bundled(self._account, home),
            account=self._account,
        )
        cluster.create()
        rules = self.data / "pg_hba.conf"
        rules.write_text("host all all 127.0.0.1/32 trust\n")
        self._account.give(rules)
        self._postgres = cluster.binaries.path("postgres")

    def address(self, database: str, *, port: int | None = None) -> str:
        """The address of a database here, or of the same one behind a proxy's port."""
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{database}?sslmode=disable"

    async def start(self) -> None:
        """Start, and wait until it answers."""
        assert self._process is None, "it is running already"
        arguments = [str(self._postgres), "-D", str(self.data), "-p", str(self.port)]
        settings = self._settings | {"unix_socket_directories": str(self.data)}
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220  waited for in a thread
                arguments,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._account.user,
                group=self._account.group,
                extra_groups=self._account.extra_groups,
                start_new_session=True,  # Ctrl-C must not reach it
            )
        await self._until_it_answers()

    async def stop(self, how: Stopping = Stopping.FAST) -> None:
        """Stop, and wait until the process has ended."""
        if self._process is None:
            return
        self._process.send_signal(how.value)
        await asyncio.to_thread(self._process.wait)
        self._process = None

    @contextlib.asynccontextmanager
    async def outage(self, how: Stopping = Stopping.FAST) -> AsyncGenerator[None]:
        """Stop the server for as long as the block lasts."""
        await self.stop(how)
        try:
            yield
        finally:
            await self.start()

    @contextlib.asynccontextmanager
    async def setting(self, **settings: str) -> AsyncGenerator[None]:
        """Change settings for as long as the block lasts, also in open sessions."""
        await self._configure("ALTER SYSTEM SET {} = {}", settings)
        try:
            yield
        finally:
            await self._configure("ALTER SYSTEM RESET {}", settings)

    def read_only(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Refuse every statement that writes, as after a failover to a standby."""
        return self.setting(default_transaction_read_only="on")

    @contextlib.asynccontextmanager
    async def crowd(self) -> AsyncGenerator[int]:
        """Occupy every connection slot, so that new connections are refused. Yields how many
        were taken, and afterwards waits until the server accepts connections again."""
        async with contextlib.AsyncExitStack() as taken:
            count = 0
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    await taken.enter_async_context(await self.connect())
                    count += 1
            yield count
        await self._until_it_answers()

    async def terminate_backends(self, *, database: str, query: str = "%") -> int:
        """End the sessions of a database whose last statement is like `query`; returns how many."""
        async with await self.connect() as connection:
            cursor = await connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = %s AND query ILIKE %s AND pid <> pg_backend_pid()",
                [database, query],
            )
            row = await cursor.fetchone()
        return 0 if row is None else row[0]

    async def connect(self, database: str = "postgres") -> Connection:
        return await psycopg.AsyncConnection.connect(self.address(database), autocommit=True)

    async def _configure(self, statement: str, settings: dict[str, str]) -> None:
        async with await self.connect() as connection:
            for name, value in settings.items():
                parts = [sql.Identifier(name), sql.Literal(value)][: statement.count("{}")]
                await connection.execute(sql.SQL(statement).format(*parts))
            await connection.execute("SELECT pg_reload_conf()")

    async def _until_it_answers(self) -> None:
        deadline = time.monotonic() + START_PATIENCE
        while True:
            try:
                async with await self.connect():
                    return
            except psycopg.OperationalError as error:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = self.log.read_text("utf-8", "replace")[-2000:]
                    raise RuntimeError(f"Postgres did not start: {error}\n{log}") from error
            await asyncio.sleep(RETRY_DELAY)


def free_port() -> int:
    """A port on loopback that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
