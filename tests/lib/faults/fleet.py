"""Worker processes that tests start, freeze, resume, stop and kill.

Each is `procrastinate --app=evalqueue.daemon.app worker` in a process of its own. They are forked
from a server that has imported the libraries once, because a second of imports for each process
would dominate the duration of these tests. `tests/acceptance` starts the same command directly.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from forking import fork_worker

PATIENCE = 90.0  # seconds
LOOK_INTERVAL = 0.05  # seconds
LEASE_SECONDS = 120
"""Longer than any test. A test of an expired lease sets a shorter one, or expires it by SQL."""
NO_POLLING = "--fetch-job-polling-interval=3600"
"""For a worker that fetches jobs only when it is notified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker process."""

    process: BaseProcess
    log: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def freeze(self) -> None:
        """SIGSTOP: the process is suspended until `thaw`; its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM."""
        os.kill(self.pid, signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL, and wait until the process has ended."""
        self.process.kill()
        await self.wait()

    async def wait(self) -> int:
        """Wait until the process has ended; returns its exit code."""
        await asyncio.to_thread(self.process.join, PATIENCE)
        code = self.process.exitcode
        assert code is not None, f"{self.log.name} still runs:\n{self.log_text()}"
        return code

    @property
    def is_alive(self) -> bool:
        return self.process.is_alive()

    def log_text(self) -> str:
        """All that the worker has logged so far."""
        return self.log.read_text("utf-8", "replace")

    async def until_logged(self, text: str, *, times: int = 1) -> None:
        """Wait until the worker has logged this text so many times."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while self.log_text().count(text) < times:
                    await asyncio.sleep(LOOK_INTERVAL)
        assert self.log_text().count(text) >= times, f"never logged {text!r}:\n{self.log_text()}"

    async def ready(self) -> "Worker":
        await self.until_logged("is ready: queues")
        return self


class Fleet:
    """The workers of one test."""

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self.logs = logs
        self._environment = dict(environment)
        self.workers: list[Worker] = []

    def start(
        self, address: str, *flags: str, name: str | None = None, **environment: str
    ) -> Worker:
        """Start a worker on the database at this address."""
        name = name or f"worker-{len(self.workers)}"
        log = self.logs / f"{name}.log"
        log.touch()
        settings = {
            "DATABASE_URL": address,
            "EVALQUEUE_LEASE_SECONDS": str(LEASE_SECONDS),
            "EVALQUEUE_IMPORTS": "faults.work",
        }
        process = fork_worker(
            ["--name", name, *flags], os.environ | settings | self._environment | environment, log
        )
        worker = Worker(process=process, log=log)
        self.workers.append(worker)
        return worker

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator["Fleet"]:
        """Kills all workers when the block ends."""
        try:
            yield self
        finally:
            for worker in self.workers:
                worker.process.kill()
            for worker in self.workers:
                await worker.wait()
