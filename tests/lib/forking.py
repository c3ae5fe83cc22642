"""Processes forked from a server that has imported the program.

A second of imports for each process would be most of what many tests do. The same programs, started
as their users start them, are what `tests/acceptance` and `Shell.start` of `tests/cli` run.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

PIPE_BYTES = 65536  # what a pipe takes although no one reads

# All that any of the programs needs: there is one server in a process.
_PRELOADED = [
    "asyncpg", "evalqueue.cli", "evalqueue.evaluators.handlers", "openai", "procrastinate.cli",
]  # fmt: skip


def forking() -> ForkServerContext:
    """The server that has everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def warm_up() -> None:
    """Have the libraries imported now, rather than while a test's event loop waits for that."""
    nothing = forking().Process(target=os.getpid)
    nothing.start()
    nothing.join()


@dataclass(slots=True)
class Command:
    """`evalqueue` with some arguments, in a process and a session of its own."""

    process: BaseProcess
    out: IO[bytes]
    err: IO[bytes]

    @classmethod
    def start(
        cls, arguments: Sequence[str], *, stdin: str, environment: Mapping[str, str], folder: Path
    ) -> "Command":
        """Start it; `environment` is all of its environment, `folder` where it works."""
        given = stdin.encode()
        assert len(given) <= PIPE_BYTES
        reading, writing = os.pipe()
        os.write(writing, given)
        os.close(writing)
        out, err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115  `wait` closes them
        process = forking().Process(
            target=_be_a_command,
            args=(
                [DupFd(reading), DupFd(out.fileno()), DupFd(err.fileno())],
                list(arguments), dict(environment), str(folder),
            ),
            daemon=True,
        )  # fmt: skip
        process.start()
        os.close(reading)
        return cls(process, out, err)

    def wait(self) -> tuple[int, str, str]:
        """Its exit code and what it has written, once it has ended."""
        self.process.join()
        said = []
        for file in (self.out, self.err):
            file.seek(0)
            said.append(file.read().decode())
            file.close()
        assert self.process.exitcode is not None
        return self.process.exitcode, said[0], said[1]


def _be_a_command(
    files: Sequence[Any], arguments: Sequence[str], environment: Mapping[str, str], folder: str
) -> None:
    os.setsid()
    for number, file in enumerate(files):
        descriptor = file.detach()
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = os.fdopen(0, "r", encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, "utf-8", "backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = ["evalqueue", *arguments]
    from evalqueue.cli import main

    main(arguments)
