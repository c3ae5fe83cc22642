"""Declares the commands about the fleet: queues, workers, prune, audit, doctor."""

from typing import Annotated

import typer

from evalqueue.cli.options import JsonOption, examples, run

queues_app = typer.Typer(rich_markup_mode=None)

QueueArgument = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
LimitOption = Annotated[int | None, typer.Option(min=0, help="0: no limit. Omitted: unchanged.")]
DaysOption = Annotated[
    float | None, typer.Option(min=0, max=36_500, help="Default: EVALQUEUE_KEEP_…_DAYS.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(queues_app, name="queues")
    app.command(epilog=examples("evalqueue workers", "evalqueue workers --json"))(workers)
    app.command(
        epilog=examples("evalqueue prune --jobs-days 90", "evalqueue prune --logs-days 14 --json")
    )(prune)
    app.command(
        epilog=examples(
            "evalqueue audit --action queue.pause", "evalqueue audit --actor anna --json | jq '.[]'"
        )
    )(audit)
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
def queues(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """List queues; pause, resume and limit them."""
    from evalqueue.cli.commands import fleet

    if context.invoked_subcommand is None:
        run(fleet.list_queues(as_json=as_json))


@queues_app.command(
    "list", epilog=examples("evalqueue queues list", "evalqueue queues list --json")
)
def list_queues(*, as_json: JsonOption = False) -> None:
    """List every queue, with its limits and its jobs."""
    from evalqueue.cli.commands import fleet

    run(fleet.list_queues(as_json=as_json))


@queues_app.command("pause", epilog=examples("evalqueue queues pause nightly"))
def pause_queue(name: QueueArgument, *, as_json: JsonOption = False) -> None:
    """Start no more jobs of a queue until it is resumed; running jobs continue."""
    from evalqueue.cli.commands import fleet

    run(fleet.pause_queue(name, as_json=as_json))


@queues_app.command("resume", epilog=examples("evalqueue queues resume nightly"))
def resume_queue(name: QueueArgument, *, as_json: JsonOption = False) -> None:
    """Start jobs of a queue again."""
    from evalqueue.cli.commands import fleet

    run(fleet.resume_queue(name, as_json=as_json))


@queues_app.command(
    "limit",
    epilog=examples(
        "evalqueue queues limit evalqueue --max-running 20 --per-owner 4",
        "evalqueue queues limit evalqueue --max-running 0    # no limit",
    ),
)
def limit_queue(
    name: QueueArgument,
    *,
    max_running: LimitOption = None,
    per_owner: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set how many jobs of a queue, and of one owner in it, may run at once over all workers."""
    from evalqueue.cli.commands import fleet

    run(fleet.limit_queue(name, max_running, per_owner, as_json=as_json))


def workers(*, as_json: JsonOption = False) -> None:
    """List every worker, as of its last heartbeat."""
    from evalqueue.cli.commands import fleet

    run(fleet.list_workers(as_json=as_json))


def prune(
    *,
    jobs_days: DaysOption = None,
    runs_days: DaysOption = None,
    logs_days: DaysOption = None,
    audit_days: DaysOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete old jobs, runs, LLM calls and rows of the audit log.

    Old is what ended more than so many days ago. Runs stay when their jobs are deleted. A run is
    deleted with all its results.
    """
    from evalqueue.cli.commands import fleet

    days = {"logs": logs_days, "runs": runs_days, "jobs": jobs_days, "audit": audit_days}
    run(fleet.prune(days, as_json=as_json))


def audit(
    *,
    actor: Annotated[str | None, typer.Option(help="Only what this actor changed.")] = None,
    action: Annotated[
        str | None, typer.Option(help="queue.pause, for example; queue: all of queues.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only changes of this kind of subject, as app.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Only changes of the one with this id.")
    ] = None,
    after: Annotated[
        int | None,
        typer.Option(min=0, max=2**63 - 1, help="Continue after the row with this id."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many rows.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Show who changed what, newest first."""
    from evalqueue.audit import AuditFilter
    from evalqueue.cli.commands import fleet

    where = AuditFilter(
        actor=actor or None,
        action=action or None,
        subject_kind=kind or None,
        subject_id=subject or None,
    )
    run(fleet.list_audit_entries(where, after=after, limit=limit, as_json=as_json))


def doctor(*, as_json: JsonOption = False) -> None:
    """Find problems, and say how to fix them.

    Database, workers, queues and jobs are examined.

    Exit code 0: no problems, perhaps notes. 1: at least one problem.
    """
    from evalqueue.cli.commands import doctor as command

    run(command.examine(as_json=as_json))
