"""The children of `up` and `demo`: what is simulated, API and worker, each a process of its own.

Each child is in a session of its own, so that Ctrl-C reaches only this process, which then stops
them in order: the worker first, that it can finish and store what it has, the database last. A
child's stdin is a pipe from here that it watches: when this process dies, however it dies, the pipe
ends and the child stops by itself.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evalqueue.errors import EvalqueueError
from evalqueue.postgres import schema
from evalqueue.postgres.database import Database
from evalqueue.postgres.embedded import Embedded
from evalqueue.settings import Settings

WORKER_GRACE = 30.0  # seconds a worker gets to finish what it does
SETTLE_SECONDS = 10.0  # what a child gets besides, to say good-bye
HURRIED_SECONDS = 15.0  # what is left of all that after a second Ctrl-C, at most
QUICK_DEATH = 10.0  # seconds: a worker that lives shorter than this did not really start
QUICK_DEATHS_MAX = 5
BACKOFF_MAX = 30.0  # seconds between two starts of the worker
LINE_MAX_BYTES = 65_536  # of a longer one so much is passed on at a time

SIMULATED_FLAGS = (
    "--latency-ms=200", "--latency-sigma=0.4", "--rate-429=0.02", "--rate-500=0.01",
    "--error-rate=0.05",
)  # fmt: skip
"""What a vendor is like on a middling day."""

_KEYS = (
    "OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
)  # fmt: skip

Tell = Callable[[str, str], None]
"""What takes a child's lines: its name, and a line without its end."""


class PartDied(EvalqueueError):
    """A child ended that should not have."""

    def __init__(self, name: str, exit_code: int, last_line: str) -> None:
        how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        super().__init__(f"The {name} ended unexpectedly ({how}): {last_line or 'without a word'}")


class PortTaken(EvalqueueError):
    """Someone else listens where the API should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run."""

    settings: Settings
    port: int
    """The API's; 0: any free one."""
    simulated: bool
    """Whether to run the simulated provider, and judge with it."""
    chatbot: tuple[str, ...] | None = None
    """Flags of the simulated chatbot to run; None: none is run."""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    """The children's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where what runs can be reached."""

    api: str
    database: str
    simulated: str | None
    chatbot: str | None


def wants_simulation(environment: Mapping[str, str]) -> bool:
    """Whether nobody has said which provider to use, by its key or by its name."""
    named = environment.get("EVALQUEUE_LLM_PROVIDER")
    if named:
        return named == "simulated" and not environment.get("EVALQUEUE_SIMULATED_URL")
    return not any(environment.get(key) for key in _KEYS)


def is_free(host: str, port: int) -> bool:
    """Whether one can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def copy_conversations(directory: Path) -> None:
    """Put the bundled conversations where jobs may read them."""
    from evalqueue.evaluators.simulated.conversations import kaira_csv, sample_csv

    directory.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(kaira_csv(), directory / "kaira-conversations.csv")
    shutil.copyfile(sample_csv(), directory / "test.csv")


class Stack:
    """Runs the parts of a plan while some work is done, and stops them in order after it."""

    def __init__(self, plan: Plan, tell: Tell) -> None:
        self._plan = plan
        self._tell = tell
        self._postgres: Embedded | None = None
        self._children: dict[str, Child] = {}
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self, work: Callable[[Addresses], Awaitable[None]]) -> bool:
        """Start everything, do the work, stop everything.

        Returns:
            whether the work came to its end; False: a signal ended it.

        Raises:
            ExceptionGroup: with what went wrong, `PartDied` if a part did not stay.
        """
        with self._signals():
            try:
                async with asyncio.TaskGroup() as group:
                    working = group.create_task(self._work(work))
                    asked = group.create_task(self._stop.wait())
                    await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
                    finished = working.done()
                    working.cancel()
                    asked.cancel()
            finally:
                await self._stop_all()
        return finished

    async def _work(self, work: Callable[[Addresses], Awaitable[None]]) -> None:
        database = await self._open_database()
        environment = {**self._plan.environment, "DATABASE_URL": database, "PYTHONUNBUFFERED": "1"}
        simulated = None
        if self._plan.simulated:
            simulated = await self._start(_simulated(environment))
            environment |= {"EVALQUEUE_LLM_PROVIDER": "simulated"}
            environment |= {"EVALQUEUE_SIMULATED_URL": simulated}
        chatbot = None
        if self._plan.chatbot is not None:
            chatbot = await self._start(_chatbot(environment, self._plan.chatbot))
            environment |= {"EVALQUEUE_CHATBOT_URL": chatbot}
        worker = _worker(environment)
        async with asyncio.TaskGroup() as starting:
            api = starting.create_task(self._start(_api(environment, self._plan)))
            starting.create_task(self._start(worker))
        async with asyncio.TaskGroup() as watching:
            needed = [child for name, child in self._children.items() if name != worker.name]
            watchers = [watching.create_task(self._guard(child)) for child in needed]
            watchers.append(watching.create_task(self._keep(worker)))
            await work(
                Addresses(api=api.result(), database=database, simulated=simulated, chatbot=chatbot)
            )
            for watcher in watchers:
                watcher.cancel()

    async def _open_database(self) -> str:
        address = self._plan.settings.database_address
        if address is None:
            address = await asyncio.to_thread(self._start_postgres)
        database = Database(address, max_size=2)
        await database.open(wait_seconds=self._plan.settings.database_wait_seconds)
        try:
            for name in await schema.migrate(database):
                self._tell("migrate", f"applied {name}")
        finally:
            await database.close()
        return address

    def _start_postgres(self) -> str:
        self._postgres = Embedded(self._plan.settings.home)
        return self._postgres.url

    async def _start(self, part: "Part") -> str:
        child = self._children[part.name] = Child(part, self._tell)
        return await child.start()

    async def _guard(self, child: "Child") -> None:
        """Nothing works without this child: its end is ours."""
        raise await child.death()

    async def _keep(self, part: "Part") -> None:
        """Start the worker anew when it dies: jobs wait in the database meanwhile."""
        quick_deaths = 0
        while True:
            began = time.monotonic()
            death = await self._children[part.name].death()
            quick_deaths = quick_deaths + 1 if time.monotonic() - began < QUICK_DEATH else 0
            if quick_deaths >= QUICK_DEATHS_MAX:
                raise death
            delay = min(BACKOFF_MAX, 2.0**quick_deaths)
            self._tell(part.name, f"{death}. Starting it again in {delay:.0f} s.")
            await asyncio.sleep(delay)
            with contextlib.suppress(PartDied):  # the next round sees it dead, and counts it
                await self._start(part)

    async def _stop_all(self) -> None:
        for name in ("worker", "API", "simulated provider", "simulated chatbot"):
            if child := self._children.get(name):
                await child.stop(self._hurry)
        if self._postgres is not None:
            await asyncio.to_thread(self._postgres.stop)

    def _told_to_stop(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        else:
            self._tell("evalqueue", "Stopping: running jobs may finish. Again to hurry.")
        self._stop.set()

    @contextlib.contextmanager
    def _signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._told_to_stop)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One child to be."""

    name: str
    arguments: tuple[str, ...]
    """Of `evalqueue`."""
    environment: Mapping[str, str]
    ready: re.Pattern[str]
    """The line that says it is ready; its group, if there is one, is the address."""
    grace_seconds: float = SETTLE_SECONDS


def _simulated(environment: Mapping[str, str]) -> Part:
    return Part(
        name="simulated provider",
        arguments=("simulate", "--until-eof", "--port=0", *SIMULATED_FLAGS),
        environment=environment,
        ready=re.compile(r"simulated provider on (http://\S+)"),
    )


def _chatbot(environment: Mapping[str, str], flags: tuple[str, ...]) -> Part:
    return Part(
        name="simulated chatbot",
        arguments=("simulate-bot", "--until-eof", "--port=0", *flags),
        environment=environment,
        ready=re.compile(r"simulated Kaira on (http://\S+)"),
    )


def _api(environment: Mapping[str, str], plan: Plan) -> Part:
    host = plan.settings.host
    return Part(
        name="API",
        arguments=("serve", "--until-eof", f"--host={host}", f"--port={plan.port}"),
        environment=environment,
        ready=re.compile(r"API on (http://\S+)"),
    )


def _worker(environment: Mapping[str, str]) -> Part:
    return Part(
        name="worker",
        arguments=("worker", "--until-eof", f"--shutdown-graceful-timeout={WORKER_GRACE}"),
        environment=environment,
        ready=re.compile(r" is ready: "),
        grace_seconds=WORKER_GRACE + SETTLE_SECONDS,
    )


class Child:
    """One running part: its process, and the task that passes on its lines."""

    def __init__(self, part: Part, tell: Tell) -> None:
        self._part = part
        self._tell = tell
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._last_line = ""

    async def start(self) -> str:
        """Start it and wait until it says that it is ready.

        Returns:
            its address, or "" if it has none.

        Raises:
            PartDied: it ended first.
        """
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "evalqueue.cli.main", *self._part.arguments,
            env=self._part.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        # It outlives whoever starts the child: lines are passed on until the last one, in `stop`.
        self._reading = asyncio.create_task(self._read(), name=f"lines of {self._part.name}")
        await asyncio.wait({self._ready, self._reading}, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            raise await self.death()
        return self._ready.result()

    @property
    def _started(self) -> asyncio.subprocess.Process:
        assert self._process is not None  # noqa: S101  `start` comes before all that asks
        return self._process

    async def death(self) -> PartDied:
        """Wait until it ends by itself, and say how it did."""
        exit_code = await self._started.wait()
        if self._reading is not None:
            await asyncio.wait({self._reading})  # its last line is the most telling one
        return PartDied(self._part.name, exit_code, self._last_line)

    async def stop(self, hurry: asyncio.Event) -> None:
        """Ask it to end; ask again when its time is over or someone is in a hurry; then kill it."""
        if self._process is None:
            return
        for signal_number, seconds in (
            (signal.SIGTERM, self._part.grace_seconds),
            (signal.SIGTERM, HURRIED_SECONDS),  # a second one means: don't wait for what runs
            (signal.SIGKILL, None),
        ):
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal_number)
            if await self._ends_within(seconds, hurry if signal_number is signal.SIGTERM else None):
                break
            hurry = asyncio.Event()  # it has hurried: from here on only time counts
        if self._reading is not None:
            await self._reading

    async def _ends_within(self, seconds: float | None, hurry: asyncio.Event | None) -> bool:
        process = self._started
        async with asyncio.TaskGroup() as group:
            ended = group.create_task(process.wait())
            asked = group.create_task((hurry or asyncio.Event()).wait())
            await asyncio.wait({ended, asked}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            asked.cancel()
        return process.returncode is not None

    async def _read(self) -> None:
        stdout = self._started.stdout
        assert stdout is not None  # noqa: S101  asked for as a pipe, which asyncio's types don't know
        async for line in _lines(stdout):
            self._last_line = line or self._last_line
            self._tell(self._part.name, line)
            if not self._ready.done() and (found := self._part.ready.search(line)):
                self._ready.set_result(found[1] if found.re.groups else "")


async def _lines(stream: asyncio.StreamReader) -> AsyncGenerator[str]:
    """Lines of any length: what has no end yet after 64 KiB is passed on as it is."""
    rest = b""
    while chunk := await stream.read(LINE_MAX_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) >= LINE_MAX_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")
    if rest:
        yield rest.decode("utf-8", "replace")
