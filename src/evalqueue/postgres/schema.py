"""The schema: applied, upgraded, and checked at start.

Migrations are the numbered files of `sql/migrations` and, before them, procrastinate's own. Each is
recorded by name in `evalqueue_migrations`; all that are missing are applied in one transaction, so
one that fails leaves nothing behind. Everything goes into the first schema of the search_path.
"""

import re
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import LiteralString, cast

from procrastinate.schema import SchemaManager

from evalqueue.errors import SchemaOutdated
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.queries import SCHEMA

_NUMBERED = re.compile(r"^\d{4}_\w+\.sql$")
_PROCRASTINATE_MIGRATION = re.compile(r"^\d\d\.\d\d\.\d\d_\d\d_(pre|post)_\w+\.sql$")
_BASELINE = "procrastinate/schema"


def own_migrations() -> dict[str, LiteralString]:
    """Our migrations in order, name → SQL."""
    folder = files("evalqueue.sql") / "migrations"
    found = sorted(item.name for item in folder.iterdir() if _NUMBERED.match(item.name))
    return {name: cast("LiteralString", (folder / name).read_text("utf-8")) for name in found}


def _procrastinate_migrations() -> dict[str, LiteralString]:
    folder = Path(SchemaManager.get_migrations_path())
    found = sorted(p for p in folder.iterdir() if _PROCRASTINATE_MIGRATION.match(p.name))
    return {f"procrastinate/{p.name}": cast("LiteralString", p.read_text("utf-8")) for p in found}


async def migrate(database: Database) -> list[str]:
    """Bring the schema up to date. Idempotent, and safe to run from several places at once.

    Returns:
        the names of what was applied, in order; empty when there was nothing to do.

    Raises:
        SchemaOutdated: a schema of procrastinate that someone else made is too old to build on.
    """
    async with database.transaction() as connection:
        await connection.execute(SCHEMA["lock"])
        if not await _is(connection, SCHEMA["has_ledger"]):
            await connection.execute(SCHEMA["create_ledger"])
        applied = await _applied(connection)
        done = await _migrate_procrastinate(connection, applied)
        await connection.execute(SCHEMA["pin_search_path"])
        for name, sql in own_migrations().items():
            if name not in applied:
                await _apply(connection, name, sql)
                done.append(name)
        return done


async def pending(database: Database) -> list[str]:
    """The names of what `migrate` would apply."""
    async with database.connection() as connection:
        ledger = await _is(connection, SCHEMA["has_ledger"])
        applied = await _applied(connection) if ledger else set[str]()
    wanted = [*_procrastinate_migrations(), *own_migrations()]
    return [name for name in wanted if name not in applied]


async def verify(database: Database) -> None:
    """Refuse to work on a schema that is not ours to the last migration.

    Raises:
        SchemaOutdated: with the command to run.
    """
    missing = await pending(database)
    if missing:
        raise SchemaOutdated(
            f"The database's schema lacks {len(missing)} migration(s), the first is {missing[0]}. "
            "Run: evalqueue migrate"
        )


async def _migrate_procrastinate(connection: Connection, applied: set[str]) -> list[str]:
    migrations = _procrastinate_migrations()
    if _BASELINE not in applied:
        done = await _procrastinate_baseline(connection)
        for name in (_BASELINE, *migrations):
            await _record(connection, name, migrations.get(name, ""))
        return done
    missing = [name for name in migrations if name not in applied]
    for name in missing:
        await _apply(connection, name, migrations[name])
    return missing


async def _procrastinate_baseline(connection: Connection) -> list[str]:
    """Make procrastinate's schema, or accept the one a host service has already made."""
    if await _is(connection, SCHEMA["has_procrastinate"]):
        if not await _is(connection, SCHEMA["procrastinate_is_current"]):
            raise SchemaOutdated(
                "There is a procrastinate schema here, made by someone else, and it is older than "
                "3.4. Apply procrastinate's own migrations first, then run: evalqueue migrate"
            )
        return []
    # procrastinate escapes % for its own driver call; execute() without parameters takes it plain.
    await connection.execute(SchemaManager.get_schema())
    return [_BASELINE]


async def _apply(connection: Connection, name: str, sql: LiteralString) -> None:
    await connection.execute(sql)
    await _record(connection, name, sql)


async def _record(connection: Connection, name: str, sql: str) -> None:
    await connection.execute(SCHEMA["record"], {"name": name, "digest": _digest(sql)})


async def _applied(connection: Connection) -> set[str]:
    """The names of what was applied.

    Raises:
        SchemaOutdated: a migration of ours was applied in another wording than today's.
    """
    cursor = await connection.execute(SCHEMA["applied"])
    applied = dict(await cursor.fetchall())
    for name, sql in own_migrations().items():
        if name in applied and applied[name] != _digest(sql):
            raise SchemaOutdated(
                f"{name} was applied here by another build, in another wording, and nothing leads "
                "from there to here. Make the database anew, or use the build that made it."
            )
    return set(applied)


def _digest(sql: str) -> str:
    return sha256(sql.encode()).hexdigest()


async def _is(connection: Connection, question: LiteralString) -> bool:
    cursor = await connection.execute(question)
    row = await cursor.fetchone()
    return row is not None and row[0] is True
