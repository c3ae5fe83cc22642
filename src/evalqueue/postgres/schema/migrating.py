"""Bringing a schema up to date, beside sessions that use it.

All that is missing is applied in one transaction, so one that fails leaves nothing behind. It takes
all its locks first, and waits only briefly for them: the statements of others queue behind a lock
that is waited for. Then it rolls back, lets them through, and tries again.

All locks are taken in less time than a session waits before it looks for a deadlock. So a deadlock
ends the migration's try, and never the statement of a caller.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import LiteralString, cast

from procrastinate.schema import SchemaManager
from psycopg import sql
from psycopg.errors import DeadlockDetected, LockNotAvailable

from evalqueue.errors import SchemaLocked, SchemaOutdated
from evalqueue.postgres import definitions
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.queries import SCHEMA
from evalqueue.postgres.schema import ledger, rights
from evalqueue.postgres.schema.blockers import report_blockers
from evalqueue.postgres.schema.ledger import MigrationLedger
from evalqueue.postgres.schema.plan import steps, strongest_locks

LOCK_SHARE = 0.8
"""Of `deadlock_timeout`, which is 1 s unless the server's settings say otherwise: for how long it
waits for all locks together. Callers may wait as long behind them."""
WAIT_SECONDS = 300.0
"""How long it tries, unless the caller says otherwise."""
_RETRY_DELAY = 1.0  # seconds; doubled with each try
_RETRY_DELAY_MAX = 15.0  # seconds

logger = logging.getLogger(__name__)


async def migrate(
    database: Database,
    *,
    wait_seconds: float = WAIT_SECONDS,
    report: Callable[[str], None] = logger.info,
) -> list[str]:
    """Bring the schema up to date. Idempotent, and safe to run from several places at once.

    Args:
        wait_seconds: for how long to try to get the locks it needs.
        report: called with a line for each file that is applied, and for who holds a lock.

    Returns:
        the names of the files that were applied, in order, and of what was dropped; empty when
        there was nothing to do.

    Raises:
        SchemaOutdated: a schema of procrastinate that someone else made is too old to build on.
        SchemaLocked: other sessions held a lock all the time. Nothing was changed.
    """
    deadline = time.monotonic() + wait_seconds
    delay = _RETRY_DELAY
    while True:
        try:
            return await _apply_missing(database, deadline=deadline, report=report)
        except (LockNotAvailable, DeadlockDetected) as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise SchemaLocked(
                    f"Other sessions held locks for {wait_seconds:.0f} s, and nothing was changed. "
                    "End their transactions, or run evalqueue migrate when they are over."
                ) from error
            pause = min(left, random.uniform(delay / 2, delay))  # noqa: S311  jitter, not a secret
            report(f"Rolled back, to let others through; trying again in {pause:.1f} s")
            await asyncio.sleep(pause)
            delay = min(_RETRY_DELAY_MAX, delay * 2)


async def _apply_missing(
    database: Database, *, deadline: float, report: Callable[[str], None]
) -> list[str]:
    """All that is missing, in one transaction.

    Raises:
        LockNotAvailable: another session held a lock for too long.
    """
    async with (
        database.transaction() as connection,
        report_blockers(database, connection, report=report),
    ):
        # An advisory lock is in the way of no caller: it may be waited for until the end.
        await _limit_waits(connection, max(1.0, deadline - time.monotonic()))
        await connection.execute(SCHEMA["lock"])
        if not await _is(connection, SCHEMA["has_ledger"]):
            await connection.execute(SCHEMA["create_ledger"])
        recorded = await ledger.read_ledger(connection)
        recorded.check()
        await _take_locks(connection, recorded)
        done = await _migrate_procrastinate(connection, recorded)
        await connection.execute(SCHEMA["pin_search_path"])
        for name, text in ledger.own_migrations().items():
            if name not in recorded.migrations:
                report(f"Applying {name}")
                await _apply(connection, name, text)
                done.append(name)
        # The functions of a later build fit its tables; ours would not.
        if not recorded.is_newer:
            done += await _define(connection, recorded, report=report)
            if done:
                await _complete_rights(connection, report=report)
        return done


async def _complete_rights(connection: Connection, *, report: Callable[[str], None]) -> None:
    for role in await rights.complete(connection):
        report(
            f"The role {role} lacks rights on something that is new. As a superuser, run again: "
            "evalqueue roles | psql"
        )


async def _take_locks(connection: Connection, recorded: MigrationLedger) -> None:
    """All locks that the plan knows of. What else is locked later is waited for no longer."""
    deadlock_ms = await SCHEMA.value(connection, "lock_budget")
    patience = LOCK_SHARE * deadlock_ms / 1000
    ends = time.monotonic() + patience
    for table, lock in strongest_locks(await steps(connection, recorded)).items():
        await _limit_waits(connection, max(0.001, ends - time.monotonic()))
        await connection.execute(
            sql.SQL("LOCK TABLE {} IN {} MODE").format(sql.Identifier(table), sql.SQL(lock.words))
        )
    await _limit_waits(connection, patience)


async def _limit_waits(connection: Connection, seconds: float) -> None:
    arguments = {"lock_timeout": f"{seconds * 1000:.0f}ms"}
    await connection.execute(SCHEMA["limit_waits"], arguments)


async def _migrate_procrastinate(connection: Connection, recorded: MigrationLedger) -> list[str]:
    migrations = ledger.procrastinate_migrations()
    if ledger.BASELINE not in recorded.migrations:
        done = await _procrastinate_baseline(connection)
        for name in (ledger.BASELINE, *migrations):
            await _record(connection, name, migrations.get(name, ""))
        return done
    missing = [name for name in migrations if name not in recorded.migrations]
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
    return [ledger.BASELINE]


async def _define(
    connection: Connection, recorded: MigrationLedger, *, report: Callable[[str], None]
) -> list[str]:
    """Bring functions, views and triggers to what the files define."""
    wanted = definitions.read_definitions()
    cursor = await connection.execute(SCHEMA["existing"])
    existing = {name for (name,) in await cursor.fetchall()}
    change = definitions.planned(wanted, recorded.definitions, existing)
    statements = [f"DROP {name};\n" for name in change.drop]
    statements += [each.sql for each in change.create]
    if statements:
        names = [each.name for each in change.create]
        cursor = await connection.execute(SCHEMA["definition_rights"], {"names": names})
        statements += [f"{statement};\n" for (statement,) in await cursor.fetchall()]
        report(f"Applying {len(change.create)} functions, views and triggers")
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
    removed = [name for name in recorded.definitions if name not in wanted]
    if removed:
        await connection.execute(SCHEMA["forget_definitions"], {"names": removed})
    return [*(f"DROP {name}" for name in removed), *change.files]


async def _apply(connection: Connection, name: str, text: LiteralString) -> None:
    await connection.execute(text)
    await _record(connection, name, text)


async def _record(connection: Connection, name: str, text: str) -> None:
    await connection.execute(SCHEMA["record"], {"name": name, "digest": ledger.digest_of(text)})


async def _is(connection: Connection, question: LiteralString) -> bool:
    cursor = await connection.execute(question)
    row = await cursor.fetchone()
    return row is not None and row[0] is True
