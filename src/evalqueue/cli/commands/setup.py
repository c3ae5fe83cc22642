"""The commands that prepare a database and an API: migrate, upgrade-postgres, token."""

from pathlib import Path

from evalqueue import settings, tokens
from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.errors import Refused
from evalqueue.postgres import schema
from evalqueue.postgres.embedded import upgrade
from evalqueue.tokens import Right


async def migrate(*, as_json: bool) -> ExitCode:
    """Bring the schema up to date."""
    async with open_client(verify_schema=False) as client:
        applied = await schema.migrate(await client.database())
    text = "\n".join(applied) or "The schema is up to date."
    console.print_result({"applied": applied}, text, as_json=as_json)
    return ExitCode.DONE


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
        f"Add the entry to {tokens.VARIABLE} where the API runs; entries are separated by commas.\n"
        "Keep the entry secret, too: it is enough to forge the cookie of a browser session."
    )
