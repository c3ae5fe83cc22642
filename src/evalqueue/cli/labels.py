"""Declares the commands about labels: what people say about conversations."""

from pathlib import Path
from typing import Annotated

import typer

from evalqueue.cli.options import JsonOption, RunArgument, examples, run

labels_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

RunOption = Annotated[
    str,
    typer.Option(
        "--run", metavar="RUN", show_default=False, help="Whose conversations are labelled."
    ),
]
EvaluatorOption = Annotated[str, typer.Option(show_default=False, help="Whose question is asked.")]
ScoreOption = Annotated[str | None, typer.Option(help="One of its scores. Default: its headline.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(labels_app, name="labels")
    app.command(
        epilog=examples("evalqueue calibrate RUN", "evalqueue calibrate RUN --half test --json")
    )(calibrate)


@labels_app.callback(
    epilog=examples(
        "evalqueue labels sample RUN --evaluator correctness --by ann > ann.csv",
        "evalqueue labels add ann.csv --run RUN",
        "evalqueue labels queue RUN --evaluator correctness --annotators 2",
    )
)
def labels_group() -> None:
    """Draw conversations for people to label, add labels, and list them."""


@labels_app.command(
    "sample",
    epilog=examples("evalqueue labels sample RUN --evaluator correctness --by ann > ann.csv"),
)
def sample(
    run_name: RunArgument,
    *,
    evaluator: EvaluatorOption,
    by: Annotated[str, typer.Option(show_default=False, help="Who will label them.")],
    score: ScoreOption = None,
    size: Annotated[int, typer.Option(min=1, max=10_000, help="Conversations.")] = 50,
) -> None:
    """Print conversations, drawn at random, as CSV with an empty column for labels.

    The same ones are drawn each time; those that this person has labelled are left out.
    """
    from evalqueue.cli.commands import labels as command

    run(command.sample(run_name, evaluator, score, size=size, by=by))


@labels_app.command("add", epilog=examples("evalqueue labels add ann.csv --run RUN"))
def add(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, exists=True, dir_okay=False)
    ],
    *,
    run_name: RunOption,
    as_json: JsonOption = False,
) -> None:
    """Add the labels of a CSV file; rows without a value are left out.

    A label takes the place of the same person's earlier one about the same question.
    """
    from evalqueue.cli.commands import labels as command

    run(command.add(file, run_name, as_json=as_json))


@labels_app.command("list", epilog=examples("evalqueue labels list --run RUN --json"))
def list_labels(*, run_name: RunOption, as_json: JsonOption = False) -> None:
    """List the newest label of each person about each conversation."""
    from evalqueue.cli.commands import labels as command

    run(command.list_labels(run_name, as_json=as_json))


@labels_app.command(
    "queue",
    epilog=examples(
        "evalqueue labels queue RUN --evaluator correctness --size 100 --annotators 2",
        "evalqueue labels queue RUN --evaluator tone --disagreements",
    ),
)
def queue(
    run_name: RunArgument,
    *,
    evaluator: EvaluatorOption,
    score: ScoreOption = None,
    size: Annotated[int, typer.Option(min=1, max=2_000, help="Conversations.")] = 50,
    annotators: Annotated[int, typer.Option(min=1, max=5, help="People who label each.")] = 1,
    disagreements: Annotated[
        bool,
        typer.Option(
            help="Where the judge's votes differ, then the rarest verdicts, instead of at random: "
            "these labels correct no rate."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask people to label conversations of a run, drawn at random, on the page."""
    from evalqueue.cli.commands import labels as command
    from evalqueue.evaluators.labels.annotation import Selection

    selection = Selection.DISAGREEMENTS if disagreements else Selection.RANDOM
    run(
        command.queue(
            run_name, evaluator, score,
            size=size, annotators=annotators, selection=selection, as_json=as_json,
        )
    )  # fmt: skip


@labels_app.command("queues", epilog=examples("evalqueue labels queues RUN --json"))
def list_queues(run_name: RunArgument, *, as_json: JsonOption = False) -> None:
    """List the annotation queues of a run, with their progress."""
    from evalqueue.cli.commands import labels as command

    run(command.list_queues(run_name, as_json=as_json))


def calibrate(
    run_name: RunArgument,
    *,
    half: Annotated[
        str | None,
        typer.Option(
            metavar="development|test",
            help="Only the labels of half of the conversations. Default: all.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how often a run's judge is wrong by people's labels, and its corrected rates."""
    from evalqueue.cli.commands import labels as command

    run(command.calibrate(run_name, half, as_json=as_json))
