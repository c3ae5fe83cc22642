"""What is to be applied, what the database has recorded, and what is missing."""

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

from evalqueue.errors import RightMissing, SchemaOutdated
from evalqueue.postgres import definitions
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.definitions import LAYERS, Recorded
from evalqueue.postgres.queries import SCHEMA

_NUMBERED = re.compile(r"^\d{4}_\w+\.sql$")
_PROCRASTINATE_MIGRATION = re.compile(r"^\d\d\.\d\d\.\d\d_\d\d_(pre|post)_\w+\.sql$")

BASELINE = "procrastinate/schema"
"""procrastinate's schema as a whole, made instead of its migrations where there is none."""


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
def procrastinate_migrations() -> Mapping[str, LiteralString]:
    """procrastinate's own, likewise."""
    folder = Path(SchemaManager.get_migrations_path())
    found = sorted(p for p in folder.iterdir() if _PROCRASTINATE_MIGRATION.match(p.name))
    return {f"procrastinate/{p.name}": cast("LiteralString", p.read_text("utf-8")) for p in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationLedger:
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
            if name in self.migrations and self.migrations[name] != digest_of(sql):
                raise SchemaOutdated(
                    f"{name} was applied here by another build, in another wording, and nothing "
                    "leads from there to here. Make the database anew, or use the build that made "
                    "it."
                )


async def pending(database: Database) -> list[str]:
    """The names of what `migrate` would apply, and this process needs.

    Raises:
        SchemaOutdated: another build made this database.
        RightMissing: the role may not use the schema.
    """
    try:
        async with database.connection() as connection:
            ledger = await read_ledger(connection)
    except UndefinedTable:
        async with database.connection() as connection:
            await _check_visible(connection)
        ledger = MigrationLedger()
    ledger.check()
    wanted = [*procrastinate_migrations(), *own_migrations()]
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


async def _check_visible(connection: Connection) -> None:
    """Refuse to take a schema that this role may not use for one that is missing.

    Raises:
        RightMissing: with the GRANT.
    """
    cursor = await connection.execute(SCHEMA["hidden_ledger"])
    if (row := await cursor.fetchone()) is not None:
        schema, role = row
        raise RightMissing(
            f"The role {role} may not use the schema {schema}, where the tables are. "
            f"An administrator runs: GRANT USAGE ON SCHEMA {schema} TO {role};"
        )


async def read_ledger(connection: Connection) -> MigrationLedger:
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
    return MigrationLedger(migrations=migrations, definitions=defined)


def digest_of(sql: str) -> str:
    """SHA-256 of a file, hexadecimal."""
    return sha256(sql.encode()).hexdigest()
