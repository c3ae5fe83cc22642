"""A large upload: its duration, its cost for the API's process, and the delay of other requests.

./run bench datasets [MEGABYTES]

The API runs in a process of its own, which measures itself: the lag of its event loop (how late a
sleep of 10 ms ends) and its peak of resident memory. The file is uploaded, uploaded again,
previewed as a file and as the stored dataset, and a conversation of it is read.
"""

import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from processes import percentiles, postgres

from evalqueue import Client, Settings
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.formats.csv import COLUMNS
from evalqueue.http.server import serve
from evalqueue.postgres.database import Database

PORT = 18726
TICK = 0.01  # seconds
WORDS = "idli dosa rice dal two kcal protein breakfast logged meal summary ठीक है 🙂"


def write(path: Path, megabytes: int) -> int:
    """Write a CSV of conversations with five messages each, in mixed order; returns the rows."""
    rng = random.Random(1)  # noqa: S311
    texts = [" ".join(rng.choices(WORDS.split(), k=60)) for _ in range(500)]
    rows = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(COLUMNS) + "\n")
        while file.tell() < megabytes * 1024**2:
            for _ in range(10_000):
                rows += 1
                thread = rows // 25 * 5 + rows % 5
                file.write(
                    f"thr_{thread:07},usr_{thread % 9973},s{thread},{rng.choice(texts)},"
                    f'"{rng.choice(texts)}, {rng.choice(texts)}",FoodAgent,'
                    f"2025-01-{rows % 28 + 1:02}T10:{rows % 60:02}:00Z,0,r{rows},logging,\n"
                )
    return rows


async def serve_and_measure(dsn: str) -> None:
    """The child process: serve, and answer each line on stdin with the latest measurements."""
    lags: list[float] = []

    async def probe() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK)
            lags.append((time.perf_counter() - began - TICK) * 1000)

    client = Client(dsn, job_types=[EvaluateBatch], settings=Settings(port=PORT))
    probing = asyncio.create_task(probe())
    async with client, serve(client):
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps({"lags": lags, "peak_mb": peak_mb()}), flush=True)
            lags.clear()
    probing.cancel()


def peak_mb() -> float:
    """The peak of this process's resident memory since the last call (Linux)."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


class ApiProcess:
    """The API's process and its measurements."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    async def since_last(self) -> Any:
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(b"\n")
        return json.loads(await self._child.stdout.readline())


@asynccontextmanager
async def api(database: Database) -> AsyncGenerator[ApiProcess]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", database.conninfo,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
    )  # fmt: skip
    try:
        assert child.stdout
        assert await child.stdout.readline() == b"ready\n"
        yield ApiProcess(child)
    finally:
        child.terminate()
        await child.wait()


async def main(megabytes: int) -> None:
    with tempfile.TemporaryDirectory(prefix="evalqueue-bench-") as folder:
        path = Path(folder) / "large.csv"
        rows = write(path, megabytes)
        print(f"{path.stat().st_size / 1024**2:.0f} MB, {rows:,} messages")
        async with (
            postgres() as database,
            api(database) as measured,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=3600) as http,
        ):
            await http.get("/healthz")
            await asyncio.sleep(2)
            idle = await measured.since_last()
            print(f"idle: peak {idle['peak_mb']:.0f} MB, " + percentiles("lag", idle["lags"], "ms"))

            async def step(name: str, path_: str, **request: Any) -> Any:
                began = time.perf_counter()
                waits: list[float] = []
                polling = asyncio.create_task(poll(http, waits))
                reply = await http.post(path_, **request)
                took = time.perf_counter() - began
                polling.cancel()
                figures = await measured.since_last()
                print(
                    f"{name}: {reply.status_code} in {took:.1f} s, peak {figures['peak_mb']:.0f} MB"
                )
                print("   " + percentiles("event loop's lag", figures["lags"], "ms"))
                print("   " + percentiles("another request", waits, "ms"))
                return reply.json()

            with path.open("rb") as file:
                dataset = await step("upload", "/api/datasets", files={"file": ("large.csv", file)})
                file.seek(0)
                await step("again", "/api/datasets", files={"file": ("large.csv", file)})
                file.seek(0)
                preview = "/api/eval-runs/preview"
                await step("preview of the file", preview, files={"file": ("large.csv", file)})
            await step("preview of the dataset", preview, json={"dataset_id": dataset["id"]})
            async with database.connection() as connection:
                began = time.perf_counter()
                for n in range(200):
                    await datasets.thread(connection, dataset["id"], f"thr_{n * 5:07}")
                took = (time.perf_counter() - began) / 200 * 1000
                size = await (
                    await connection.execute("SELECT pg_total_relation_size('dataset_threads')")
                ).fetchone()
            print(f"one conversation: {took:.2f} ms; stored: {size[0] / 1024**2:.0f} MB")  # type: ignore[index]  a row


async def poll(http: httpx.AsyncClient, waits: list[float]) -> None:
    """Another client, which requests the list of jobs ten times a second."""
    while True:
        began = time.perf_counter()
        await http.get("/api/jobs")
        waits.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve_and_measure(sys.argv[2]))
    else:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
