"""The command line: flags, help and exit codes. What each command does is in `commands`.

Whatever is large (SDKs, the HTTP app, rich) is imported by the command that needs it, so that
`--help` does not wait for it. `main` is the boundary of the process: here, and only here,
an error becomes a line on stderr and an exit code.
"""

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn
from uuid import UUID

import typer

from evalqueue.cli import adversarial, datasets
from evalqueue.cli import fleet as fleet_cli
from evalqueue.cli.commands import jobs as commands
from evalqueue.cli.options import (
    GivenParams,
    JobId,
    Json,
    Owner,
    Params,
    Priority,
    Queue,
    UntilEof,
    Watch,
    examples,
    run,
    stop_at_eof,
)
from evalqueue.cli.output import console
from evalqueue.cli.output.console import DEBUG, EXIT_CODES, ExitCode
from evalqueue.jobs import JobStatus
from evalqueue.tokens import Right

app = typer.Typer(
    name="evalqueue",
    help="A Postgres-native queue and worker daemon: chatbot conversations, judged by LLMs.",
    epilog="\b\nExit codes:\n"
    + "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    + f"\n\n\b\nSettings come from the environment: DATABASE_URL and EVALQUEUE_…\n"
    f"{DEBUG}=1 shows tracebacks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: made sooner, and easy to search
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave the process with its exit code."""
    try:
        app(None if arguments is None else list(arguments), prog_name="evalqueue")
    except Exception as error:  # the boundary of the process: nothing is above it
        if os.environ.get(DEBUG):
            traceback.print_exception(error)
        leaves = list(console.leaves(error))
        for leaf in leaves:
            for line in console.lines_of(leaf):
                console.say(line)
        sys.exit(console.exit_code(leaves[0]))
    sys.exit(ExitCode.DONE)


def _version(wanted: bool) -> None:
    if wanted:
        from evalqueue import __version__

        console.put(f"evalqueue {__version__}")
        raise typer.Exit


@app.callback()
def evalqueue(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What holds for every command; `--version` has ended the process before this is called."""


@app.command(epilog=examples("evalqueue migrate", "DATABASE_URL=postgresql://… evalqueue migrate"))
def migrate(*, as_json: Json = False) -> None:
    """Bring the database's schema up to date. Safe to repeat, and to run from several places."""
    run(commands.migrate(as_json=as_json))


@app.command(
    epilog=examples("evalqueue serve", "EVALQUEUE_API_TOKENS=… evalqueue serve --host 0.0.0.0")
)
def serve(
    *,
    host: Annotated[
        str | None, typer.Option(help="Where to listen. Default: EVALQUEUE_HOST, else 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="0: a free one. Default: EVALQUEUE_PORT, else 8721.")
    ] = None,
    until_eof: UntilEof = False,
) -> None:
    """Serve the HTTP API until SIGTERM or Ctrl-C."""
    _log_to_stderr(logging.INFO)
    stop_at_eof(until_eof)
    run(commands.serve(host, port))


@app.command(
    epilog=examples("evalqueue token anna --right submit", "evalqueue token ci --right read --json")
)
def token(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    *,
    right: Annotated[
        Right, typer.Option(help="read: look at one's own; submit: and change it; admin: all.")
    ],
    as_json: Json = False,
) -> None:
    """Make a token for the API: what the caller holds, and the entry for EVALQUEUE_API_TOKENS.

    Nothing is stored. Several entries may have the same name: a new token is good beside the old
    one until that one's entry is taken out.
    """
    commands.token(name, right, as_json=as_json)


@app.command(
    epilog=examples(
        "evalqueue worker",
        "evalqueue worker --concurrency 8 --queues evalqueue,nightly",
        "evalqueue worker --one-shot",
        "procrastinate --app=evalqueue.daemon.app worker    # the same worker",
    )
)
def worker(
    *,
    name: Annotated[str | None, typer.Option("--name", "-n", envvar="WORKER_NAME")] = None,
    queues: Annotated[
        str | None,
        typer.Option(
            "--queues", "-q", envvar="WORKER_QUEUES",
            help="Separated by commas. Default: EVALQUEUE_QUEUE, else evalqueue.",
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", "-c", min=1, envvar="WORKER_CONCURRENCY",
            help="Jobs at the same time. Default: EVALQUEUE_CONCURRENCY, else 4.",
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--one-shot", envvar="WORKER_WAIT", help="Whether to wait for further jobs."
        ),
    ] = True,
    shutdown_graceful_timeout: Annotated[
        float | None,
        typer.Option(
            envvar="WORKER_SHUTDOWN_GRACEFUL_TIMEOUT", min=0,
            help="Seconds for running jobs to finish after SIGTERM; then they go back to the "
            "queue. Default: as long as they take.",
        ),
    ] = None,
    until_eof: UntilEof = False,
) -> None:  # fmt: skip
    """Run jobs until SIGTERM or Ctrl-C; what runs is finished first. A second one doesn't wait."""
    _log_to_stderr(logging.INFO)
    stop_at_eof(until_eof)
    run(
        commands.work(
            name=name,
            queues=None if queues is None else [q.strip() for q in queues.split(",") if q.strip()],
            concurrency=concurrency,
            wait=wait,
            shutdown_graceful_timeout=shutdown_graceful_timeout,
        )
    )


@app.command(epilog=examples("evalqueue up", "evalqueue up --port 9000"))
def up(
    *,
    port: Annotated[
        int | None, typer.Option(help="The API's. Default: EVALQUEUE_PORT, else 8721.")
    ] = None,
) -> None:
    """Run all of it in the foreground.

    That is Postgres, schema, API and worker. Without DATABASE_URL a private Postgres is started;
    without the key of an LLM vendor, a simulated one is.
    """
    _log_to_stderr(logging.WARNING)
    run(commands.up(port))


@app.command(
    epilog=examples(
        "evalqueue submit evaluate-batch data_path=test.csv app_id=kaira-bot",
        """evalqueue submit evaluate-batch data_path=test.csv 'thread_ids:=["t1", "t2"]' --watch""",
        "evalqueue submit evaluate-batch --params @params.json",
        "jq … | evalqueue submit evaluate-batch -",
        "evalqueue submit evaluate-batch data_path=a.csv --at 2026-12-24T18:00:00Z --priority 5",
    )
)
def submit(  # noqa: PLR0913  each is a flag
    job_type: Annotated[str, typer.Argument(metavar="JOB_TYPE", show_default=False)],
    given: GivenParams = None,
    *,
    params: Params = "{}",
    owner: Owner = "default",
    queue: Queue = None,
    priority: Priority = 0,
    at: Annotated[
        str | None, typer.Option(metavar="RFC3339", help="Not before: 2026-12-24T18:00:00Z.")
    ] = None,
    after: Annotated[
        UUID | None, typer.Option(metavar="JOB_ID", help="Not before this job is completed.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key is the same job.")
    ] = None,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Submit a job; its id is printed."""
    options = commands.Options(
        owner=owner,
        priority=priority,
        scheduled_at=commands.read_moment("--at", at),
        queue=queue,
        idempotency_key=idempotency_key,
        after=after,
    )
    read = commands.read_params(params, given or [])
    run(commands.submit(job_type, read, options, watch=watch, as_json=as_json))


@app.command(
    epilog=examples("evalqueue retry 0b6f3a52-…", "evalqueue retry 0b6f3a52-… --all --watch")
)
def retry(
    job_id: JobId,
    *,
    everything: Annotated[
        bool,
        typer.Option(
            "--all/--failed-only",
            help="Do all of it anew, as a new run; or only what is missing or failed.",
        ),
    ] = False,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Go on with a job that is over and did not get everything done.

    What continues it is a new job, whose id is printed. The old one stays as it is.
    """
    run(commands.retry(job_id, everything=everything, watch=watch, as_json=as_json))


@app.command(
    epilog=examples(
        "evalqueue status",
        "evalqueue status --status failed --limit 5 --json",
        "evalqueue status 0b6f3a52-…",
    )
)
def status(
    job_id: Annotated[UUID | None, typer.Argument(metavar="JOB_ID", show_default=False)] = None,
    *,
    only: Annotated[
        JobStatus | None, typer.Option("--status", help="Only jobs in this state.")
    ] = None,
    job_type: Annotated[str | None, typer.Option(help="Only jobs of this type.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many jobs.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the newest jobs, or all there is to know about one."""
    if job_id is None:
        run(commands.list_jobs(only, job_type, limit, as_json=as_json))
    else:
        run(commands.show(job_id, as_json=as_json))


@app.command(epilog=examples("evalqueue watch 0b6f3a52-…", "evalqueue watch 0b6f3a52-… --json"))
def watch(job_id: JobId, *, as_json: Json = False) -> None:
    """Follow a job to its end. With --json: a line for each change.

    Ctrl-C stops watching; the job goes on.
    """
    run(commands.watch(job_id, as_json=as_json))


@app.command(epilog=examples("evalqueue cancel 0b6f3a52-…"))
def cancel(job_id: JobId, *, as_json: Json = False) -> None:
    """Cancel a queued or running job: final when this returns."""
    run(commands.cancel(job_id, as_json=as_json))


@app.command(
    epilog=examples("evalqueue demo", "evalqueue demo adversarial", "evalqueue demo --keep")
)
def demo(
    which: Annotated[
        commands.Demo, typer.Argument(help="What to show.", show_default=True)
    ] = commands.Demo.BATCH,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running until Ctrl-C.")] = False,
) -> None:
    """Evaluate the bundled conversations, or stress-test a simulated bot, end to end.

    What was found is shown. Everything it needs and makes is in a directory of its own.
    """
    _log_to_stderr(logging.WARNING)
    run(commands.demo(which, keep=keep))


@app.command(epilog=examples("evalqueue simulate --port 8722 --latency-ms 200 --rate-429 0.02"))
def simulate(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8722,
    latency_ms: Annotated[float, typer.Option(min=0, help="The median, in milliseconds.")] = 0.0,
    latency_sigma: Annotated[float, typer.Option(min=0, help="Of a lognormal; 0: fixed.")] = 0.0,
    rate_429: Annotated[float, typer.Option("--rate-429", min=0, max=1)] = 0.0,
    rate_500: Annotated[float, typer.Option("--rate-500", min=0, max=1)] = 0.0,
    rate_malformed: Annotated[float, typer.Option(min=0, max=1, help="Answers not JSON.")] = 0.0,
    error_rate: Annotated[float, typer.Option(min=0, max=1, help="Wrong labels.")] = 0.0,
    until_eof: UntilEof = False,
) -> None:
    """Run the simulated LLM vendor. Rates are shares of requests, from 0 to 1."""
    from evalqueue.evaluators.simulated.vendor import server as simulated

    stop_at_eof(until_eof)
    simulated.main([
        f"--port={port}", f"--latency-ms={latency_ms}",
        f"--latency-sigma={latency_sigma}", f"--rate-429={rate_429}", f"--rate-500={rate_500}",
        f"--rate-malformed={rate_malformed}", f"--error-rate={error_rate}",
    ])  # fmt: skip


datasets.declare(app)
adversarial.declare(app)
fleet_cli.declare(app)


def _log_to_stderr(level: int) -> None:
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for chatty in ("httpx", "httpx2", "procrastinate", "uvicorn"):  # a line a call, a line a start
        logging.getLogger(chatty).setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
