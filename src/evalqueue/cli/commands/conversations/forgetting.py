"""The command that deletes a user's data."""

import sys
from collections.abc import Mapping

import typer

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.errors import Refused
from evalqueue.evaluators import forgetting

NO_ROWS = (
    "No conversation has this id, letter for letter. An id that was masked is stored as masked-…, "
    "and é may be one character or two: `evalqueue datasets show` has ids as they are stored."
)


async def forget(user: str, *, dry_run: bool, yes: bool, as_json: bool) -> ExitCode:
    """Delete all rows about a user, or print how many there are.

    Raises:
        Refused: the user is not one, a job reads their conversations, or the person said no.
    """
    user_id = forgetting.checked_user(user)
    async with open_client() as client:
        database = await client.database()
        await forgetting.store_watched_rows(database)  # whose users are not known before
        async with database.transaction() as connection:  # it may take longer than a statement
            counts = await forgetting.rows_of(connection, user_id)
        is_there = any(counts.values())
        if not dry_run and is_there:
            if not yes:
                _ask(user, counts)
            counts = await forgetting.forget(database, user_id)
    if not is_there:
        console.print_message(NO_ROWS)
    what = "would be deleted" if dry_run else "deleted"
    document = {"dry_run": dry_run, "rows": counts}
    console.print_result(document, f"{_listed(counts)} {what}", as_json=as_json)
    return ExitCode.DONE


def _ask(user: str, counts: Mapping[str, int]) -> None:
    """Let the person at the terminal decide."""
    if not sys.stdin.isatty():
        raise Refused("Nothing was deleted: without a terminal, add --yes.")
    console.print_message(f"About {user}: {_listed(counts)}.")
    if not typer.confirm("Delete them for ever?", err=True):
        raise Refused("Nothing was deleted.")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items() if number) or "0 rows"
