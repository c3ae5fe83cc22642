"""The commands that run until they are stopped: serve, worker, up; and demo."""

import asyncio
import logging
import shlex
import signal
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from evalqueue import settings
from evalqueue.cli.commands.connection import open_client, register_job_types
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.postgres.addresses import without_secrets
from evalqueue.settings import Settings
from evalqueue.telemetry.logs import is_json

if TYPE_CHECKING:
    from evalqueue.cli.stack.plan import StackAddresses


logger = logging.getLogger(__name__)


async def serve(
    host: str | None, port: int | None, *, or_free_port: bool, root_path: str | None
) -> ExitCode:
    """Serve the HTTP API until a signal arrives."""
    from evalqueue import daemon
    from evalqueue.http.server import raise_file_limit
    from evalqueue.http.server import serve as serve_api

    daemon.check_settings()
    raise_file_limit(settings.read())
    async with open_client() as client:
        register_job_types(client)
        async with serve_api(
            client, host=host, port=port, or_free_port=or_free_port, root_path=root_path
        ) as address:
            console.print_data(f"API on {address.url}")
            await _stop_signal()
    return ExitCode.DONE


async def work(
    *,
    processes: int | None,
    name: str | None,
    queues: Sequence[str] | None,
    concurrency: int | None,
    wait: bool,
    shutdown_graceful_timeout: float | None,
    metrics_port: int | None,
) -> int:
    """Run jobs, as `procrastinate --app=evalqueue.daemon.app worker` does.

    What is None comes from the settings.

    Args:
        processes: how many; None: one per core.
        metrics_port: of the first process; the others take the next ones. 0: free ones.
    """
    from evalqueue import daemon
    from evalqueue.cli.stack.worker_processes import WorkerProcesses, available_cores

    daemon.check_settings()
    processes = available_cores() if processes is None else processes
    if processes == 1:
        return await _work_here(
            name=name,
            queues=queues,
            concurrency=concurrency,
            wait=wait,
            shutdown_graceful_timeout=shutdown_graceful_timeout,
            metrics_port=metrics_port,
        )
    async with open_client():  # what keeps every child from working is said once
        pass
    options = {
        "--name": name,
        "--queues": None if queues is None else ",".join(queues),
        "--concurrency": concurrency,
        "--shutdown-graceful-timeout": shutdown_graceful_timeout,
    }
    arguments = [f"{flag}={value}" for flag, value in options.items() if value is not None]
    arguments.append("--wait" if wait else "--one-shot")
    first_port = settings.read().metrics_port if metrics_port is None else metrics_port
    return await WorkerProcesses(processes, arguments, restart=wait, first_port=first_port).run()


async def _work_here(**options: Any) -> ExitCode:
    """A worker in this process.

    Args:
        options: procrastinate's.
    """
    from evalqueue import daemon

    async with daemon.app.open_async():
        await daemon.app.run_worker_async(**options)
    return ExitCode.DONE


async def up(port: int | None, metrics_port: int | None) -> ExitCode:
    """Run Postgres, API and worker until a signal arrives.

    Args:
        port: of the API.
        metrics_port: of the worker's metrics.

    Raises:
        PortTaken: another process listens on the API's port.
        SettingsRefused: some can't be used.
    """
    from evalqueue import daemon
    from evalqueue.cli.stack import plan as stack
    from evalqueue.cli.stack.sample_data import copy_conversations
    from evalqueue.cli.stack.supervisor import Stack
    from evalqueue.evaluators.providers.registry import ProviderSettings

    daemon.check_settings()
    current = settings.read()
    port = current.port if port is None else port
    if port and not stack.is_free(current.host, port):
        raise stack.PortTaken(
            f"Port {port} of {current.host} is taken. Stop the process that listens there, "
            "or choose another port: EVALQUEUE_PORT, or --port."
        )
    if current.database_address is None:
        from evalqueue.postgres.embedded.server import create_home

        create_home(current.home)
    if not current.data_directory.exists():
        copy_conversations(current.data_directory)
    plan = stack.StackPlan(
        settings=current,
        port=port,
        metrics_port=metrics_port,
        simulated=stack.needs_simulation(ProviderSettings()),
    )

    async def stay(at: "StackAddresses") -> None:
        for line in _addresses(current, at):
            console.print_data(line)
        await asyncio.Event().wait()

    await Stack(plan, _pass_on).run(stay)
    return ExitCode.DONE  # a signal is the way to end it


def _pass_on(child: str, line: str) -> None:
    """A line of a child process. Where logs are JSON, what is none becomes a record."""
    if not is_json():
        console.print_message(f"{child:<18} | {line}")
    elif line.startswith("{"):
        console.print_message(line)
    elif line:
        name, level, extra = logger.name, logging.INFO, {"child": child}
        logger.handle(logger.makeRecord(name, level, "", 0, line, (), None, extra=extra))


def _addresses(current: Settings, at: "StackAddresses") -> Iterator[str]:
    """Where everything is, and shell commands to continue with."""
    from evalqueue.cli.demo.judge import JudgeChoice
    from evalqueue.cli.demo.next_steps import curl_command
    from evalqueue.evaluators.providers.registry import ProviderSettings
    from evalqueue.evaluators.providers.vendors.simulated import SIMULATED

    own = current.database_address is None
    shown = at.database if own else without_secrets(at.database)
    variables = {"DATABASE_URL": shown if own else "…"}
    if at.simulated:
        variables |= {
            "EVALQUEUE_LLM_PROVIDER": SIMULATED.name,
            "EVALQUEUE_SIMULATED_URL": at.simulated,
        }
    assigned = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    yield ""
    yield f"web page          {at.api}/"
    yield f"API               {at.api}/api"
    yield f"OpenAPI document  {at.api}/openapi.json"
    yield f"database          psql {shlex.quote(shown)}"
    yield f"data directory    {current.data_directory}"
    yield f"LLM provider      {JudgeChoice.of(ProviderSettings())}"
    yield f"another worker    {assigned} procrastinate --app=evalqueue.daemon.app worker"
    yield f"another job       {assigned} evalqueue submit evaluate-batch total_items:=5 --watch"
    yield f"submit            {curl_command(at.api, with_token=current.needs_sign_in)}"
    yield "Ctrl-C stops all of it; running jobs may finish first."
    yield ""


class DemoName(StrEnum):
    """The demos."""

    BATCH = "batch"
    ADVERSARIAL = "adversarial"


async def demo(name: DemoName, *, keep: bool) -> ExitCode:
    """Run a demo once."""
    from evalqueue.cli.demo import adversarial, batch, stage

    scenario = adversarial.scenario() if name is DemoName.ADVERSARIAL else batch.BATCH
    return await stage.run(settings.read(), scenario, keep=keep)


async def _stop_signal() -> None:
    """Wait for SIGINT or SIGTERM; a second one has its default effect."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)
