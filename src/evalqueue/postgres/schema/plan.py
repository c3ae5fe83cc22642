"""What a migration would do, and to which tables. Reads only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg.errors import UndefinedTable

from evalqueue.postgres import definitions
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.queries import SCHEMA
from evalqueue.postgres.schema import ledger
from evalqueue.postgres.schema.effects import Effect, Lock, Work, effects_of

_BYTES_PER_SECOND = {Work.READ: 500e6, Work.INDEX: 300e6, Work.REWRITE: 30e6}
"""Measured with a table of 570 MB in memory, on two cores: reading 1,000, an index 390 to 660,
rewriting 30 MB/s. From a disk it takes longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """A table as it is now."""

    relation: str
    """As it was asked for: the table, or one of its indexes."""
    table: str
    bytes: int
    rows: int
    """-1: it was never analyzed, and its size is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedTable:
    """A table that a step locks, until the whole migration commits."""

    table: str
    lock: Lock
    work: Work
    bytes: int
    """As of its last VACUUM or ANALYZE, as `rows`. 0: there was none."""
    rows: int
    seconds: float
    """Roughly, for the work under the lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A file that would be applied, or a function, view or trigger to make or to drop."""

    name: str
    locks: Sequence[LockedTable]


async def plan(database: Database) -> list[Step]:
    """What `migrate` would do now, in order; empty when there is nothing to do.

    Raises:
        SchemaOutdated: another build made this database.
    """
    async with database.connection() as connection:
        try:
            recorded = await ledger.read_ledger(connection)
        except UndefinedTable:
            recorded = ledger.MigrationLedger()
        recorded.check()
        return await steps(connection, recorded)


async def steps(connection: Connection, recorded: ledger.MigrationLedger) -> list[Step]:
    """What is missing in a database that has recorded this."""
    found = await _files(connection, recorded)
    if not recorded.is_newer:
        found += await _definitions(connection, recorded)
    names = {effect.relation for _, effects in found for effect in effects}
    sizes = {each.relation: each for each in await _sizes(connection, names)}
    return [Step(name=name, locks=_locked(effects, sizes)) for name, effects in found]


def strongest_locks(planned: Iterable[Step]) -> dict[str, Lock]:
    """The strongest lock on each table, by table, in the order of their names."""
    locks: dict[str, Lock] = {}
    for each in (lock for step in planned for lock in step.locks):
        locks[each.table] = max(each.lock, locks.get(each.table, each.lock))
    return dict(sorted(locks.items()))


async def _files(
    connection: Connection, recorded: ledger.MigrationLedger
) -> list[tuple[str, list[Effect]]]:
    found: list[tuple[str, list[Effect]]] = []
    wanted = dict(ledger.own_migrations())
    if ledger.BASELINE in recorded.migrations:
        wanted = {**ledger.procrastinate_migrations(), **wanted}
    else:
        cursor = await connection.execute(SCHEMA["has_procrastinate"])
        if await cursor.fetchone() == (False,):
            found.append((ledger.BASELINE, []))
    missing = {name: sql for name, sql in wanted.items() if name not in recorded.migrations}
    return found + [(name, effects_of(sql)) for name, sql in missing.items()]


async def _definitions(
    connection: Connection, recorded: ledger.MigrationLedger
) -> list[tuple[str, list[Effect]]]:
    cursor = await connection.execute(SCHEMA["existing"])
    existing = {name for (name,) in await cursor.fetchall()}
    change = definitions.planned(definitions.read_definitions(), recorded.definitions, existing)
    created = {each.name for each in change.create}
    dropped = set(change.drop)
    found: list[tuple[str, list[Effect]]] = []
    for name in dict.fromkeys([*change.drop, *(each.name for each in change.create)]):
        action = "replace" if name in created and name in existing else "create"
        drop = effects_of(f"DROP {name}") if name in dropped else []
        make = effects_of(f"CREATE {name}") if name in created else []
        found.append((f"{action if name in created else 'drop'} {name}", [*make, *drop]))
    return found


async def _sizes(connection: Connection, names: Iterable[str]) -> list[_Size]:
    return await SCHEMA.rows(connection, _Size, "sizes", names=list(names))


def _locked(effects: Iterable[Effect], sizes: dict[str, _Size]) -> list[LockedTable]:
    """The tables that are there already, each once with the strongest lock."""
    strongest: dict[str, LockedTable] = {}
    for effect in effects:
        size = sizes.get(effect.relation)
        if size is None:  # made by this migration, or not a table
            continue
        before = strongest.get(size.table)
        work = max(effect.work, before.work if before else Work.NONE)
        strongest[size.table] = LockedTable(
            table=size.table,
            lock=max(effect.lock, before.lock if before else effect.lock),
            work=work,
            bytes=size.bytes,
            rows=max(0, size.rows),
            seconds=size.bytes / _BYTES_PER_SECOND[work] if work else 0.0,
        )
    return list(strongest.values())
