"""Many watchers of one API process, while jobs flush their progress.

./run bench watchers [WATCHERS] [SECONDS]

The API is `evalqueue serve` in a process of its own, spoken to over real sockets. Eight jobs flush
their progress four times a second by what a worker uses (`store.flush`), each with the
time in its message; the delay is measured with the same clock. A twentieth of the
watchers follow a single job, and five more never read. For 1,000 watchers: ulimit -n 4096.
"""

import asyncio
import socket
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import psutil
from processes import percentiles, postgres, process

from evalqueue.postgres import store
from evalqueue.postgres.database import Database

JOBS = 8
FLUSH_INTERVAL = 0.25  # seconds
STALLED = 5
PORT = 18731
WARM_UP = 3.0  # seconds


@dataclass(slots=True)
class Received:
    """What the watchers received."""

    delays_ms: list[float] = field(default_factory=list[float])
    events: int = 0
    resyncs: int = 0
    ended: int = 0
    counts: bool = False


class Reader(asyncio.Protocol):
    """A watcher that reads as fast as it can, and costs this process little."""

    def __init__(self, path: str, seen: Received) -> None:
        self._path, self._seen, self._rest = path, seen, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.time()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._seen.resyncs += line.startswith(b"event: resync")
            if line.startswith(b"data: {") and b'"sent ' in line and self._seen.counts:
                sent = float(line.partition(b'"sent ')[2].partition(b'"')[0])
                self._seen.delays_ms.append((now - sent) * 1000)
                self._seen.events += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._seen.ended += 1


async def running_jobs(database: Database) -> list[UUID]:
    async with database.connection() as connection:
        await connection.execute(
            "SELECT evalqueue_submit_job('noop') FROM generate_series(1, %s)", [JOBS]
        )
        await connection.execute(
            "UPDATE procrastinate_jobs SET status = 'doing'"
            " WHERE id IN (SELECT task_id FROM jobs WHERE status = 'queued')"
        )
        cursor = await connection.execute("SELECT id FROM jobs WHERE status = 'running'")
        return [job_id for (job_id,) in await cursor.fetchall()]


async def flush_progress(database: Database, job_id: UUID, offset: float) -> None:
    await asyncio.sleep(offset)
    current = 0
    while True:
        current += 1
        progress = {"current": current, "total": 100_000, "message": f"sent {time.time()}"}
        async with database.connection() as connection:
            await store.flush(
                connection, job_id=job_id, attempt=1, progress=progress, lease_seconds=600
            )
        await asyncio.sleep(FLUSH_INTERVAL)


@asynccontextmanager
async def api(database: Database, watchers: int) -> AsyncGenerator[psutil.Process]:
    async with process(
        str(Path(sys.executable).with_name("evalqueue")), "serve", "--port", str(PORT),
        DATABASE_URL=database.conninfo, EVALQUEUE_MAX_WATCHERS=str(watchers + STALLED),
    ) as child:  # fmt: skip
        for _ in range(200):
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", PORT)
                writer.close()
                break
            await asyncio.sleep(0.05)
        yield psutil.Process(child.pid)


async def connect(database: Database, watchers: int, jobs: list[UUID], seen: Received) -> None:
    loop = asyncio.get_running_loop()
    for number in range(watchers):
        alone = number % 20 == 0
        path = f"/api/jobs/{jobs[number % JOBS]}/events" if alone else "/api/events"
        await loop.create_connection(lambda path=path: Reader(path, seen), "127.0.0.1", PORT)


def stalled_watchers() -> list[socket.socket]:
    peers: list[socket.socket] = []
    for _ in range(STALLED):
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", PORT))
        peer.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        peers.append(peer)
    return peers


async def connections(database: Database) -> int:
    """The number of the API's connections: all but this process's."""
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        )
        (number,) = await cursor.fetchone() or (0,)
    return number - database.pool.get_stats()["pool_size"]


def established(server: psutil.Process) -> int:
    return sum(each.status == "ESTABLISHED" for each in server.net_connections("tcp"))


async def main(watchers: int, seconds: float) -> None:
    seen = Received()
    async with postgres() as database, api(database, watchers) as server:
        jobs = await running_jobs(database)
        await connect(database, 1, jobs, Received())
        await asyncio.sleep(WARM_UP)
        before = server.memory_info().rss
        await connect(database, watchers - 1, jobs, seen)
        await asyncio.sleep(WARM_UP)
        idle = server.memory_info().rss
        peers = stalled_watchers()
        async with asyncio.TaskGroup() as tasks:
            flushing = [
                tasks.create_task(flush_progress(database, job_id, number * FLUSH_INTERVAL / JOBS))
                for number, job_id in enumerate(jobs)
            ]
            await asyncio.sleep(WARM_UP)
            began, used = time.monotonic(), sum(server.cpu_times()[:2])
            seen.counts = True
            await asyncio.sleep(seconds)
            seen.counts = False
            took, used = time.monotonic() - began, sum(server.cpu_times()[:2]) - used
            held = await connections(database)
            busy = server.memory_info().rss
            left = established(server)
            for each in flushing:
                each.cancel()
        kib = [(rss - before) / watchers / 1024 for rss in (idle, busy)]
        print(
            f"{watchers} watchers, {JOBS} jobs, {1 / FLUSH_INTERVAL:.0f} flushes a second each\n"
            f"CPU of the API: {used / took:.0%} of a core; {seen.events / took:.0f} events/s\n"
            f"{percentiles('sent → arrived', seen.delays_ms, 'ms')}\n"
            f"RSS a watcher: {kib[0]:.0f} KiB, under load {kib[1]:.0f} KiB\n"
            f"connections of the API to Postgres: {held}\n"
            f"left of {STALLED} that never read: {left - watchers}; others that ended: {seen.ended}"
            f", resynchronized: {seen.resyncs}"
        )
        for peer in peers:
            peer.close()


asyncio.run(main(*(int(each) for each in (sys.argv[1:] + ["1000", "30"][len(sys.argv) - 1 :]))))
