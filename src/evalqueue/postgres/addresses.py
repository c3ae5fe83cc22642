"""Addresses of Postgres, as libpq reads them, for psycopg and for asyncpg; and waiting for the
server at one."""

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from urllib.parse import urlencode

import psycopg
import psycopg.conninfo
from psycopg.pq import Conninfo

from evalqueue.errors import DatabaseUnavailable
from evalqueue.postgres import server
from evalqueue.postgres.passwords import CommandMissing, Passwords, PasswordUnavailable

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
_HOPELESS = (
    "password authentication failed",
    "no pg_hba.conf entry",
    '" does not exist',
    "authentication method requirement",
    "channel binding required",
    '"min_protocol_version" was set',
    "requires a Boolean value",
    "weak sslmode",
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
ENCODING = {"client_encoding": "UTF8"}
"""Whatever PGCLIENTENCODING says: texts are of all languages."""

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


def _resolved(conninfo: str) -> Mapping[str, object]:
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


def _reason(error: psycopg.OperationalError) -> str:
    """An error in one line, without the sign at its end."""
    return " ".join(str(error).split()).rstrip("?.")


def _is_hopeless(error: psycopg.OperationalError) -> bool:
    return isinstance(error, CommandMissing) or any(words in str(error) for words in _HOPELESS)


def _explained(error: psycopg.OperationalError, conninfo: str) -> str:
    """Why no connection could be opened, and what to look at."""
    reason, where = _reason(error), without_secrets(conninfo)
    if isinstance(error, PasswordUnavailable):
        return f"There is no password for Postgres ({where}): {reason}."
    variables = _variables()
    also = f" These count, too: {', '.join(variables)}." if variables else ""
    if _is_hopeless(error):
        return f"Postgres refuses us ({where}): {reason}. Is DATABASE_URL right?{also}"
    return (
        f"Postgres does not answer ({where}): {reason}. "
        f"Is it running, and is DATABASE_URL right?{also}"
    )


async def wait_for_server(
    conninfo: str, passwords: Passwords, wait_seconds: float, *, pooled: bool
) -> None:
    """Wait until the server at an address accepts a connection, and check that it can be used.

    Args:
        wait_seconds: for how long.
        pooled: a pooler in transaction mode is at this address.

    Raises:
        DatabaseUnavailable: it did not answer in time, refuses us, or can't be used.
    """
    deadline = time.monotonic() + wait_seconds
    logged = False
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(
                psycopg.conninfo.make_conninfo(conninfo, **ENCODING),
                connect_timeout=5,
                autocommit=True,
                password=await passwords.of(conninfo),
            )
        except psycopg.OperationalError as error:
            if _is_hopeless(error) or time.monotonic() >= deadline:
                raise DatabaseUnavailable(_explained(error, conninfo)) from error
            if not logged:
                logger.warning(
                    "Waiting up to %.0f s for Postgres (%s): %s",
                    wait_seconds, without_secrets(conninfo), _reason(error),
                )  # fmt: skip
                logged = True
            await asyncio.sleep(min(0.5, max(0.0, deadline - time.monotonic())))
        else:
            async with connection:
                await server.check(connection, where=without_secrets(conninfo), pooled=pooled)
            return
