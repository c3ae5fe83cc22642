"""One child process: started until it is ready, its output passed on line by line, and stopped.

A child is in a session of its own, so that Ctrl-C reaches only the parent, which stops its children
in order. A child's stdin is a pipe from the parent: however the parent ends, the pipe closes and
the child stops by itself (`--until-eof`).
"""

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from evalqueue.errors import EvalqueueError

STOP_SECONDS = 10.0  # for a child to end when it has nothing left to do
SECOND_SIGNAL_SECONDS = 15.0  # for a child to end after a second SIGTERM, at most
LINE_MAX_BYTES = 65_536  # longer lines are passed on in pieces of this size

PORT_FLAGS = ("--port=", "--or-free-port")

LineHandler = Callable[[str, str], None]
"""Called with each line of a child: the child's name, and the line without its end."""


class ChildExited(EvalqueueError):
    """A child process ended that should have kept running."""

    def __init__(self, name: str, exit_code: int, last_line: str) -> None:
        if exit_code < 0:  # what it printed before is not why
            super().__init__(f"The {name} ended unexpectedly (signal {-exit_code})")
            return
        reason = last_line or "it printed nothing"
        super().__init__(f"The {name} ended unexpectedly (exit code {exit_code}): {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """How to start and stop one child."""

    name: str
    arguments: tuple[str, ...]
    """Of `evalqueue`."""
    environment: Mapping[str, str]
    ready: re.Pattern[str]
    """Matches the line that a ready child prints; its group, if there is one, is the address."""
    grace_seconds: float = STOP_SECONDS


class ChildProcess:
    """A running child, and the task that passes on its lines."""

    def __init__(self, spec: ChildSpec, on_line: LineHandler) -> None:
        self._spec = spec
        self._on_line = on_line
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._last_line = ""

    async def start(self) -> str:
        """Start the child and wait until it is ready.

        Returns:
            its address, or "" if it has none.

        Raises:
            ChildExited: it ended before it was ready.
        """
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "evalqueue", *self._spec.arguments,
            env=self._spec.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        # The task outlives the one that starts the child: `stop` awaits the last line.
        self._reading = asyncio.create_task(self._read(), name=f"lines of {self._spec.name}")
        await asyncio.wait({self._ready, self._reading}, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            raise await self.exited()
        return self._ready.result()

    @property
    def _started(self) -> asyncio.subprocess.Process:
        assert self._process is not None  # noqa: S101  `start` is called first
        return self._process

    @property
    def spec_of_restart(self) -> ChildSpec:
        """How to start the child again at the address that others know."""
        if not self._ready.done() or not (port := urlsplit(self._ready.result()).port):
            return self._spec
        kept = [each for each in self._spec.arguments if not each.startswith(PORT_FLAGS)]
        return replace(self._spec, arguments=(*kept, f"--port={port}"))

    async def exited(self) -> ChildExited:
        """Wait until the child ends by itself; the error says how it did."""
        exit_code = await self._started.wait()
        if self._reading is not None:
            await asyncio.wait({self._reading})  # the last line usually has the reason
        return ChildExited(self._spec.name, exit_code, self._last_line)

    async def stop(self, hurry: asyncio.Event) -> None:
        """Send SIGTERM; again when the grace period is over or `hurry` is set; then SIGKILL."""
        if self._process is None:
            return
        for signal_number, seconds in (
            (signal.SIGTERM, self._spec.grace_seconds),
            (signal.SIGTERM, SECOND_SIGNAL_SECONDS),  # the second one: don't wait for running jobs
            (signal.SIGKILL, None),
        ):
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal_number)
            if await self._ends_within(seconds, hurry if signal_number is signal.SIGTERM else None):
                break
            hurry = asyncio.Event()  # used up: from here on only time counts
        if self._reading is not None:
            await self._reading

    async def _ends_within(self, seconds: float | None, hurry: asyncio.Event | None) -> bool:
        process = self._started
        async with asyncio.TaskGroup() as group:
            ended = group.create_task(process.wait())
            hurried = group.create_task((hurry or asyncio.Event()).wait())
            await asyncio.wait(
                {ended, hurried}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            ended.cancel()
            hurried.cancel()
        return process.returncode is not None

    async def _read(self) -> None:
        stdout = self._started.stdout
        assert stdout is not None  # noqa: S101  it is a pipe, which asyncio's types don't know
        async for line in _lines(stdout):
            self._last_line = line or self._last_line
            self._on_line(self._spec.name, line)
            if not self._ready.done() and (match := self._spec.ready.search(line)):
                self._ready.set_result(match[1] if match.re.groups else "")


async def _lines(stream: asyncio.StreamReader) -> AsyncGenerator[str]:
    """Lines of any length: after 64 KiB without an end, those are passed on as a line."""
    rest = b""
    while chunk := await stream.read(LINE_MAX_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) >= LINE_MAX_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")
    if rest:
        yield rest.decode("utf-8", "replace")
