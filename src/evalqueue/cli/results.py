"""Declares the commands about what runs have found, and what they have cost."""

from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from evalqueue.cli.commands import costs as costs_command
from evalqueue.cli.options import JsonOption, examples, run
from evalqueue.evaluators.prices.costs import CostGroup

CandidateArgument = Annotated[
    UUID, typer.Argument(metavar="RUN", show_default=False, help="A run's id, or its job's.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(
        epilog=examples("evalqueue costs", "evalqueue costs --by owner --since 2026-01-01 --json")
    )(costs)
    app.command(epilog=examples("evalqueue compare NEW_RUN OLD_RUN"))(compare)
    app.command(
        epilog=examples(
            "evalqueue gate RUN --require 'correctness.pass >= 0.9'",
            "evalqueue gate RUN --baseline OLD_RUN --require 'efficiency no worse by 0.02'",
        )
    )(gate)


def compare(
    candidate: CandidateArgument,
    baseline: Annotated[
        UUID, typer.Argument(metavar="BASELINE", show_default=False, help="The run before.")
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what has changed between two runs of the same conversations."""
    from evalqueue.cli.commands import comparison as command

    run(command.compare(candidate, baseline, as_json=as_json))


def gate(
    candidate: CandidateArgument,
    *,
    require: Annotated[
        list[str],
        typer.Option(
            metavar="REQUIREMENT",
            show_default=False,
            help="What must hold, such as 'correctness.pass >= 0.9'; can be repeated.",
        ),
    ],
    baseline: Annotated[
        UUID | None,
        typer.Option(metavar="RUN", help="What 'no worse' compares with: a run, or its job."),
    ] = None,
    min_coverage: Annotated[
        float,
        typer.Option(min=0, max=1, help="The part of the verdicts that has to be there."),
    ] = 0.9,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a JUnit report, too.")
    ] = None,
    github: Annotated[
        bool, typer.Option("--github", help="Print annotations of GitHub Actions, too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Decide on a run: exit code 0 passed, 1 failed, 7 not decidable.

    Every decision is made on a 95 % interval.
    """
    from evalqueue.cli.commands import comparison as command

    options = command.GateOptions(
        baseline=baseline, min_coverage=min_coverage, junit=junit, github=github, as_json=as_json
    )
    run(command.gate(candidate, require, options))


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
    run(costs_command.list_costs(by, since, as_json=as_json))
