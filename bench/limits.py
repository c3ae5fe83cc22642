"""Batches against endpoints with rate limits that no worker knows: verdicts, refusals, use.

./run bench limits [--only NAME…] [--list]

Each row is a vendor in a process of its own, worker processes, and batches of the bundled
conversations. *Used* is the share of the allowance after the 60th second (of short runs: after the
10th).
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from processes import postgres, process, worker

from evalqueue import Client
from evalqueue.evaluators.batch.job_type import EvaluateBatch
from evalqueue.postgres.database import Database

PORT = 18731


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement."""

    name: str
    vendor: tuple[str, ...]
    threads: int = 100
    concurrency: int = 64
    owners: int = 1
    workers: int = 1
    per_minute: float = 600
    provider: str = "simulated"
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


BUCKET = ("--limit-requests=600", "--limit-burst-seconds=1", "--latency-ms=300")
MINUTE_BUCKET = ("--limit-requests=600", "--latency-ms=300")
ROWS = (
    Row(name="600/min, 64 at a time", vendor=BUCKET),
    Row(name="600/min, 64 at a time, 300 threads", vendor=BUCKET, threads=300),
    Row(name="the same, a minute's reserve", vendor=MINUTE_BUCKET, threads=300),
    Row(name="the same, windows", vendor=(*MINUTE_BUCKET, "--limit-kind=window"), threads=300),
    Row(name="two owners, two workers", vendor=BUCKET, threads=80, owners=2, workers=2),
    Row(name="16 at a time, 60 threads", vendor=BUCKET, threads=60, concurrency=16),
    Row(
        name="60/min, fixed windows, no Retry-After",
        vendor=("--limit-requests=60", "--limit-kind=window", "--latency-ms=300"),
        threads=48, per_minute=60,
    ),
    Row(
        name="600/min, headers", vendor=(*BUCKET, "--limit-headers", "--retry-advice=seconds"),
    ),
    Row(
        name="Gemini, 30/min, RetryInfo",
        vendor=(
            "--limit-requests=30", "--limit-kind=window", "--latency-ms=300",
            "--retry-advice=seconds", "--limit-named",
        ),
        threads=8, per_minute=30, provider="gemini",
    ),
    Row(
        name="tokens only, 400,000/min",
        vendor=("--limit-tokens=400000", "--limit-burst-seconds=2", "--latency-ms=300"),
        threads=60,
    ),
    Row(
        name="600/min, halved midway", vendor=(*BUCKET, "--limit-halved-after=300"),
        threads=100, per_minute=300,
    ),
    Row(name="no limit", vendor=("--latency-ms=300",), per_minute=0),
    Row(
        name="no limit, 2 % refused at random", vendor=("--latency-ms=300", "--rate-429=0.02"),
        threads=300, per_minute=0,
    ),
)  # fmt: skip


@asynccontextmanager
async def vendor(options: Sequence[str]) -> AsyncGenerator[str]:
    async with process(
        sys.executable, "-m", "evalqueue.evaluators.simulated.vendor.server",
        "--port", str(PORT), *options,
    ):  # fmt: skip
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", PORT)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        yield f"http://127.0.0.1:{PORT}"


async def run(row: Row) -> None:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(postgres())
        url = await stack.enter_async_context(vendor(row.vendor))
        environment = {
            "EVALQUEUE_LLM_PROVIDER": row.provider,
            "EVALQUEUE_SIMULATED_URL": url,
            "GOOGLE_GEMINI_BASE_URL": url,
            "GEMINI_API_KEY": "made-up",
            **row.environment,
        }
        os.environ.update(environment)  # of the client, which checks that there is a key
        for _ in range(row.workers):
            await stack.enter_async_context(worker(database, "--concurrency=2", **environment))
        client = await stack.enter_async_context(Client(database=database))
        dataset = await conversations(database, row.threads)
        began = time.monotonic()
        jobs = [
            await client.submit(
                EvaluateBatch(
                    dataset_id=dataset,
                    sample_size=row.threads,
                    concurrency=row.concurrency,
                    llm_provider=row.provider,
                    llm_model="a-model",
                    max_workers=1,
                ),
                owner=f"owner-{number}",
            )
            for number in range(row.owners)
        ]
        shown: set[str] = set()
        for job in jobs:
            async for state in client.watch(job.id):
                shown.add(state.progress.message)
        wall = time.monotonic() - began
        await report(row, database, wall, shown)


async def conversations(database: Database, threads: int) -> str:
    """A dataset of so many conversations: the bundled ones again and again."""
    from evalqueue.evaluators.datasets import bundled, imports
    from evalqueue.evaluators.datasets.incoming import Incoming

    lines = bundled.path("kaira").read_text("utf-8").splitlines(keepends=True)
    copies = "".join(
        f'"{number}-{line[1:]}' if line.startswith('"') else f"{number}-{line}"
        for number in range(-(-threads // 48))
        for line in lines[1:]
    )
    async with imports.spooled(lines[0] + copies) as file:
        incoming = Incoming(file=file, name="conversations.csv")
        return (await imports.add(database, incoming, owner="bench", kept=True)).dataset_id


async def report(row: Row, database: Database, wall: float, shown: set[str]) -> None:
    async with database.connection() as connection:
        cursor = await connection.execute("""
            SELECT job_id::text, outcome, EXTRACT(EPOCH FROM started_at - min(started_at) OVER ())
            FROM api_logs ORDER BY started_at""")
        calls: list[Any] = await cursor.fetchall()
        cursor = await connection.execute(
            "SELECT sum(missing_verdicts), count(*) FROM thread_evaluations"
        )
        missing = await cursor.fetchone()
        cursor = await connection.execute("SELECT status, count(*) FROM jobs GROUP BY status")
        statuses: list[Any] = await cursor.fetchall()
        cursor = await connection.execute(
            "SELECT rate * 60, ceiling * 60, epoch FROM llm_credentials"
        )
        known = await cursor.fetchone()
    ok = [float(at) for _, outcome, at in calls if outcome == "ok"]
    refused = sum(outcome == "rate_limited" for _, outcome, _ in calls)
    last = max(ok)
    begin = 60.0 if last > 75 else min(10.0, last / 2)
    used = (
        sum(begin <= at for at in ok) / (last - begin) * 60 / row.per_minute
        if row.per_minute
        else 0
    )
    line = (
        f"{row.name}: {dict(statuses)}, {len(ok)} answered, missing {missing}, refused {refused} "
        f"({refused / len(calls):.1%}), used {used:.1%} after {begin:.0f} s, {wall:.1f} s; "
        f"known {known}"
    )
    if row.owners > 1:
        both = min(
            max(float(at) for job, outcome, at in calls if job == one and outcome == "ok")
            for one in {job for job, _, _ in calls}
        )
        shares = [
            sum(job == one and outcome == "ok" and begin <= float(at) <= both
                for job, outcome, at in calls)
            for one in {job for job, _, _ in calls}
        ]  # fmt: skip
        line += f"; calls of each job while both ran: {shares}"
    print(line, flush=True)
    waits = sorted(each for each in shown if "waiting for" in each)
    if waits:
        print(f"    {waits[len(waits) // 2]}", flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=None, help="rows whose names contain one")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    for row in ROWS:
        if options.list:
            print(row.name)
        elif options.only is None or any(each in row.name for each in options.only):
            await run(row)


asyncio.run(main())
