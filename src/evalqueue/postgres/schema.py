"""The schema: applied, upgraded, and checked at start.

Table files (`sql/tables`, after procrastinate's own migrations) are applied once and in order, and
never change. Functions, views and triggers (`sql/functions`) are re-applied when they differ from
what the database has. Both are recorded by name and digest in `evalqueue_migrations`; all that is
missing is applied in one transaction, so one that fails leaves nothing behind. Everything goes into
the first schema of the search_path.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import LiteralString, cast

from procrastinate.schema import SchemaManager
from psycopg.errors import UndefinedTable

from evalqueue.errors import SchemaOutdated
from evalqueue.postgres import definitions
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.definitions import LAYERS, Recorded
from evalqueue.postgres.queries import SCHEMA

_NUMBERED = re.compile(r"^\d{4}_\w+\.sql$")
_PROCRASTINATE_MIGRATION = re.compile(r"^\d\d\.\d\d\.\d\d_\d\d_(pre|post)_\w+\.sql$")
_BASELINE = "procrastinate/schema"


@cache
def own_migrations() -> Mapping[str, LiteralString]:
    """Our table files in order, name → SQL. They are numbered across all layers."""
    folders = (files("evalqueue.sql") / "tables" / layer for layer in LAYERS)
    found = {item.name: item for folder in folders for item in folder.iterdir()}
    return {
        name: cast("LiteralString", found[name].read_text("utf-8"))
        for name in sorted(found)
        if _NUMBERED.match(name)
    }


@cache
def _procrastinate_migrations() -> Mapping[str, LiteralString]:
    folder = Path(SchemaManager.get_migrations_path())
    found = sorted(p for p in folder.iterdir() if _PROCRASTINATE_MIGRATION.match(p.name))
    return {f"procrastinate/{p.name}": cast("LiteralString", p.read_text("utf-8")) for p in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ledger:
    """What the database has recorded."""

    migrations: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    """Digests by name."""
    definitions: Mapping[str, Recorded] = field(default_factory=dict[str, Recorded])

    @property
    def is_newer(self) -> bool:
        """Whether a later build has changed the tables."""
        known = own_migrations()
        return any(_NUMBERED.match(name) and name not in known for name in self.migrations)

    def check(self) -> None:
        """Refuse a database that another build made.

        Raises:
            SchemaOutdated: one of our table files was applied in another wording than today's.
        """
        for name, sql in own_migrations().items():
            if name in self.migrations and self.migrations[name] != _digest(sql):
                raise SchemaOutdated(
                    f"{name} was applied here by another build, in another wording, and nothing "
                    "leads from there to here. Make the database anew, or use the build that made "
                    "it."
                )


async def migrate(database: Database) -> list[str]:
    """Bring the schema up to date. Idempotent, and safe to run from several places at once.

    Returns:
        the names of the files that were applied, in order, and of what was dropped; empty when
        there was nothing to do.

    Raises:
        SchemaOutdated: a schema of procrastinate that someone else made is too old to build on.
    """
    async with database.transaction() as connection:
        await connection.execute(SCHEMA["lock"])
        if not await _is(connection, SCHEMA["has_ledger"]):
            await connection.execute(SCHEMA["create_ledger"])
        ledger = await _ledger(connection)
        ledger.check()
        done = await _migrate_procrastinate(connection, ledger)
        await connection.execute(SCHEMA["pin_search_path"])
        for name, sql in own_migrations().items():
            if name not in ledger.migrations:
                await _apply(connection, name, sql)
                done.append(name)
        # The functions of a later build fit its tables; ours would not.
        if not ledger.is_newer:
            done += await _define(connection, ledger)
        return done


async def pending(database: Database) -> list[str]:
    """The names of what `migrate` would apply, and this process needs."""
    try:
        async with database.connection() as connection:
            ledger = await _ledger(connection)
    except UndefinedTable:
        ledger = _Ledger()
    ledger.check()
    wanted = [*_procrastinate_migrations(), *own_migrations()]
    missing = [name for name in wanted if name not in ledger.migrations]
    if ledger.is_newer:
        return missing
    differing = definitions.differing(definitions.read_definitions(), ledger.definitions)
    return missing + [each.name for each in differing]


async def verify(database: Database) -> None:
    """Refuse to work on a schema that lacks what this build needs.

    Raises:
        SchemaOutdated: with the command to run.
    """
    missing = await pending(database)
    if missing:
        raise SchemaOutdated(
            f"The database's schema lacks {len(missing)} change(s), the first is {missing[0]}. "
            "Run: evalqueue migrate"
        )


async def _migrate_procrastinate(connection: Connection, ledger: _Ledger) -> list[str]:
    migrations = _procrastinate_migrations()
    if _BASELINE not in ledger.migrations:
        done = await _procrastinate_baseline(connection)
        for name in (_BASELINE, *migrations):
            await _record(connection, name, migrations.get(name, ""))
        return done
    missing = [name for name in migrations if name not in ledger.migrations]
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


async def _define(connection: Connection, ledger: _Ledger) -> list[str]:
    """Bring functions, views and triggers to what the files define."""
    wanted = definitions.read_definitions()
    cursor = await connection.execute(SCHEMA["existing"])
    existing = {name for (name,) in await cursor.fetchall()}
    change = definitions.planned(wanted, ledger.definitions, existing)
    statements = [f"DROP {name};\n" for name in change.drop]
    statements += [each.sql for each in change.create]
    if statements:
        await connection.execute(SCHEMA["defer_checks"])
        # The files of this package are as literal as strings in its code, and names of the ledger
        # have passed `is_definition`.
        await connection.execute(cast("LiteralString", "".join(statements)))
        arguments = {
            "names": [each.name for each in change.create],
            "digests": [each.digest for each in change.create],
            "signatures": [each.signature for each in change.create],
        }
        await connection.execute(SCHEMA["record_definitions"], arguments)
    removed = [name for name in ledger.definitions if name not in wanted]
    if removed:
        await connection.execute(SCHEMA["forget_definitions"], {"names": removed})
    return [*(f"DROP {name}" for name in removed), *change.files]


async def _apply(connection: Connection, name: str, sql: LiteralString) -> None:
    await connection.execute(sql)
    await _record(connection, name, sql)


async def _record(connection: Connection, name: str, sql: str) -> None:
    await connection.execute(SCHEMA["record"], {"name": name, "digest": _digest(sql)})


async def _ledger(connection: Connection) -> _Ledger:
    """What was applied: one statement.

    Raises:
        UndefinedTable: nothing ever was.
    """
    cursor = await connection.execute(SCHEMA["applied"])
    migrations: dict[str, str | None] = {}
    defined: dict[str, Recorded] = {}
    for name, digest, signature, earlier in await cursor.fetchall():
        if definitions.is_definition(name):
            defined[name] = Recorded(digest=digest, signature=signature, earlier=earlier)
        else:
            migrations[name] = digest
    return _Ledger(migrations=migrations, definitions=defined)


def _digest(sql: str) -> str:
    return sha256(sql.encode()).hexdigest()


async def _is(connection: Connection, question: LiteralString) -> bool:
    cursor = await connection.execute(question)
    row = await cursor.fetchone()
    return row is not None and row[0] is True
