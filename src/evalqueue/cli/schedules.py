"""Declares the commands about schedules."""

from typing import Annotated

import typer

from evalqueue.cli.commands.arguments import read_params
from evalqueue.cli.options import (
    JsonOption,
    OwnerOption,
    ParamsArgument,
    ParamsOption,
    PriorityOption,
    QueueOption,
    complete_job_type,
    examples,
    run,
)

schedules_app = typer.Typer(rich_markup_mode=None)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(schedules_app, name="schedules")


@schedules_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "evalqueue schedules",
        "evalqueue schedules add nightly --cron '0 2 * * *' --timezone Europe/Berlin \\",
        "    --job-type evaluate-batch data_path=test.csv",
        "evalqueue schedules pause nightly",
    ),
)
def schedules(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """List schedules; add, pause, resume and remove them."""
    from evalqueue.cli.commands import schedules as commands

    if context.invoked_subcommand is None:
        run(commands.list_schedules(as_json=as_json))


@schedules_app.command(
    "list", epilog=examples("evalqueue schedules list", "evalqueue schedules list --json")
)
def list_schedules(*, as_json: JsonOption = False) -> None:
    """List every schedule, with its next time."""
    from evalqueue.cli.commands import schedules as commands

    run(commands.list_schedules(as_json=as_json))


@schedules_app.command(
    "add",
    epilog=examples(
        "evalqueue schedules add nightly --cron '0 2 * * *' --timezone Europe/Berlin \\",
        "    --job-type evaluate-batch data_path=test.csv",
    ),
)
def add_schedule(
    name: NameArgument,
    pairs: ParamsArgument = None,
    *,
    cron: Annotated[str, typer.Option(help="Minute, hour, day, month, weekday; or @daily.")],
    job_type: Annotated[
        str, typer.Option(help="Of the jobs to submit.", autocompletion=complete_job_type)
    ],
    timezone: Annotated[str, typer.Option(help="The time zone of the cron expression.")] = "UTC",
    params: ParamsOption = "{}",
    owner: OwnerOption = "default",
    queue: QueueOption = None,
    priority: PriorityOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Submit a job regularly. A schedule of the same name is replaced.

    The params are checked now, like those of a job.
    """
    from evalqueue.cli.commands import schedules as commands

    options = commands.ScheduleOptions(
        name=name,
        cron=cron,
        timezone=timezone,
        job_type=job_type,
        params=read_params(params, pairs or []),
        owner=owner,
        queue=queue,
        priority=priority,
    )
    run(commands.add_schedule(options, as_json=as_json))


@schedules_app.command("pause", epilog=examples("evalqueue schedules pause nightly"))
def pause_schedule(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Submit no more jobs by a schedule until it is resumed."""
    from evalqueue.cli.commands import schedules as commands

    run(commands.pause_schedule(name, as_json=as_json))


@schedules_app.command("resume", epilog=examples("evalqueue schedules resume nightly"))
def resume_schedule(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Continue a schedule from now on; missed times are skipped."""
    from evalqueue.cli.commands import schedules as commands

    run(commands.resume_schedule(name, as_json=as_json))


@schedules_app.command("remove", epilog=examples("evalqueue schedules remove nightly"))
def remove_schedule(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Delete a schedule; the jobs that it submitted stay."""
    from evalqueue.cli.commands import schedules as commands

    run(commands.remove_schedule(name, as_json=as_json))
