"""Real worker processes, driven as a person would: started, signalled, killed."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from evalqueue import Client
from evalqueue.testing import Behaviour, SimulatedServer

StartDaemon = Callable[..., AbstractAsyncContextManager["Daemon"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A worker process of its own."""

    process: asyncio.subprocess.Process
    log: Path

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


@pytest.fixture
async def judge() -> AsyncGenerator[SimulatedServer]:
    """A simulated LLM vendor at 200 ms a call."""
    async with SimulatedServer(Behaviour(latency_ms=200, latency_sigma=0)) as server:
        yield server


@pytest.fixture
async def client(
    dsn: str, judge: SimulatedServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Client]:
    """A client in an environment that knows the simulated vendor, as a service would have it."""
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    monkeypatch.setenv("EVALQUEUE_SIMULATED_URL", judge.url)
    async with Client(dsn) as client:
        yield client


@pytest.fixture
def start_daemon(dsn: str, judge: SimulatedServer, tmp_path: Path) -> StartDaemon:
    """Start `procrastinate --app=evalqueue.daemon.app worker`; it is killed at the end."""

    @asynccontextmanager
    async def start(*flags: str, **environment: str) -> AsyncGenerator[Daemon]:
        log = tmp_path / f"worker-{len(list(tmp_path.iterdir()))}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                str(Path(sys.executable).with_name("procrastinate")),
                "--verbose", "--app=evalqueue.daemon.app", "worker", *flags,
                stdout=output, stderr=output,
                env=os.environ
                | {
                    "DATABASE_URL": dsn,
                    "EVALQUEUE_LLM_PROVIDER": "simulated",
                    "EVALQUEUE_SIMULATED_URL": judge.url,
                    "EVALQUEUE_LEASE_SECONDS": "2",
                }
                | environment,
            )  # fmt: skip
        try:
            yield Daemon(process=process, log=log)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    return start
