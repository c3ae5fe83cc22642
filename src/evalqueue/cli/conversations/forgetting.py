"""Declares the command that deletes a user's data."""

from typing import Annotated

import typer

from evalqueue.cli.options import JsonOption, examples, run


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command(
        epilog=examples("evalqueue forget u-1001 --dry-run", "evalqueue forget u-1001 --yes --json")
    )(forget)


def forget(
    user: Annotated[
        str,
        typer.Argument(
            metavar="USER", show_default=False, help="The user_id that conversations have."
        ),
    ],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print how many rows are about the user.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete the conversations of a user of the chatbot, and all that was found in them.

    Refused while a job that is not over reads some of them. It can be repeated.
    """
    from evalqueue.cli.commands.conversations import forgetting as command

    run(command.forget(user, dry_run=dry_run, yes=yes, as_json=as_json))
