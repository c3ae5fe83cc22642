"""What is set in each session with Postgres, whatever its role and its database say."""

import logging
import math
import select
import time
from typing import Any, Self

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format, TransactionStatus
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool

from evalqueue import codec

_PINNED = """
SELECT set_config(name, setting, false) FROM (VALUES
    ('DateStyle', 'ISO, MDY'), ('IntervalStyle', 'postgres'), ('TimeZone', 'UTC'),
    ('bytea_output', 'hex'), ('extra_float_digits', '1'), ('standard_conforming_strings', 'on'),
    ('row_security', 'on'), ('default_transaction_isolation', 'read committed'),
    ('default_transaction_deferrable', 'off')
) AS pinned (name, setting)
"""
"""What our statements and both drivers rely on, whatever ALTER ROLE and ALTER DATABASE say."""
WARNING_INTERVAL = 600.0  # seconds between log lines about the same warning of the server
WARNINGS_MAX = 1000  # remembered ones

_OF_ANOTHER_FUNCTION = frozenset({"42P13", "42883", "42804"})
"""SQLSTATEs of a call whose function was made anew meanwhile: its rows or arguments are others."""
_MAY_HAVE_MET_SCHEMA_CHANGE = (
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.InternalError_,
    psycopg.errors.InvalidFunctionDefinition,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.DatatypeMismatch,
)

logger = logging.getLogger(__name__)


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


def met_schema_change(error: BaseException) -> bool:
    """Whether a statement met a migration that was just then committed, and would succeed now.

    Its plan was of the tables or the function as they were before. SQLSTATEs alone don't say so.
    """
    match error:
        case psycopg.errors.FeatureNotSupported():
            return "cached plan" in str(error)
        case psycopg.errors.InternalError_():
            return "cache lookup failed" in str(error)
        case _:
            return False


class _Cursor(psycopg.AsyncCursor[Any]):
    """A cursor whose statements succeed beside a migration.

    Every statement of ours comes through here. One that failed and was alone in its transaction has
    changed nothing, and can be repeated; psycopg has forgotten its plan by then.
    """

    async def execute(self, *arguments: Any, **keywords: Any) -> Self:
        try:
            return await super().execute(*arguments, **keywords)
        except _MAY_HAVE_MET_SCHEMA_CHANGE as error:
            if not _can_repeat(self.connection, error):
                raise
            logger.info("The schema has changed: a statement is repeated (%s)", error)
            return await super().execute(*arguments, **keywords)


def _can_repeat(connection: psycopg.AsyncConnection[Any], error: psycopg.Error) -> bool:
    alone = connection.info.transaction_status is TransactionStatus.IDLE
    if alone and error.sqlstate in _OF_ANOTHER_FUNCTION:
        return True
    return alone and met_schema_change(error)


class _BinaryCursor(_Cursor):
    """A cursor whose results don't depend on the session: no DateStyle, IntervalStyle, TimeZone."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.format = Format.BINARY


class _Label(Loader):
    """A value of a type that psycopg does not know, in binary: an enum's label."""

    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        return bytes(data).decode()


async def configure_pooled(connection: psycopg.AsyncConnection[Any]) -> None:
    """Behind a pooler a session is lent for a transaction: nothing can be set in it."""
    connection.cursor_factory = _BinaryCursor
    connection.adapters.register_loader(0, _Label)
    await _configure(connection)


async def configure_session(connection: psycopg.AsyncConnection[Any]) -> None:
    """Settings that roles and databases may have set otherwise."""
    connection.cursor_factory = _Cursor
    await connection.execute(_PINNED)
    await _configure(connection)


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    set_json_dumps(codec.dump_json, connection)
    set_json_loads(codec.load_json, connection)
    connection.add_notice_handler(_warnings.on_notice)


async def check(connection: psycopg.AsyncConnection[Any]) -> None:
    """Whether an idle connection still lives, without a round trip when it does.

    A server says nothing to an idle client of its own accord but goodbye: only a connection that
    has something to read is suspect, and is asked.
    """
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)
