"""The processes of the benchmarks: a Postgres with fsync on, workers, a simulated vendor."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from evalqueue.postgres import schema
from evalqueue.postgres.database import Database
from evalqueue.postgres.embedded.server import Embedded

HERE = Path(__file__).parent


@contextmanager
def _home() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="evalqueue-bench-") as folder:
        home = Path(folder)
        home.chmod(0o711)  # as root, Postgres runs as another account
        yield home


@asynccontextmanager
async def postgres(preloaded: str | None = None) -> AsyncGenerator[Database]:
    """A migrated database on a server of its own (fsync on, default settings).

    Args:
        preloaded: a library of Postgres that is loaded at its start.
    """
    with _home() as home:
        server = Embedded(home)
        if preloaded is not None:
            with psycopg.connect(server.url, autocommit=True) as connection:
                setting = sql.SQL("ALTER SYSTEM SET shared_preload_libraries = {}")
                connection.execute(setting.format(sql.Literal(preloaded)))
            server.stop()
            server = Embedded(home)
        database = Database(server.url)
        await database.open()
        await schema.migrate(database)
        yield database
        await database.close()
        server.stop()


@asynccontextmanager
async def process(*command: str, **environment: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A child process for as long as the block lasts."""
    child = await asyncio.create_subprocess_exec(
        *command, env=os.environ | environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield child
    finally:
        child.terminate()
        await child.wait()


def worker(database: Database, *flags: str, **environment: str):
    """A plain procrastinate worker process on this database."""
    procrastinate = str(Path(sys.executable).with_name("procrastinate"))
    return process(
        procrastinate, "--app=evalqueue.daemon.app", "worker", *flags,
        DATABASE_URL=database.conninfo, PYTHONPATH=str(HERE), **environment,
    )  # fmt: skip


@asynccontextmanager
async def vendor(latency_ms: float, port: int = 18725) -> AsyncGenerator[str]:
    """The simulated provider in a process of its own, with a fixed latency."""
    async with process(
        sys.executable, "-m", "evalqueue.evaluators.simulated.vendor.server",
        "--port", str(port), "--latency-ms", str(latency_ms), "--latency-sigma", "0",
    ):  # fmt: skip
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        yield f"http://127.0.0.1:{port}"


def percentiles(name: str, values: Sequence[float], unit: str) -> str:
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    shown = "  ".join(
        f"{label} {at(share):.1f}"
        for label, share in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)]
    )
    return f"{name} ({len(ordered)}): {shown} {unit}"
