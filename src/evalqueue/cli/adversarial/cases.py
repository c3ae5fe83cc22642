"""Declares the commands about saved cases of adversarial tests."""

from pathlib import Path
from typing import Annotated

import typer

from evalqueue.cli.options import JsonOption, RunArgument, examples, run

cases_app = typer.Typer(rich_markup_mode=None)

AppOption = Annotated[
    str | None,
    typer.Option("--app", help="The app of the chatbot to test. Default: EVALQUEUE_DEFAULT_APP."),
]
CaseIdsArgument = Annotated[list[str], typer.Argument(metavar="CASE_ID…", show_default=False)]
OwnerOption = Annotated[
    str | None,
    typer.Option("--owner", help="Whose cases. Default: of `default`, else of the only owner."),
]
PinnedOption = Annotated[bool, typer.Option("--pinned", help="Only pinned cases.")]
PinOption = Annotated[
    bool, typer.Option("--pin", help="Make them part of every later run of the app.")
]


def app_or_default(app_id: str | None) -> str:
    """The app that a command is about."""
    from evalqueue import settings

    return app_id or settings.read().default_app


def register(app: typer.Typer) -> None:
    """Add these commands to the commands about adversarial tests."""
    app.add_typer(cases_app, name="cases")


@cases_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "evalqueue adversarial cases",
        "evalqueue adversarial cases save 0f1cf6f2-… 3f0c1d2e4b5a6978 --pin",
        "evalqueue adversarial cases import regressions.csv --pin",
        "evalqueue adversarial cases export > cases.jsonl",
    ),
)
def cases_group(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """List saved cases; save, pin, unpin, remove, import and export them.

    A pinned case is part of every later run of its app.
    """
    if context.invoked_subcommand is None:
        list_cases(as_json=as_json)


@cases_app.command("list", epilog=examples("evalqueue adversarial cases list --pinned"))
def list_cases(
    *, app_id: AppOption = None, pinned: PinnedOption = False, as_json: JsonOption = False
) -> None:
    """List the saved cases of an app, oldest first."""
    from evalqueue.cli.commands import cases

    run(cases.list_cases(app_or_default(app_id), pinned=pinned, as_json=as_json))


@cases_app.command(
    "save", epilog=examples("evalqueue adversarial cases save 0f1cf6f2-… 3f0c1d2e4b5a6978 --pin")
)
def save_cases(
    run_reference: RunArgument,
    case_ids: CaseIdsArgument,
    *,
    pin: PinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Save cases of a run."""
    from evalqueue.cli.commands import cases

    run(cases.save_cases(run_reference, case_ids, pinned=pin, as_json=as_json))


@cases_app.command("pin", epilog=examples("evalqueue adversarial cases pin 3f0c1d2e4b5a6978"))
def pin_cases(
    case_ids: CaseIdsArgument,
    *,
    app_id: AppOption = None,
    owner: OwnerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make saved cases part of every later run of their app."""
    from evalqueue.cli.commands import cases

    app = app_or_default(app_id)
    run(cases.pin_cases(app, case_ids, owner=owner, pinned=True, as_json=as_json))


@cases_app.command("unpin", epilog=examples("evalqueue adversarial cases unpin 3f0c1d2e4b5a6978"))
def unpin_cases(
    case_ids: CaseIdsArgument,
    *,
    app_id: AppOption = None,
    owner: OwnerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep saved cases, but use them only in runs that ask for all saved cases."""
    from evalqueue.cli.commands import cases

    app = app_or_default(app_id)
    run(cases.pin_cases(app, case_ids, owner=owner, pinned=False, as_json=as_json))


@cases_app.command("remove", epilog=examples("evalqueue adversarial cases remove 3f0c1d2e4b5a6978"))
def remove_cases(
    case_ids: CaseIdsArgument,
    *,
    app_id: AppOption = None,
    owner: OwnerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete saved cases; runs that used them are unchanged."""
    from evalqueue.cli.commands import cases

    run(cases.remove_cases(app_or_default(app_id), case_ids, owner=owner, as_json=as_json))


@cases_app.command(
    "import", epilog=examples("evalqueue adversarial cases import regressions.csv --pin")
)
def import_cases(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
    *,
    app_id: AppOption = None,
    pin: PinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Save the cases of a file, CSV or JSONL: all of them, or none."""
    from evalqueue.cli.commands import cases

    run(cases.import_cases(file, app_or_default(app_id), pinned=pin, as_json=as_json))


@cases_app.command("export", epilog=examples("evalqueue adversarial cases export > cases.jsonl"))
def export_cases(
    *, app_id: AppOption = None, pinned: PinnedOption = False, as_json: JsonOption = False
) -> None:
    """Print saved cases as JSON lines that can be imported; with --json, as one array."""
    from evalqueue.cli.commands import cases

    run(cases.export_cases(app_or_default(app_id), pinned=pinned, as_json=as_json))
