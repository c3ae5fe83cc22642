"""Declares the commands about jobs: submit, retry, status, watch, cancel."""

from typing import Annotated

import typer

from evalqueue.cli.commands.arguments import cap_params, model_params, read_params, read_time
from evalqueue.cli.options import (
    JobArgument,
    JsonOption,
    MaxCostOption,
    MaxOutputTokensOption,
    MaxTokensOption,
    MaxWaitOption,
    ModelSettingsOption,
    OwnerOption,
    ParamsArgument,
    ParamsOption,
    PriorityOption,
    QueueOption,
    WatchOption,
    complete_job_type,
    examples,
    run,
)
from evalqueue.jobs import JobStatus


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(
        epilog=examples(
            "evalqueue submit evaluate-batch data_path=test.csv app_id=kaira-bot",
            "evalqueue submit evaluate-batch data_path=test.csv "
            """'thread_ids:=["t1", "t2"]' --watch""",
            "evalqueue submit evaluate-batch --params @params.json --max-cost 5.00",
            "jq … | evalqueue submit evaluate-batch -",
            "evalqueue submit evaluate-batch data_path=a.csv --at 2026-12-24T18:00:00Z "
            "--priority 5",
        )
    )(submit)
    app.command(
        epilog=examples("evalqueue retry 0b6f3a52-…", "evalqueue retry 0b6f3a52-… --all --watch")
    )(retry)
    app.command(
        epilog=examples(
            "evalqueue status",
            "evalqueue status --status failed --limit 5 --json",
            "evalqueue status 0b6f3a52-…",
        )
    )(status)
    app.command(epilog=examples("evalqueue watch 0b6f3a52-…", "evalqueue watch 0b6f3a52-… --json"))(
        watch
    )
    app.command(
        epilog=examples("evalqueue cancel 0b6f3a52-…", "evalqueue cancel 0b6f3a52-… --json")
    )(cancel)


def submit(  # noqa: PLR0913  each is an option
    job_type: Annotated[
        str,
        typer.Argument(metavar="JOB_TYPE", show_default=False, autocompletion=complete_job_type),
    ],
    pairs: ParamsArgument = None,
    *,
    params: ParamsOption = "{}",
    owner: OwnerOption = "default",
    queue: QueueOption = None,
    priority: PriorityOption = 0,
    at: Annotated[
        str | None,
        typer.Option(metavar="RFC3339", help="Not before this time: 2026-12-24T18:00:00Z."),
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="JOB", help="Not before this job is completed.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="A second job with this key is not made: the first is."),
    ] = None,
    max_wait: MaxWaitOption = None,
    max_cost: MaxCostOption = None,
    max_tokens: MaxTokensOption = None,
    max_output_tokens: MaxOutputTokensOption = None,
    model_settings: ModelSettingsOption = None,
    watch: WatchOption = False,
    as_json: JsonOption = False,
) -> None:
    """Submit a job; its id is printed."""
    from evalqueue.cli.commands import jobs

    options = jobs.SubmitOptions(
        owner=owner,
        priority=priority,
        scheduled_at=read_time("--at", at),
        queue=queue,
        idempotency_key=idempotency_key,
    )
    job_params = read_params(params, pairs or [])
    if max_wait is not None:
        job_params["max_wait_seconds"] = max_wait
    job_params |= model_params(max_output_tokens, model_settings)
    job_params |= cap_params(max_cost, max_tokens)
    run(jobs.submit(job_type, job_params, options, after=after, watch=watch, as_json=as_json))


def retry(
    job: JobArgument,
    *,
    everything: Annotated[
        bool,
        typer.Option(
            "--all/--failed-only",
            help="Do all of it again, as a new run; or only what is missing or failed.",
        ),
    ] = False,
    watch: WatchOption = False,
    as_json: JsonOption = False,
) -> None:
    """Do what a job that is over has left undone.

    A new job does it, and its id is printed. The old job is unchanged.
    """
    from evalqueue.cli.commands import jobs

    run(jobs.retry(job, everything=everything, watch=watch, as_json=as_json))


def status(
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="JOB", show_default=False, help="An id, its first characters, or a name."
        ),
    ] = None,
    *,
    only: Annotated[
        JobStatus | None, typer.Option("--status", help="Only jobs with this status.")
    ] = None,
    job_type: Annotated[
        str | None,
        typer.Option(help="Only jobs of this type.", autocompletion=complete_job_type),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many jobs.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show the newest jobs, or everything about one job."""
    from evalqueue.cli.commands import jobs

    if job is None:
        run(jobs.list_jobs(only, job_type, limit, as_json=as_json))
    else:
        run(jobs.show(job, as_json=as_json))


def watch(job: JobArgument, *, as_json: JsonOption = False) -> None:
    """Follow a job until it ends. With --json: a line for each change.

    Ctrl-C stops watching; the job continues. The exit code is that of the job: 0 completed,
    1 failed, 3 cancelled.
    """
    from evalqueue.cli.commands import jobs

    run(jobs.watch(job, as_json=as_json))


def cancel(job: JobArgument, *, as_json: JsonOption = False) -> None:
    """Cancel a queued or running job. It is final when the command returns."""
    from evalqueue.cli.commands import jobs

    run(jobs.cancel(job, as_json=as_json))
