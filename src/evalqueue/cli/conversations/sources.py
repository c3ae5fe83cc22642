"""Declares the commands about sources."""

from typing import Annotated

import typer

from evalqueue.cli.options import JsonOption, examples, run

sources_app = typer.Typer(rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(sources_app, name="sources")


@sources_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "evalqueue sources",
        "evalqueue sources check support",
        "evalqueue submit evaluate-source source=support",
    ),
)
def sources(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """List where conversations are read from, how far, and what came of them."""
    if context.invoked_subcommand is None:
        from evalqueue.cli.commands.conversations import sources as commands

        run(commands.list_sources(as_json=as_json))


@sources_app.command(
    "list", epilog=examples("evalqueue sources list", "evalqueue sources list --json")
)
def list_sources(*, as_json: JsonOption = False) -> None:
    """List the sources, how far they were read, and what came of it."""
    from evalqueue.cli.commands.conversations import sources as commands

    run(commands.list_sources(as_json=as_json))


@sources_app.command("check", epilog=examples("evalqueue sources check support"))
def check_source(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    as_json: JsonOption = False,
) -> None:
    """Connect to a source, and show which of its columns are read."""
    from evalqueue.cli.commands.conversations import sources as commands

    run(commands.check_source(name, as_json=as_json))
