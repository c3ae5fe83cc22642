"""Declares the commands about apps.

What they do is imported by the command that needs it: it imports the evaluation layer.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from evalqueue.cli.options import JsonOption, OwnerOption, examples, run

apps_app = typer.Typer(rich_markup_mode=None)

AppArgument = Annotated[str, typer.Argument(metavar="APP", show_default=False)]
FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE|-", show_default=False, help="TOML, YAML or JSON; - reads stdin, as TOML."
    ),
]
OwnerFilterOption = Annotated[
    str | None, typer.Option("--owner", help="Only apps of this owner. Default: all.")
]
VersionOption = Annotated[
    int | None, typer.Option("--version", min=1, help="Default: the newest version.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(apps_app, name="apps")


@apps_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "evalqueue apps",
        "evalqueue apps new my-bot > my-bot.toml",
        "evalqueue apps new --from sha256:5f3a… > my-bot.toml",
        "evalqueue apps check my-bot.toml",
        "evalqueue apps add my-bot.toml",
        "evalqueue submit evaluate-batch app_id=my-bot dataset_id=sha256:…",
    ),
)
def apps_group(
    context: typer.Context, *, owner: OwnerFilterOption = None, as_json: JsonOption = False
) -> None:
    """List apps; make, check, add, show, compare and remove them.

    An app describes a chatbot, and by what it is judged.
    """
    if context.invoked_subcommand is None:
        list_apps(owner=owner, as_json=as_json)


@apps_app.command("list", epilog=examples("evalqueue apps list --owner anna --json"))
def list_apps(*, owner: OwnerFilterOption = None, as_json: JsonOption = False) -> None:
    """List the shipped apps, and the newest version of each stored one."""
    from evalqueue.cli.commands.apps import stored

    run(stored.list_apps(owner, as_json=as_json))


@apps_app.command(
    "show",
    epilog=examples(
        "evalqueue apps show kaira-bot",
        "evalqueue apps show my-bot --version 2 > my-bot.toml",
        "evalqueue apps show my-bot --notation json",
    ),
)
def show_app(
    app_id: AppArgument,
    *,
    version: VersionOption = None,
    owner: OwnerFilterOption = None,
    notation: Annotated[
        Literal["toml", "json"], typer.Option("--notation", help="How the document is written.")
    ] = "toml",
    as_json: JsonOption = False,
) -> None:
    """Print an app's document, without what is the default; with --json: its versions, too."""
    from evalqueue.cli.commands.apps import stored

    run(stored.show(app_id, version, owner, in_json=notation == "json", as_json=as_json))


@apps_app.command(
    "check",
    epilog=examples("evalqueue apps check my-bot.toml", "evalqueue apps check my-bot.yaml --json"),
)
def check_app(file: FileArgument, *, as_json: JsonOption = False) -> None:
    """List every mistake in a document, with its place and its cure. Nothing is stored."""
    from evalqueue.cli.commands.apps import files

    raise typer.Exit(files.check(file, as_json=as_json))


@apps_app.command(
    "add",
    epilog=examples(
        "evalqueue apps add my-bot.toml",
        "evalqueue apps add my-bot.yaml --dataset sha256:5f3a…    # and use it for this dataset",
    ),
)
def add_app(
    file: FileArgument,
    *,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="ID", help="A dataset of the owner that uses this app from now on."),
    ] = None,
    owner: OwnerOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Store an app, or a new version of it. The same content is stored once."""
    from evalqueue.cli.commands.apps import stored

    run(stored.add(file, dataset, owner, as_json=as_json))


@apps_app.command(
    "new",
    epilog=examples(
        "evalqueue apps new my-bot > my-bot.toml",
        "evalqueue apps new --from sha256:5f3a… > my-bot.toml",
        "evalqueue apps new --from sha256:5f3a… --propose > my-bot.toml",
        "evalqueue apps new my-bot --output my-bot.toml",
    ),
)
def new_app(
    app_id: Annotated[
        str | None,
        typer.Argument(
            metavar="APP", show_default=False, help="Default: the dataset's name, or my-app."
        ),
    ] = None,
    *,
    dataset: Annotated[
        str | None,
        typer.Option("--from", metavar="ID", help="A dataset, whose labels become the intents."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A new file. Default: stdout.")
    ] = None,
    propose: Annotated[
        bool,
        typer.Option(
            "--propose",
            help="Ask a judge about at most 20 of the dataset's conversations, in one call of this "
            "process, which no cap counts. It proposes about, intents, languages, rules and "
            "criteria; each is marked.",
        ),
    ] = False,
    provider: Annotated[str | None, typer.Option(help="Default: the one whose key is set.")] = None,
    model: Annotated[str | None, typer.Option(help="Default: EVALQUEUE_LLM_MODEL.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a commented document to start from. Nothing is stored."""
    from evalqueue.cli.commands.apps import drafting

    options = drafting.DraftOptions(
        app_id=app_id, dataset=dataset, output=output, propose=propose,
        provider=provider, model=model,
    )  # fmt: skip
    run(drafting.new(options, as_json=as_json))


@apps_app.command(
    "diff",
    epilog=examples(
        "evalqueue apps diff my-bot my-bot.toml       # stored, and a file",
        "evalqueue apps diff my-bot@1 my-bot          # two versions",
        "evalqueue apps diff retail-support my-bot --json",
    ),
)
def diff_apps(
    old: Annotated[str, typer.Argument(metavar="OLD", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", show_default=False)],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what differs between two apps, each a file, APP or APP@VERSION.

    The exit code is 0 if they are the same, else 1.
    """
    from evalqueue.cli.commands.apps import stored

    run(stored.diff(old, new, as_json=as_json))


@apps_app.command("remove", epilog=examples("evalqueue apps remove my-bot"))
def remove_app(
    app_id: AppArgument, *, owner: OwnerOption = "default", as_json: JsonOption = False
) -> None:
    """Remove an app with all its versions; runs that used it keep its content."""
    from evalqueue.cli.commands.apps import stored

    run(stored.remove(app_id, owner, as_json=as_json))
