"""The flags of the commands about datasets; what each does is in `datasets_commands`."""

from pathlib import Path
from typing import Annotated

import typer

from evalqueue.cli.commands import datasets as datasets_commands
from evalqueue.cli.options import Json, Owner, examples, run

datasets_app = typer.Typer(rich_markup_mode=None)

DatasetId = Annotated[
    str,
    typer.Argument(metavar="ID", show_default=False, help="sha256:…, or its first characters."),
]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many datasets.")]
Everybody = Annotated[
    str | None, typer.Option("--owner", help="Only those that this owner has. Default: all.")
]


def declare(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(datasets_app, name="datasets")


@datasets_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "evalqueue datasets",
        "evalqueue datasets add june.csv july.jsonl",
        """evalqueue datasets add export.csv --mapping '{"thread_id": "Conversation ID"}'""",
        "evalqueue submit evaluate-batch dataset_id=sha256:…",
    ),
)
def datasets(
    context: typer.Context, *, limit: Limit = 20, owner: Everybody = None, as_json: Json = False
) -> None:
    """List datasets; add, show and remove them."""
    if context.invoked_subcommand is None:
        run(datasets_commands.list_datasets(owner, limit, as_json=as_json))


@datasets_app.command("list")
def list_datasets(*, limit: Limit = 20, owner: Everybody = None, as_json: Json = False) -> None:
    """The newest datasets, and what is in them."""
    run(datasets_commands.list_datasets(owner, limit, as_json=as_json))


@datasets_app.command("add")
def add_datasets(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", show_default=False, exists=True, dir_okay=False)
    ],
    *,
    name: Annotated[
        str | None, typer.Option(help="What it is called; with one file only. Default: the file's.")
    ] = None,
    mapping: Annotated[
        str, typer.Option(metavar="JSON|@FILE|-", help="Our column: the file's header.")
    ] = "{}",
    given_format: Annotated[
        str | None, typer.Option("--format", help="csv or jsonl. Default: as the file says.")
    ] = None,
    owner: Owner = "default",
    as_json: Json = False,
) -> None:
    """Store files of conversations: CSV, or chat messages as JSON lines.

    The same file is stored once. A file with bad rows is not stored, and all of them are named.
    """
    wanted = datasets_commands.Wanted(
        files=tuple(files),
        name=name,
        mapping=datasets_commands.read_mapping(mapping),
        format=given_format,
        owner=owner,
    )
    run(datasets_commands.add(wanted, as_json=as_json))


@datasets_app.command("show")
def show_dataset(dataset_id: DatasetId, *, as_json: Json = False) -> None:
    """What there is to know about a dataset, and its first conversations."""
    run(datasets_commands.show(dataset_id, as_json=as_json))


@datasets_app.command("remove")
def remove_dataset(
    dataset_id: DatasetId,
    *,
    owner: Annotated[
        str | None, typer.Option(help="From this owner only. Default: from everybody.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Remove a dataset. Its content goes when no run and no job needs it."""
    run(datasets_commands.remove(dataset_id, owner, as_json=as_json))
