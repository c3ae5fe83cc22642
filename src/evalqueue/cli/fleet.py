"""The flags of the commands about the fleet; what each does is in `fleet_commands`."""

from typing import Annotated

import typer

from evalqueue.cli.commands import fleet as fleet_commands
from evalqueue.cli.commands import jobs as commands
from evalqueue.cli.options import GivenParams, Json, Owner, Params, Priority, Queue, examples, run

queues_app = typer.Typer(rich_markup_mode=None)
schedules_app = typer.Typer(rich_markup_mode=None)

QueueName = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
ScheduleName = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
Limit = Annotated[int | None, typer.Option(min=0, help="0: no limit. Left out: as it is.")]
Days = Annotated[
    float | None, typer.Option(min=0, max=36_500, help="Default: EVALQUEUE_KEEP_…_DAYS.")
]


def declare(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(queues_app, name="queues")
    app.command(epilog=examples("evalqueue workers", "evalqueue workers --json"))(workers)
    app.add_typer(schedules_app, name="schedules")
    app.command(
        epilog=examples("evalqueue prune --jobs-days 90", "evalqueue prune --logs-days 14 --json")
    )(prune)
    app.command(
        epilog=examples(
            "evalqueue doctor",
            "evalqueue doctor --json | jq '.findings[] | select(.level == \"wrong\")'",
        )
    )(doctor)


@queues_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "evalqueue queues",
        "evalqueue queues pause nightly",
        "evalqueue queues limit evalqueue --max-running 20 --per-owner 4",
    ),
)
def queues(context: typer.Context, *, as_json: Json = False) -> None:
    """List queues; pause, resume and limit them."""
    if context.invoked_subcommand is None:
        run(fleet_commands.list_queues(as_json=as_json))


@queues_app.command("list")
def list_queues(*, as_json: Json = False) -> None:
    """Every queue, with its rules and what is in it."""
    run(fleet_commands.list_queues(as_json=as_json))


@queues_app.command("pause")
def pause_queue(name: QueueName, *, as_json: Json = False) -> None:
    """Start nothing of a queue until it is resumed; what runs goes on."""
    run(fleet_commands.pause_queue(name, as_json=as_json))


@queues_app.command("resume")
def resume_queue(name: QueueName, *, as_json: Json = False) -> None:
    """Start jobs of a queue again."""
    run(fleet_commands.resume_queue(name, as_json=as_json))


@queues_app.command("limit")
def limit_queue(
    name: QueueName,
    *,
    max_running: Limit = None,
    per_owner: Limit = None,
    as_json: Json = False,
) -> None:
    """Say how many jobs of a queue may run at once, over all workers, and how many of one owner."""
    run(fleet_commands.limit_queue(name, max_running, per_owner, as_json=as_json))


def workers(*, as_json: Json = False) -> None:
    """Show every worker, as it last said."""
    run(fleet_commands.list_workers(as_json=as_json))


@schedules_app.callback(
    invoke_without_command=True,
    epilog=examples(
        "evalqueue schedules",
        "evalqueue schedules add nightly --cron '0 2 * * *' --timezone Europe/Berlin \\",
        "    --job-type evaluate-batch data_path=test.csv",
        "evalqueue schedules pause nightly",
    ),
)
def schedules(context: typer.Context, *, as_json: Json = False) -> None:
    """List schedules; add, pause, resume and remove them."""
    if context.invoked_subcommand is None:
        run(fleet_commands.list_schedules(as_json=as_json))


@schedules_app.command("list")
def list_schedules(*, as_json: Json = False) -> None:
    """Every schedule, with its next time."""
    run(fleet_commands.list_schedules(as_json=as_json))


@schedules_app.command("add")
def add_schedule(
    name: ScheduleName,
    given: GivenParams = None,
    *,
    cron: Annotated[str, typer.Option(help="Minute, hour, day, month, weekday; or @daily.")],
    job_type: Annotated[str, typer.Option(help="What is submitted.")],
    timezone: Annotated[str, typer.Option(help="In whose wall-clock time.")] = "UTC",
    params: Params = "{}",
    owner: Owner = "default",
    queue: Queue = None,
    priority: Priority = 0,
    as_json: Json = False,
) -> None:
    """Submit a job again and again. A schedule of the same name is replaced.

    The params are checked now, as those of a job are.
    """
    wanted = fleet_commands.Wanted(
        name=name,
        cron=cron,
        timezone=timezone,
        job_type=job_type,
        params=commands.read_params(params, given or []),
        owner=owner,
        queue=queue,
        priority=priority,
    )
    run(fleet_commands.add_schedule(wanted, as_json=as_json))


@schedules_app.command("pause")
def pause_schedule(name: ScheduleName) -> None:
    """Submit nothing by a schedule until it is resumed."""
    run(fleet_commands.pause_schedule(name))


@schedules_app.command("resume")
def resume_schedule(name: ScheduleName) -> None:
    """Go on with a schedule from now on; what was missed is left out."""
    run(fleet_commands.resume_schedule(name))


@schedules_app.command("remove")
def remove_schedule(name: ScheduleName) -> None:
    """Forget a schedule; jobs that it submitted stay."""
    run(fleet_commands.remove_schedule(name))


def prune(
    *, jobs_days: Days = None, runs_days: Days = None, logs_days: Days = None, as_json: Json = False
) -> None:
    """Delete what has been over for so many days.

    Jobs (their runs stay), runs with all their results, and the LLM calls of runs.
    """
    run(fleet_commands.prune(jobs_days, runs_days, logs_days, as_json=as_json))


def doctor(*, as_json: Json = False) -> None:
    """Say what is wrong with database, workers, queues and jobs, and what to do.

    Exit code 0: sound, perhaps with notes. 1: something is wrong.
    """
    run(fleet_commands.examine(as_json=as_json))
