"""Declares the commands about what runs have found, and what they have cost."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from evalqueue.cli.options import JsonOption, RunArgument, examples, run
from evalqueue.evaluators.prices.costs import CostGroup
from evalqueue.evaluators.results.formats import ExportFormat

runs_app = typer.Typer(rich_markup_mode=None)

LimitOption = Annotated[int, typer.Option(min=1, max=1000, help="How many runs.")]
JobTypeOption = Annotated[
    str | None, typer.Option(help="Only runs of jobs of this type, as evaluate-batch.")
]
AppOption = Annotated[str | None, typer.Option("--app", help="Only runs of this app.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(runs_app, name="runs")
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


@runs_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "evalqueue runs",
        "evalqueue runs show 0f1cf6f2",
        "evalqueue runs threads nightly --where efficiency=BROKEN",
        "evalqueue runs export 0f1cf6f2 > results.csv",
        "evalqueue runs report 0f1cf6f2 --output report.html",
    ),
)
def runs_group(
    context: typer.Context,
    *,
    job_type: JobTypeOption = None,
    app_id: AppOption = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List runs, show what one has found, list its conversations, take its results away."""
    if context.invoked_subcommand is None:
        list_runs(job_type=job_type, app_id=app_id, limit=limit, as_json=as_json)


@runs_app.command(
    "list",
    epilog=examples(
        "evalqueue runs list --app retail-support",
        "evalqueue runs list --job-type evaluate-batch --limit 5 --json",
    ),
)
def list_runs(
    *,
    job_type: JobTypeOption = None,
    app_id: AppOption = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List the newest runs with their headline figures."""
    from evalqueue.cli.commands.runs import listing

    run(listing.list_runs(job_type, app_id, limit, as_json=as_json))


@runs_app.command(
    "show",
    epilog=examples(
        "evalqueue runs show 0f1cf6f2",
        "evalqueue runs show nightly --json | jq .statistics.batch.coverage",
    ),
)
def show_run(run_reference: RunArgument, *, as_json: JsonOption = False) -> None:
    """Show what a run has found so far, and which conversations to look at first."""
    from evalqueue.cli.commands.runs import showing

    run(showing.show(run_reference, as_json=as_json))


@runs_app.command(
    "threads",
    epilog=examples(
        "evalqueue runs threads 0f1cf6f2",
        "evalqueue runs threads 0f1cf6f2 --where efficiency=BROKEN --where intent.correct=false",
        "evalqueue runs threads nightly --where 'correctness.verdict=HARD FAIL' --json",
        "evalqueue runs threads nightly --text 'cancel my subscription'",
    ),
)
def list_threads(
    run_reference: RunArgument,
    *,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EVALUATOR[.SCORE]=VALUE",
            help="Only conversations with this score, in any turn. Repeated: with all of them.",
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Only conversations that contain this text, in any case.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the conversations of a run, the worst first."""
    from evalqueue.cli.commands.runs import listing

    run(listing.list_threads(run_reference, where or [], text, limit, as_json=as_json))


@runs_app.command(
    "export",
    epilog=examples(
        "evalqueue runs export 0f1cf6f2 > results.csv",
        "evalqueue runs export nightly --json > results.jsonl",
        "evalqueue runs export nightly --format parquet > results.parquet",
    ),
)
def export_run(
    run_reference: RunArgument,
    *,
    export_format: Annotated[
        ExportFormat | None,
        typer.Option(
            "--format",
            help="All but csv have every score, also of turns. Default: csv.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
) -> None:
    """Print the results of a run, a conversation in each row.

    No spreadsheet takes a cell of the CSV for a formula: such a cell begins with an apostrophe.
    """
    from evalqueue.cli.commands.runs import exporting

    chosen = export_format or (ExportFormat.JSONL if as_json else ExportFormat.CSV)
    if as_json and chosen is not ExportFormat.JSONL:
        raise typer.BadParameter("--json is --format jsonl: leave one of them out")
    run(exporting.export(run_reference, chosen))


@runs_app.command(
    "report",
    epilog=examples(
        "evalqueue runs report 0f1cf6f2 --output report.html",
        "evalqueue runs report nightly > report.html",
    ),
)
def report_run(
    run_reference: RunArgument,
    *,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it here. Default: print it.")
    ] = None,
) -> None:
    """Make a report of a run: one HTML file to read, print or send, without scripts."""
    from evalqueue.cli.commands.runs import reporting

    run(reporting.report(run_reference, output))


@runs_app.command(
    "share",
    epilog=examples(
        "evalqueue runs share 0f1cf6f2 --days 30",
        "evalqueue runs share nightly --list",
        "evalqueue runs share nightly --revoke 7d0c1f0a",
    ),
)
def share_run(
    run_reference: RunArgument,
    *,
    days: Annotated[int, typer.Option(min=1, max=90, help="How long the link is good.")] = 7,
    list_links: Annotated[
        bool, typer.Option("--list", help="List the run's links instead.")
    ] = False,
    revoke: Annotated[
        str | None,
        typer.Option(metavar="LINK", help="Revoke this link, or that with this id, instead."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a link that shows the report of a run to people without a token, until it expires."""
    from evalqueue.cli.commands.runs import sharing

    if revoke is not None:
        run(sharing.revoke(run_reference, revoke, as_json=as_json))
    if list_links:
        run(sharing.list_shares(run_reference, as_json=as_json))
    run(sharing.share(run_reference, days, as_json=as_json))


def compare(
    candidate: RunArgument,
    baseline: Annotated[
        str, typer.Argument(metavar="BASELINE", show_default=False, help="The run before.")
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what has changed between two runs of the same conversations."""
    from evalqueue.cli.commands import comparison as command

    run(command.compare(candidate, baseline, as_json=as_json))


def gate(
    candidate: RunArgument,
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
        str | None,
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
            help="Only calls since the beginning of this hour, in UTC. Default: this month.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what LLM calls have cost."""
    from evalqueue.cli.commands import costs as command

    run(command.list_costs(by, since, as_json=as_json))
