"""Declares the commands that run until they are stopped: serve, worker, up; and demo."""

import logging
from typing import Annotated

import typer

from evalqueue import settings
from evalqueue.cli.commands import processes
from evalqueue.cli.options import UntilEofOption, examples, run, stop_at_eof
from evalqueue.telemetry.logs import LogLevel
from evalqueue.telemetry.processes import begin

MetricsPortOption = Annotated[
    int | None,
    typer.Option(
        min=0, max=65535,
        help="Where a worker serves Prometheus's metrics; each further process takes the next "
        "port. 0: free ports. Default: EVALQUEUE_METRICS_PORT, else nowhere.",
    ),
]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(
        epilog=examples(
            "evalqueue serve",
            "EVALQUEUE_API_TOKENS=… evalqueue serve --host 0.0.0.0",
            "evalqueue serve --root-path /evalqueue    # behind a proxy that serves it there",
        )
    )(serve)
    app.command(
        epilog=examples(
            "evalqueue worker",
            "evalqueue worker --concurrency 8 --queues evalqueue,nightly",
            "evalqueue worker --processes 4 --concurrency 8    # 32 jobs at the same time",
            "evalqueue worker --processes 4 --metrics-port 9464    # ports 9464 to 9467",
            "evalqueue worker --one-shot",
            "procrastinate --app=evalqueue.daemon.app worker    # the same worker",
        )
    )(worker)
    app.command(epilog=examples("evalqueue up", "evalqueue up --port 9000 --metrics-port 9464"))(up)
    app.command(
        epilog=examples("evalqueue demo", "evalqueue demo adversarial", "evalqueue demo --keep")
    )(demo)


def _root_path(text: str | None) -> str | None:
    try:
        return None if text is None else settings.checked_root_path(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def serve(
    *,
    host: Annotated[
        str | None, typer.Option(help="Where to listen. Default: EVALQUEUE_HOST, else 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="0: a free port. Default: EVALQUEUE_PORT, else 8721.")
    ] = None,
    or_free_port: Annotated[
        bool, typer.Option("--or-free-port", help="If the port is taken, use a free one.")
    ] = False,
    root_path: Annotated[
        str | None,
        typer.Option(
            callback=_root_path,
            help="What a proxy serves it under, as /evalqueue. Default: EVALQUEUE_ROOT_PATH.",
        ),
    ] = None,
    until_eof: UntilEofOption = False,
) -> None:
    """Serve the HTTP API and the web page until SIGTERM or Ctrl-C."""
    begin(settings.read(), level=LogLevel.INFO, service_name="evalqueue-api")
    stop_at_eof(until_eof)
    run(processes.serve(host, port, or_free_port=or_free_port, root_path=root_path))


def worker(
    *,
    name: Annotated[
        str | None,
        typer.Option("--name", "-n", envvar="WORKER_NAME", help="The beginning of its name."),
    ] = None,
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
            help="Jobs at the same time, in each process. Default: EVALQUEUE_CONCURRENCY, else 4.",
        ),
    ] = None,
    process_count: Annotated[
        int | None,
        typer.Option(
            "--processes", "-p", min=1, envvar="WORKER_PROCESSES",
            help="Worker processes, each a worker of its own. Default: one per core.",
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--one-shot", envvar="WORKER_WAIT",
            help="Wait for further jobs, or stop when none is due.",
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
    metrics_port: MetricsPortOption = None,
    until_eof: UntilEofOption = False,
) -> None:  # fmt: skip
    """Run jobs until SIGTERM or Ctrl-C.

    Running jobs are finished first; a second signal sends them back to the queue. A process that
    ends unexpectedly is started again.
    """
    begin(settings.read(), level=LogLevel.INFO, service_name="evalqueue-worker")
    if until_eof:  # the parent waits for the record that the worker is ready
        logging.getLogger("evalqueue.worker.heartbeat").setLevel(logging.INFO)
    stop_at_eof(until_eof)
    run(
        processes.work(
            processes=process_count,
            name=name,
            queues=None if queues is None else [q.strip() for q in queues.split(",") if q.strip()],
            concurrency=concurrency,
            wait=wait,
            shutdown_graceful_timeout=shutdown_graceful_timeout,
            metrics_port=metrics_port,
        )
    )


def up(
    *,
    port: Annotated[
        int | None, typer.Option(help="Of the API. Default: EVALQUEUE_PORT, else 8721.")
    ] = None,
    metrics_port: MetricsPortOption = None,
) -> None:
    """Run Postgres, API and worker in the foreground.

    The schema is migrated first. Without DATABASE_URL a private Postgres is started; without the
    key of an LLM vendor, a simulated one.
    """
    begin(settings.read(), level=LogLevel.WARNING)
    run(processes.up(port, metrics_port))


def demo(
    name: Annotated[
        processes.DemoName, typer.Argument(metavar="DEMO", help="batch or adversarial.")
    ] = processes.DemoName.BATCH,
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep everything running until Ctrl-C.")
    ] = False,
) -> None:
    """Show a whole evaluation, end to end.

    batch: the bundled conversations are evaluated. adversarial: a simulated chatbot is tested.
    A demo has its own database and directory.
    """
    begin(settings.read(), level=LogLevel.WARNING)
    run(processes.demo(name, keep=keep))
