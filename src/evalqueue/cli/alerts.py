"""Declares the commands about alerts."""

from typing import Annotated

import typer

from evalqueue.cli.options import JsonOption, OwnerOption, examples, run

alerts_app = typer.Typer(rich_markup_mode=None)

AlertArgument = Annotated[
    str, typer.Argument(metavar="ALERT", show_default=False, help="Its name, or its id.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(alerts_app, name="alerts")


@alerts_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "evalqueue alerts",
        "evalqueue alerts add correct --watches rate --require 'correctness.pass >= 0.9'",
        "evalqueue alerts add judge --watches drift --webhook https://hooks.example.com/evalqueue",
    ),
)
def alerts(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """List alerts; add, remove and test them."""
    if context.invoked_subcommand is None:
        list_alerts(as_json=as_json)


@alerts_app.command(
    "list", epilog=examples("evalqueue alerts list", "evalqueue alerts list --json")
)
def list_alerts(*, as_json: JsonOption = False) -> None:
    """List every alert, those that fire first."""
    from evalqueue.cli.commands import alerts as commands

    run(commands.list_alerts(as_json=as_json))


@alerts_app.command(
    "add",
    epilog=examples(
        "evalqueue alerts add correct --watches rate --require 'correctness.pass >= 0.9'",
        "evalqueue alerts add judged --watches coverage --min-coverage 0.95 --app retail-support",
        "evalqueue alerts add judge --watches drift --webhook https://hooks.example.com/evalqueue",
        "evalqueue alerts add broken --watches failed --job-type evaluate-source",
    ),
)
def add_alert(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    watches: Annotated[str, typer.Option(help="rate, coverage, drift or failed.")],
    app_id: Annotated[
        str | None, typer.Option("--app", help="Only runs and drift checks of this app.")
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(metavar="REQUIREMENT", help="Of rate, as of a gate; can be repeated."),
    ] = None,
    min_coverage: Annotated[
        float | None, typer.Option(help="Of coverage: it fires below, from 0 to 1.")
    ] = None,
    evaluator: Annotated[
        str | None, typer.Option(help="Of coverage. Default: the lowest of all.")
    ] = None,
    job_type: Annotated[str | None, typer.Option(help="Of failed. Default: every type.")] = None,
    webhook: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where it is sent, besides the worker's log."),
    ] = None,
    owner: OwnerOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Watch an owner's runs and jobs: one message when an alert begins, and one when it ends."""
    from evalqueue.cli.commands import alerts as commands

    given = {
        "name": name,
        "watches": watches,
        "app_id": app_id,
        "requirements": require or [],
        "min_coverage": min_coverage,
        "evaluator": evaluator,
        "job_type": job_type,
        "webhook_url": webhook,
    }
    run(commands.add_alert(given, owner=owner, as_json=as_json))


@alerts_app.command("remove", epilog=examples("evalqueue alerts remove correct"))
def remove_alert(alert: AlertArgument, *, as_json: JsonOption = False) -> None:
    """Delete an alert with its events."""
    from evalqueue.cli.commands import alerts as commands

    run(commands.remove_alert(alert, as_json=as_json))


@alerts_app.command("test", epilog=examples("evalqueue alerts test judge"))
def send_test(alert: AlertArgument, *, as_json: JsonOption = False) -> None:
    """Have a worker send a test message to the webhook of an alert."""
    from evalqueue.cli.commands import alerts as commands

    run(commands.test_alert(alert, as_json=as_json))
