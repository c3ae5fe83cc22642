"""Real worker processes, driven as a person would: started, signalled, killed."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg
import pytest
from forking import fork_worker

from evalqueue import Client
from evalqueue.testing import Behaviour, SimulatedServer

PATIENCE = 60.0  # seconds
AS_USERS_DO = {"test_batch.py", "test_mission.py"}
StartDaemon = Callable[..., AbstractAsyncContextManager["Daemon"]]


@dataclass(frozen=True, slots=True)
class Forked:
    """A process that was forked, as one that was started."""

    process: BaseProcess

    @property
    def pid(self) -> int | None:
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()

    def send_signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    async def wait(self) -> int:
        await asyncio.to_thread(self.process.join)
        assert self.process.exitcode is not None
        return self.process.exitcode


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A worker process of its own."""

    process: asyncio.subprocess.Process | Forked
    log: Path
    dsn: str

    async def kill(self) -> None:
        """Until its sessions have ended, too: what it said last may still be carried out."""
        self.process.kill()
        await self.process.wait()
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        async with (
            asyncio.timeout(PATIENCE),
            await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection,
        ):
            while True:
                cursor = await connection.execute(sessions, [self.log.stem])
                if await cursor.fetchone() == (0,):
                    return
                await asyncio.sleep(0.02)

    async def declare_lost(self) -> None:
        """Once it is killed: its leases are over, and that is seen, without anyone's waiting."""
        async with await psycopg.AsyncConnection.connect(self.dsn) as connection:
            held = await connection.execute(
                "UPDATE jobs SET lease_expires_at = clock_timestamp() FROM job_workers"
                " WHERE status = 'running' AND worker = name AND pid = %s",
                [self.process.pid],
            )
            cursor = await connection.execute("SELECT evalqueue_recover_jobs()")
            assert await cursor.fetchone() == (held.rowcount,)

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
def start_daemon(
    dsn: str, judge: SimulatedServer, tmp_path: Path, request: pytest.FixtureRequest
) -> StartDaemon:
    """Start `procrastinate --app=evalqueue.daemon.app worker`; it is killed at the end.

    In the files of `AS_USERS_DO` by that very command; elsewhere it is forked from a process that
    has imported the libraries, which would be most of what many tests do. Its leases are such that
    no worker loses its jobs because the machine is busy.
    """

    @asynccontextmanager
    async def start(*flags: str, **environment: str) -> AsyncGenerator[Daemon]:
        log = tmp_path / f"worker-{len(list(tmp_path.iterdir()))}.log"
        settings = os.environ | {
            "DATABASE_URL": f"{dsn}&application_name={log.stem}",
            "EVALQUEUE_LLM_PROVIDER": "simulated",
            "EVALQUEUE_SIMULATED_URL": judge.url,
            "EVALQUEUE_LEASE_SECONDS": "20",
        }
        log.touch()
        process: asyncio.subprocess.Process | Forked
        if request.path.name in AS_USERS_DO:
            with log.open("wb") as output:
                process = await asyncio.create_subprocess_exec(
                    str(Path(sys.executable).with_name("procrastinate")),
                    "--verbose", "--app=evalqueue.daemon.app", "worker", *flags,
                    stdout=output, stderr=output, env=settings | environment,
                )  # fmt: skip
        else:
            process = Forked(fork_worker(flags, settings | environment, log))
        try:
            yield Daemon(process=process, log=log, dsn=dsn)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    return start
