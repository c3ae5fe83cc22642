"""The commands that prepare a database and an API: migrate, upgrade-postgres, token."""

import re
from pathlib import Path

from evalqueue import settings, tokens
from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.errors import Refused
from evalqueue.postgres import schema
from evalqueue.postgres.embedded import upgrade
from evalqueue.postgres.schema import LockedTable
from evalqueue.postgres.schema.roles import grants
from evalqueue.tokens import Right

_PLAIN_NAME = re.compile(r"[A-Za-z_]\w{0,49}", re.ASCII)


async def migrate(wait_seconds: float, *, as_json: bool) -> ExitCode:
    """Bring the schema up to date."""
    async with open_client(verify_schema=False) as client:
        applied = await schema.migrate(
            await client.database(), wait_seconds=wait_seconds, report=console.print_message
        )
    text = "\n".join(applied) or "The schema is up to date."
    console.print_result({"applied": applied}, text, as_json=as_json)
    return ExitCode.DONE


async def plan(*, as_json: bool) -> ExitCode:
    """Show what a migration would do."""
    async with open_client(verify_schema=False) as client:
        steps = await schema.plan(await client.database())
    seconds = sum(lock.seconds for step in steps for lock in step.locks)
    document = {
        "steps": [
            {"name": step.name, "locks": [_lock_json(lock) for lock in step.locks]}
            for step in steps
        ],
        "seconds": round(seconds, 1),
    }
    lines = [line for step in steps for line in (step.name, *map(_lock_text, step.locks))]
    if steps:
        lines.append(f"Every lock is held until the end: roughly {max(1.0, seconds):.0f} s.")
    text = "\n".join(lines) or "The schema is up to date."
    console.print_result(document, text, as_json=as_json)
    return ExitCode.DONE


def _lock_json(lock: LockedTable) -> dict[str, object]:
    return {
        "table": lock.table,
        "lock": lock.lock.words,
        "work": lock.work.name.lower(),
        "bytes": lock.bytes,
        "rows": lock.rows,
        "seconds": round(lock.seconds, 1),
    }


def _lock_text(lock: LockedTable) -> str:
    return (
        f"  {lock.table}: {lock.lock.words}, keeps out {lock.lock.keeps_out}; {lock.work.words} "
        f"(about {lock.rows:,} rows, {lock.bytes / 1e6:,.1f} MB: {lock.seconds:,.1f} s)"
    )


def roles(schema_name: str, role_prefix: str) -> None:
    """Print the SQL that makes the roles.

    Raises:
        Refused: a name is none that needs no quotes.
    """
    for option, name in (("--schema", schema_name), ("--role-prefix", role_prefix)):
        if not _PLAIN_NAME.fullmatch(name):
            raise Refused(f"{option} {name!r}: write letters, digits and _, at most 50.")
    console.print_data(grants(schema=schema_name, prefix=role_prefix))


def upgrade_postgres(programs: Path, *, as_json: bool) -> None:
    """Move the data of the embedded Postgres to another major version."""
    current = settings.read()
    if current.database_address is not None:
        raise Refused("DATABASE_URL names another Postgres: unset it to upgrade the embedded one.")
    done = upgrade.upgrade(current.home, programs)
    text = (
        f"The database in {current.home} is one of Postgres {done.to_major} now. "
        f"The old one is kept in {done.old_data}: remove it when you no longer need it."
    )
    document = {
        "from_version": done.from_major,
        "to_version": done.to_major,
        "old_data": str(done.old_data),
    }
    console.print_result(document, text, as_json=as_json)


def token(name: str, right: Right, *, as_json: bool) -> None:
    """Print a new token, and its entry for the API's settings."""
    try:
        made, known = tokens.make(name, right)
    except ValueError as error:
        raise Refused(f"NAME: {error}") from error
    if as_json:
        document = {"name": name, "right": right, "token": made, "entry": known.entry}
        console.print_json(document)
        return
    console.print_data(f"token  {made}\nentry  {known.entry}")
    console.print_message(
        "Give the token to the caller, who sends it as Authorization: Bearer …\n"
        "It is shown only once.\n"
        f"Add the entry to {tokens.VARIABLE} where the API runs; entries are separated by commas."
    )
