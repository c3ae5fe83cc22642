"""Worker processes: started, frozen, thawed, told to stop, killed.

Each is `procrastinate --app=evalqueue.daemon.app worker` in a process of its own. They are forked
from a server that has imported the libraries once, since a second of imports each would be most of
what these tests do; that very command, started as a person would, is what tests/acceptance runs
for a batch.
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
LOOK_INTERVAL = 0.02  # seconds
LEASE_SECONDS = 120
"""Outlasts every test: whose lease is to run out has a shorter one, or is helped."""
NO_POLLING = "--fetch-job-polling-interval=3600"
"""For a worker that does nothing unless it is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker process of its own."""

    process: BaseProcess
    log: Path

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def freeze(self) -> None:
        """SIGSTOP: nothing of it runs until it is thawed; its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM, the first or the second."""
        os.kill(self.pid, signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        await self.gone()

    async def gone(self) -> int:
        """Its exit code, once it has one."""
        await asyncio.to_thread(self.process.join, PATIENCE)
        code = self.process.exitcode
        assert code is not None, f"{self.log.name} still runs:\n{self.told()}"
        return code

    @property
    def is_alive(self) -> bool:
        return self.process.is_alive()

    def told(self) -> str:
        """All that it has logged."""
        return self.log.read_text("utf-8", "replace")

    async def until_told(self, words: str, *, times: int = 1) -> None:
        """Wait until it has logged these words."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while self.told().count(words) < times:
                    await asyncio.sleep(LOOK_INTERVAL)
        assert self.told().count(words) >= times, f"never said {words!r}:\n{self.told()}"

    async def ready(self) -> "Worker":
        await self.until_told("is ready: queues")
        return self


class Fleet:
    """The workers of one test. All of them are gone when it ends."""

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
    async def at_work(self) -> AsyncGenerator["Fleet"]:
        try:
            yield self
        finally:
            for worker in self.workers:
                worker.process.kill()
            for worker in self.workers:
                await worker.gone()
