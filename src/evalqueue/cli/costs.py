"""Declares the command about costs."""

from datetime import datetime
from typing import Annotated

import typer

from evalqueue.cli.commands import costs as command
from evalqueue.cli.options import JsonOption, examples, run
from evalqueue.evaluators.prices.costs import CostGroup


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        epilog=examples("evalqueue costs", "evalqueue costs --by owner --since 2026-01-01 --json")
    )(costs)


def costs(
    *,
    by: Annotated[CostGroup, typer.Option(help="What costs are added up by.")] = CostGroup.MODEL,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
            help="Only runs created since then, in UTC. Default: the start of this month.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what LLM calls have cost."""
    run(command.list_costs(by, since, as_json=as_json))
