"""What a server has to be: new enough, in UTF-8, and of our isolation where a pooler decides it."""

from typing import Any

import psycopg

from evalqueue.errors import DatabaseUnavailable

OLDEST = 15
"""The first major version with UNIQUE NULLS NOT DISTINCT."""


async def check(connection: psycopg.AsyncConnection[Any], *, where: str, pooled: bool) -> None:
    """Refuse a server that is too old, a database that can't hold every text, and a pooler's
    sessions of another isolation.

    Args:
        where: the address, without secrets.

    Raises:
        DatabaseUnavailable: with what to do.
    """
    if problem := version_problem(connection.info.server_version):
        raise DatabaseUnavailable(f"{problem} ({where}).")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in {None, "UTF8"}:
        raise DatabaseUnavailable(
            f"The encoding of the database is {encoding}, and texts of all languages need UTF8 "
            f"({where}). Make another one: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        )
    if pooled:
        cursor = await connection.execute("SHOW default_transaction_isolation")
        (isolation,) = await cursor.fetchone() or ("",)
        if isolation != "read committed":
            raise DatabaseUnavailable(
                f"Transactions are {isolation} here, and behind a pooler nothing else can be set "
                f"({where}). ALTER ROLE … SET default_transaction_isolation = 'read committed'."
            )


def version_problem(server_version: int) -> str | None:
    """Why a server of this version (150004: 15.4) can't be used. None: it can."""
    major = server_version // 10_000
    if major >= OLDEST:
        return None
    return f"This is Postgres {major}, and evalqueue needs {OLDEST} or newer"
