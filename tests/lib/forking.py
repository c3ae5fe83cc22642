"""Processes forked from a server that has imported the program.

A second of imports for each process would dominate the duration of many tests. `tests/acceptance`
and `Shell.start` of `tests/cli` start the same programs directly.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

PIPE_BYTES = 65536  # what a pipe holds before a write blocks

# What the programs import, also when they first need it, because a process has one server.
_PRELOADED = [
    "asyncpg", "openai", "procrastinate.cli", "uvicorn.lifespan.on", "uvicorn.loops.asyncio",
    "uvicorn.protocols.http.h11_impl",
    "evalqueue.cli.main", "evalqueue.cli.commands.doctor", "evalqueue.cli.commands.fleet",
    "evalqueue.cli.commands.jobs", "evalqueue.cli.stack.worker_processes",
    "evalqueue.evaluators.handlers", "evalqueue.evaluators.labels.calibrate",
    "evalqueue.evaluators.simulated.chatbot.server", "evalqueue.evaluators.simulated.vendor.server",
    "evalqueue.http.server",
]  # fmt: skip


def forking() -> ForkServerContext:
    """The server that has imported the programs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def warm_up() -> None:
    """Start the server now, so that no test's event loop waits for it."""
    nothing = forking().Process(target=os.getpid)
    nothing.start()
    nothing.join()


def fork_command(
    arguments: Sequence[str], files: Sequence[int], environment: Mapping[str, str], folder: Path
) -> BaseProcess:
    """`evalqueue` with these arguments, in a process and a session of its own.

    `files` are its stdin, stdout and stderr, `environment` is its complete environment, and
    `folder` its working directory.
    """
    process = forking().Process(
        target=_be_a_command,
        args=([DupFd(file) for file in files], list(arguments), dict(environment), str(folder)),
        daemon=True,
    )
    process.start()
    return process


def fork_worker(flags: Sequence[str], environment: Mapping[str, str], log: Path) -> BaseProcess:
    """`procrastinate worker` with these flags and this environment. It writes to `log`."""
    arguments = ["procrastinate", "--verbose", "--app=evalqueue.daemon.app", "worker", *flags]
    process = forking().Process(
        target=_be_a_worker, args=(arguments, dict(environment), str(log)), daemon=True
    )
    process.start()
    return process


@dataclass(slots=True)
class Command:
    """A process that the test waits for. Its output goes to files."""

    process: BaseProcess
    out: IO[bytes]
    err: IO[bytes]

    @classmethod
    def start(
        cls, arguments: Sequence[str], *, stdin: str, environment: Mapping[str, str], folder: Path
    ) -> "Command":
        given = stdin.encode()
        assert len(given) <= PIPE_BYTES
        reading, writing = os.pipe()
        os.write(writing, given)
        os.close(writing)
        out, err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115  `wait` closes them
        files = (reading, out.fileno(), err.fileno())
        process = fork_command(arguments, files, environment, folder)
        os.close(reading)
        return cls(process, out, err)

    def wait(self) -> tuple[int, str, str]:
        """Wait until it has ended; returns its exit code, stdout and stderr."""
        self.process.join()
        output = []
        for file in (self.out, self.err):
            file.seek(0)
            output.append(file.read().decode())
            file.close()
        assert self.process.exitcode is not None
        return self.process.exitcode, output[0], output[1]


@dataclass(slots=True)
class Program:
    """A process that goes on running. Its output is read from a pipe."""

    arguments: Sequence[str]
    process: BaseProcess
    stdout: IO[str]
    """Its stdout and stderr."""

    @classmethod
    def start(
        cls, arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path
    ) -> "Program":
        reading, writing = os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        process = fork_command(arguments, (nothing, writing, writing), environment, folder)
        os.close(writing)
        os.close(nothing)
        return cls(arguments, process, os.fdopen(reading, encoding="utf-8"))

    def send_signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait(self, seconds: float | None = None) -> None:
        """Wait until it has ended."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "it is still running"

    def kill(self) -> None:
        self.process.kill()
        self.wait()
        self.stdout.close()


def _be_a_command(
    files: Sequence[Any], arguments: Sequence[str], environment: Mapping[str, str], folder: str
) -> None:
    os.setsid()
    for number, file in enumerate(files):
        descriptor = file.detach()
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = os.fdopen(0, "r", encoding="utf-8", closefd=False)
    buffered = -1 if "PYTHONUNBUFFERED" not in environment else 1  # lines
    sys.stdout = os.fdopen(1, "w", buffered, "utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, "utf-8", "backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = ["evalqueue", *arguments]
    from evalqueue.cli.main import main

    main(arguments)


def _be_a_worker(arguments: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    with open(log, "ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = list(arguments)
    from procrastinate.cli import main

    main()
