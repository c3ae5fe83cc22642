"""Declares the commands about datasets.

What they do is imported by the command that needs it: it imports the evaluation layer.
"""

from pathlib import Path
from typing import Annotated

import typer

from evalqueue.cli.options import JsonOption, OwnerOption, examples, run

datasets_app = typer.Typer(rich_markup_mode=None)

DatasetArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATASET", show_default=False, help="sha256:…, its first characters, or a name."
    ),
]
LimitOption = Annotated[int, typer.Option(min=1, max=1000, help="How many datasets.")]
OwnerFilterOption = Annotated[
    str | None, typer.Option("--owner", help="Only datasets of this owner. Default: all.")
]


def register(app: typer.Typer) -> None:
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
    context: typer.Context,
    *,
    limit: LimitOption = 20,
    owner: OwnerFilterOption = None,
    as_json: JsonOption = False,
) -> None:
    """List datasets; add, show and remove them."""
    from evalqueue.cli.commands.conversations import datasets as commands

    if context.invoked_subcommand is None:
        run(commands.list_datasets(owner, limit, as_json=as_json))


@datasets_app.command("list", epilog=examples("evalqueue datasets list --owner anna --json"))
def list_datasets(
    *, limit: LimitOption = 20, owner: OwnerFilterOption = None, as_json: JsonOption = False
) -> None:
    """List the newest datasets."""
    from evalqueue.cli.commands.conversations import datasets as commands

    run(commands.list_datasets(owner, limit, as_json=as_json))


@datasets_app.command(
    "add",
    epilog=examples(
        "evalqueue datasets add june.csv july.jsonl",
        "evalqueue datasets add export.csv --mapping @mapping.json",
        "evalqueue datasets add export.xlsx --date-order month-first --mask emails,phones",
        "evalqueue datasets add export.csv --mask emails --mask-names customers.txt",
    ),
)
def add_datasets(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", show_default=False, exists=True, dir_okay=False)
    ],
    *,
    name: Annotated[
        str | None, typer.Option(help="The name, for one file only. Default: the file name.")
    ] = None,
    mapping: Annotated[
        str,
        typer.Option(
            metavar="JSON|@FILE|-",
            help='Maps our columns to headers of the file, where the guess is wrong; to "" if '
            "the file has no such column.",
        ),
    ] = "{}",
    file_format: Annotated[
        str | None,
        typer.Option("--format", help="csv, jsonl, json_document, xlsx or parquet."),
    ] = None,
    date_order: Annotated[
        str | None,
        typer.Option(
            metavar="ORDER",
            help="What 1/2/2025 means: day-first or month-first. Default: as the file decides.",
        ),
    ] = None,
    mask: Annotated[
        str,
        typer.Option(
            metavar="KINDS",
            help="Replace personal data before it is stored: emails,phones,cards.",
        ),
    ] = "",
    mask_names: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Replace these names, too: one on each line.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    owner: OwnerOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Store files of conversations: CSV, Excel, Parquet, or JSON of many shapes.

    The columns of a table are guessed by their names. The same file is stored once. A file with
    bad rows is not stored; its bad rows are listed.
    """
    from evalqueue.cli.commands.conversations import datasets as commands

    options = commands.DatasetOptions(
        files=tuple(files),
        name=name,
        mapping=commands.read_mapping(mapping),
        format=file_format,
        date_order=commands.read_date_order(date_order),
        masks=commands.read_masks(mask, mask_names),
        owner=owner,
    )
    run(commands.add(options, as_json=as_json))


@datasets_app.command("show", epilog=examples("evalqueue datasets show sha256:5f3a…"))
def show_dataset(dataset_id: DatasetArgument, *, as_json: JsonOption = False) -> None:
    """Show a dataset and its first conversations."""
    from evalqueue.cli.commands.conversations import datasets as commands

    run(commands.show(dataset_id, as_json=as_json))


@datasets_app.command("remove", epilog=examples("evalqueue datasets remove sha256:5f3a…"))
def remove_dataset(
    dataset_id: DatasetArgument,
    *,
    owner: Annotated[
        str | None, typer.Option(help="From this owner only. Default: from all owners.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a dataset. Its content is deleted when no run and no job needs it."""
    from evalqueue.cli.commands.conversations import datasets as commands

    run(commands.remove(dataset_id, owner, as_json=as_json))
