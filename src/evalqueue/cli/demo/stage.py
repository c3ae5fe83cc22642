"""Runs a demo as a user's program would.

The job is submitted over HTTP to an API process, a worker process runs it, progress is pushed, and
the results are read from the API. A demo has its own home directory and database, so that it never
touches a user's data; from the environment it takes the LLM settings only.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit
from uuid import UUID

from evalqueue.cli.demo.api import ApiClient
from evalqueue.cli.demo.judge import JudgeChoice
from evalqueue.cli.demo.next_steps import closing_lines
from evalqueue.cli.demo.scenario import DemoScenario
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import EXIT_CODE_OF_STATUS, ExitCode
from evalqueue.cli.output.progress import ProgressLine
from evalqueue.cli.stack import plan as stack
from evalqueue.cli.stack.plan import StackAddresses, StackPlan
from evalqueue.cli.stack.sample_data import copy_conversations
from evalqueue.cli.stack.supervisor import Stack
from evalqueue.client import Client
from evalqueue.environment import SUFFIX
from evalqueue.errors import EvalqueueError
from evalqueue.evaluators.providers.registry import ProviderSettings
from evalqueue.jobs import Job
from evalqueue.postgres.embedded.server import create_home
from evalqueue.settings import Settings

_LLM_SETTINGS = ("EVALQUEUE_LLM_PROVIDER", "EVALQUEUE_LLM_MODEL", "EVALQUEUE_SIMULATED_URL")
_OTHER_STACK_PREFIXES = ("EVALQUEUE_", "WORKER_", "DATABASE_URL")


async def run(settings: Settings, scenario: DemoScenario, *, keep: bool) -> ExitCode:
    """Run a demo once; with `keep`, leave its processes running until a signal arrives."""
    home = settings.home / "demo"
    own = settings.model_copy(
        update={
            "database_url": None,
            "password_command": (),
            "home": home,
            "data_dir": None,
            "host": "127.0.0.1",
        }
    )
    create_home(home)
    copy_conversations(own.data_directory)
    environment = demo_environment(os.environ, home)
    judge = JudgeChoice.of(ProviderSettings())
    for line in (f"Judge: {judge}", *scenario.introduction):
        console.print_message(line)
    await judge.check()
    console.print_message(
        "Starting Postgres, API and worker. The first start takes a few seconds longer."
    )
    plan = StackPlan(
        settings=own,
        port=own.port,
        or_free_port=True,
        simulated=stack.needs_simulation(ProviderSettings()),
        chatbot=scenario.chatbot,
        environment={**environment, **scenario.environment},
    )
    with ChildLogs(home / "logs") as logs:
        demo = _DemoRun(own, scenario, judge, keep=keep)
        try:
            finished = await Stack(plan, logs.write).run(demo.run)
        except* EvalqueueError:
            if logs.paths:
                console.print_message(f"Log files of the demo: {', '.join(map(str, logs.paths))}")
            raise
    return demo.exit_code if finished or demo.shown else ExitCode.INTERRUPTED


def demo_environment(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """The environment of the child processes: this one, without the settings of other stacks."""
    own = {
        key: value
        for key, value in environment.items()
        if key.removesuffix(SUFFIX) in _LLM_SETTINGS or not key.startswith(_OTHER_STACK_PREFIXES)
    }
    return own | {"EVALQUEUE_HOME": str(home)}


@dataclass(slots=True)
class ChildLogs:
    """A log file for each child process, replaced in each demo."""

    directory: Path
    _files: dict[str, TextIO] = field(default_factory=dict[str, TextIO])
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "ChildLogs":
        self.directory.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def paths(self) -> list[Path]:
        return [Path(file.name) for file in self._files.values()]

    def write(self, name: str, line: str) -> None:
        """Write a line of a child to its log file; the stack's own lines are printed."""
        if name == "evalqueue":
            console.print_message(line)
            return
        if name not in self._files:
            path = self.directory / f"{name.replace(' ', '-').lower()}.log"
            self._files[name] = self._open.enter_context(path.open("w", encoding="utf-8"))
        self._files[name].write(f"{line}\n")
        self._files[name].flush()


class _DemoRun:
    """What happens while the processes of a demo run."""

    def __init__(
        self, settings: Settings, scenario: DemoScenario, judge: JudgeChoice, *, keep: bool
    ) -> None:
        self._settings = settings
        self._scenario = scenario
        self._judge = judge
        self._keep = keep
        self.exit_code = ExitCode.FAILED
        self.shown = False
        """Whether the results were printed: a later signal does not interrupt the demo itself."""

    async def run(self, at: StackAddresses) -> None:
        wanted = self._settings.port
        if wanted and urlsplit(at.api).port != wanted:
            console.print_message(
                f"Port {wanted} is taken (EVALQUEUE_PORT): the demo's API uses a free port."
            )
        api = ApiClient(at.api)
        judge = {"llm_provider": self._judge.provider, "llm_model": self._judge.model}
        params = {**self._scenario.params, "name": "demo", **judge}
        body = {"job_type": self._scenario.job_type, "params": params}
        submitted = await api.post("/api/jobs", body)
        console.print_message(f"To watch it in a browser: {at.api}/runs/{submitted['run_id']}")
        job = await self._watch(at, api, UUID(submitted["id"]))
        self.exit_code = EXIT_CODE_OF_STATUS[job.status]
        if job.error_message:
            console.print_message(job.error_message)
        run_id = job.progress.details["run_id"]
        run = await api.get(f"/api/eval-runs/{run_id}")
        await self._scenario.print_results(api, run, self._judge)
        for line in closing_lines(
            at, run_id, self._scenario, port=self._settings.port, keep=self._keep
        ):
            console.print_data(line)
        self.shown = True
        if self._keep:
            await asyncio.Event().wait()

    async def _watch(self, at: StackAddresses, api: ApiClient, job_id: UUID) -> Job:
        try:
            async with Client(at.database, settings=self._settings) as client:
                with ProgressLine() as line:
                    async for job in client.watch(job_id):
                        line.show(job)
                return await client.get(job_id)
        except asyncio.CancelledError:
            # The job is cancelled with the demo, so that the next demo starts with an empty queue.
            await api.post(f"/api/jobs/{job_id}/cancel", None)
            raise
