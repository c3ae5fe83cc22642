"""The sides of bench/faults, with one interface: procrastinate with default settings, procrastinate
with its documented task for stalled jobs, and this package.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, LiteralString, Protocol
from uuid import UUID

import baseline
from faults.deployment import create_tables
from faults.server import Server
from faults.work import Steps
from procrastinate import App

from evalqueue import Client, NotCancellable
from evalqueue.postgres import schema
from evalqueue.postgres.database import Database

LEASE_SECONDS = 5.0
CONCURRENCY = 4
RESTART_DELAY = 1.0  # seconds
LOG_PATIENCE = 30.0  # seconds
LISTEN_PATIENCE = 3.0  # seconds
LOOK_INTERVAL = 0.02  # seconds

HERE = Path(__file__).parent
PARTS = HERE.parents[1] / "tests" / "lib"


class Worker:
    """A worker process under a supervisor, which restarts it unless it was stopped on purpose."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._environment = os.environ | environment
        self._log = log
        self._stopping = False
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self.exits: list[int] = []
        log.touch()

    def start(self) -> None:
        self._supervisor = asyncio.create_task(self._supervise())

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal. After one that ends the process it is not restarted."""
        self._stopping = self._stopping or number not in (signal.SIGSTOP, signal.SIGCONT)
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def wait(self) -> None:
        """Wait until the process has ended for good."""
        assert self._supervisor is not None
        await self._supervisor

    async def close(self) -> None:
        self.send_signal(signal.SIGKILL)
        await self.wait()

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def log_text(self) -> str:
        """All that the worker has logged so far."""
        return self._log.read_text("utf-8", "replace")

    async def until_logged(self, text: str) -> bool:
        """Wait until the worker has logged this text; returns False after `LOG_PATIENCE`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOG_PATIENCE):
                while text not in self.log_text():
                    await asyncio.sleep(LOOK_INTERVAL)
        return text in self.log_text()

    async def _supervise(self) -> None:
        while True:
            with self._log.open("ab") as output:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command, env=self._environment, stdout=output, stderr=output
                )
            code = await self._process.wait()
            if self._stopping:
                return
            self.exits.append(code)
            await asyncio.sleep(RESTART_DELAY)
            if self._stopping:
                return


class Side(Protocol):
    """The interface of a queue for the scenarios."""

    name: str
    claim: str
    """A regular expression for the statement that claims a job."""
    finish: str
    """A regular expression for the statement that finishes a job."""
    ready: str
    """The line that a worker logs when it is ready."""
    states: LiteralString
    """A query for every job's id and state: waiting, running, done, failed or cancelled."""
    failed_attempts: LiteralString
    """A query for every job's id and the number of its attempts that counted as failed."""
    finished_rows: LiteralString
    """Statements that insert a million jobs that are over."""

    async def set_up(self, server: Server, database: str) -> None: ...

    async def submit(
        self,
        address: str,
        *,
        items: int,
        seconds: float,
        due: datetime | None,
        how: Mapping[str, Any],
    ) -> str: ...

    async def cancel(self, address: str, job: str) -> None: ...

    async def recover(self, address: str, job: str) -> None:
        """Return a job to the queue whose worker has sent no heartbeat for long."""
        ...

    def worker(self, kind: str) -> tuple[str, Mapping[str, str]]:
        """The app of a worker, and its environment.

        Args:
            kind: "plain", "alone" (doesn't recover other workers' jobs), "older" (doesn't know the
                task), "pooled" (configured for a pooler).
        """
        ...


class Procrastinate:
    """procrastinate and one task."""

    claim = "procrastinate_fetch_job"
    finish = "procrastinate_finish_job"
    ready = "Starting worker on"
    states: LiteralString = """
        SELECT id::text, CASE status WHEN 'todo' THEN 'waiting' WHEN 'doing' THEN 'running'
            WHEN 'succeeded' THEN 'done' WHEN 'failed' THEN 'failed' ELSE 'cancelled' END
        FROM procrastinate_jobs WHERE task_name = 'steps'
    """
    failed_attempts: LiteralString = """
        SELECT id::text, attempts - (status IN ('succeeded', 'failed', 'aborted'))::integer
        FROM procrastinate_jobs WHERE task_name = 'steps'
    """
    finished_rows: LiteralString = """
        SET session_replication_role = replica;
        INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 day');
        INSERT INTO procrastinate_jobs (queue_name, task_name, status, attempts, worker_id)
            SELECT 'default', 'earlier', 'succeeded', 1,
                (SELECT min(id) FROM procrastinate_workers)
            FROM generate_series(1, 1000000);
        ANALYZE procrastinate_jobs;
    """

    def __init__(self, *, is_rescued: bool) -> None:
        self._is_rescued = is_rescued
        self.name = "with retry_stalled" if is_rescued else "procrastinate"

    async def set_up(self, server: Server, database: str) -> None:
        async with _opened(server.address(database)) as app:
            await app.schema_manager.apply_schema_async()
        async with await server.connect(database) as connection:
            await connection.execute(baseline.SCHEMA)

    async def submit(
        self,
        address: str,
        *,
        items: int,
        seconds: float,
        due: datetime | None,
        how: Mapping[str, Any],
    ) -> str:
        how = dict(how)
        priority = how.pop("priority", 0)
        if "after" in how:  # RETRY has the same delay
            how.pop("after")
        async with _opened(address) as app:
            task = app.configure_task("steps", schedule_at=due, priority=priority)
            return str(await task.defer_async(items=items, seconds=seconds, **how))

    async def cancel(self, address: str, job: str) -> None:
        async with _opened(address) as app:
            await app.job_manager.cancel_job_by_id_async(int(job), abort=True)

    async def recover(self, address: str, job: str) -> None:
        """Do at once what its periodic task does after 30 s."""
        async with _opened(address) as app:
            await app.job_manager.retry_job_by_id_async(int(job), datetime.now(UTC))

    def worker(self, kind: str) -> tuple[str, Mapping[str, str]]:
        plain = "rescued" if self._is_rescued else "app"
        app = {"plain": plain, "alone": "app", "older": "older", "pooled": "unprepared"}[kind]
        return f"baseline.{app}", {}


class Evalqueue:
    """This package."""

    name = "evalqueue"
    claim = "evalqueue_claim_jobs"
    finish = "evalqueue_finish_job"
    ready = "is ready: queues"
    states: LiteralString = """
        SELECT id::text, CASE status WHEN 'queued' THEN 'waiting' WHEN 'completed' THEN 'done'
            ELSE status END
        FROM jobs WHERE job_type = 'fault-steps'
    """
    failed_attempts: LiteralString = (
        "SELECT id::text, failed_attempts FROM jobs WHERE job_type = 'fault-steps'"
    )
    finished_rows: LiteralString = """
        SET session_replication_role = replica;
        WITH tasks AS (
            INSERT INTO procrastinate_jobs (queue_name, task_name, status, attempts)
                SELECT 'evalqueue', 'evalqueue.run_job', 'succeeded', 1
                FROM generate_series(1, 1000000) RETURNING id
        )
        INSERT INTO jobs (job_type, status, result, task_id, attempt, started_at, completed_at)
            SELECT 'earlier', 'completed', '{}', id, 1, now(), now() FROM tasks;
        ANALYZE procrastinate_jobs;
        ANALYZE jobs;
    """

    async def set_up(self, server: Server, database: str) -> None:
        own = Database(server.address(database))
        await own.open()
        await schema.migrate(own)
        await own.close()
        async with await server.connect(database) as connection:
            await create_tables(connection)

    async def submit(
        self,
        address: str,
        *,
        items: int,
        seconds: float,
        due: datetime | None,
        how: Mapping[str, Any],
    ) -> str:
        how = dict(how)
        priority = how.pop("priority", 0)
        if how.pop("kills_its_worker", False):
            how["kills_its_worker"] = 1000
        async with Client(address) as client:
            params = Steps(items=items, seconds=seconds, **how)
            job = await client.submit(params, scheduled_at=due, priority=priority)
            return str(job.id)

    async def cancel(self, address: str, job: str) -> None:
        async with Client(address) as client:
            with contextlib.suppress(NotCancellable):
                await client.cancel(UUID(job))

    async def recover(self, address: str, job: str) -> None:
        """Nothing to do: the leader recovers the job when its lease expires."""

    def worker(self, kind: str) -> tuple[str, Mapping[str, str]]:
        return "evalqueue.daemon.app", {
            "EVALQUEUE_LEASE_SECONDS": str(LEASE_SECONDS),
            "EVALQUEUE_IMPORTS": "" if kind == "older" else "faults.work",
        }


SIDES: Sequence[Side] = (
    Procrastinate(is_rescued=False),
    Procrastinate(is_rescued=True),
    Evalqueue(),
)


def worker_process(
    side: Side, kind: str, address: str, direct: str, log: Path, flags: Sequence[str],
    more: Mapping[str, str],
) -> Worker:  # fmt: skip
    """A worker of this side, not yet started: `procrastinate --app=… worker`."""
    app, environment = side.worker(kind)
    procrastinate = str(Path(sys.executable).with_name("procrastinate"))
    command = [
        procrastinate, f"--app={app}", "worker", f"--name={log.stem}",
        f"--concurrency={CONCURRENCY}", *flags,
    ]  # fmt: skip
    places = (os.environ.get("PYTHONPATH", ""), str(PARTS), str(HERE))
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, places))}
    addresses = {"DATABASE_URL": address, "FAULTS_DIRECT": direct}
    return Worker(command, {**paths, **addresses, **environment, **more}, log)


@asynccontextmanager
async def _opened(address: str) -> AsyncGenerator[App]:
    app = baseline.make_app(address)
    async with app.open_async():
        yield app
