"""Several worker processes under one parent, for `evalqueue worker --processes N`.

Each child is a program of its own, not a fork, and is known to the fleet as a worker. A child is in
a session of its own, so that Ctrl-C reaches only the parent, and its stdin is a pipe from the
parent: however the parent ends, the pipe closes and the child stops by itself (`--until-eof`).
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Generator, Sequence

from evalqueue.cli.output.exit_codes import ExitCode

QUICK_EXIT_SECONDS = 30.0  # a child that ends sooner did not really start
RESTART_DELAY_SECONDS = 0.5  # before a child is started again; doubled by each quick exit
RESTART_DELAY_MAX_SECONDS = 30.0
SIGNAL_EXIT = 128  # what a shell adds to the number of the signal that ended a process

STOPPED = frozenset({SIGNAL_EXIT + signal.SIGINT, SIGNAL_EXIT + signal.SIGTERM})
"""Of a child without handlers for these signals: it has not begun to work, or has ended its work. A
second signal may come just then."""

HOPELESS = frozenset({ExitCode.USAGE, ExitCode.NO_DATABASE, ExitCode.OUTDATED})
"""Exit codes that the same command would have again."""

logger = logging.getLogger(__name__)


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class WorkerProcesses:
    """Starts worker processes, restarts those that end unexpectedly, and stops all of them.

    Args:
        arguments: of `evalqueue worker`, for every child.
        restart: whether a child that ends without having been stopped is started again.
        first_port: where the first child serves its metrics; the others take the next ports.
            0: each takes a free one. None: none does.
    """

    def __init__(
        self, count: int, arguments: Sequence[str], *, restart: bool, first_port: int | None
    ) -> None:
        self._count = count
        self._arguments = ("worker", "--processes=1", "--until-eof", *arguments)
        self._restart = restart
        self._first_port = first_port
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._worst = 0

    async def run(self) -> int:
        """Until all have ended. Returns the worst exit code of a child."""
        with self._signals():
            async with asyncio.TaskGroup() as group:
                for number in range(self._count):
                    group.create_task(self._keep(number), name=f"worker process {number}")
        return self._worst

    async def _keep(self, number: int) -> None:
        """One of the processes, started again as long as that is wanted."""
        delay = RESTART_DELAY_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._run_child(number)
            if self._stopping.is_set() and code in STOPPED:
                return
            if self._stopping.is_set() or (code == 0 and not self._restart):
                self._worst = max(self._worst, code)
                return
            if code in HOPELESS or not self._restart:
                logger.error("A worker process ended with exit code %d: stopping", code)
                self._worst = max(self._worst, code)
                self._on_signal(signal.SIGTERM)
                return
            quick = time.monotonic() - began < QUICK_EXIT_SECONDS
            delay = min(RESTART_DELAY_MAX_SECONDS, delay * 2) if quick else RESTART_DELAY_SECONDS
            logger.error(
                "A worker process ended with exit code %d: started again in %.0f s", code, delay
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()

    async def _run_child(self, number: int) -> int:
        """Start a child and wait until it has ended. Returns its exit code, as a shell shows it."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "evalqueue", *self._arguments, *self._port_of(number),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        self._children[number] = child
        if self._stopping.is_set():  # the signal came while it was being started
            child.send_signal(signal.SIGTERM)
        code = await child.wait()
        del self._children[number]
        return code if code >= 0 else SIGNAL_EXIT - code

    def _port_of(self, number: int) -> Sequence[str]:
        if self._first_port is None:
            return ()
        return (f"--metrics-port={self._first_port and self._first_port + number}",)

    def _on_signal(self, number: int) -> None:
        """Pass it on. A second one makes the children send their running jobs back."""
        self._stopping.set()
        for child in tuple(self._children.values()):
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)

    @contextlib.contextmanager
    def _signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
