"""Batches against endpoints with rate limits that no worker knows: verdicts, refusals, use.

./run bench limits [--only NAME…] [--list] [--peers-python PATH]

Each row is a vendor in a process of its own, worker processes, and batches of the bundled
conversations. *Used* is the share of the allowance after the 60th second (of short runs: after the
10th). In some rows Inspect AI then makes as many calls with its adaptive connections, which don't
know the limit either. All rows together are written to `bench/results`.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx
import records
from processes import HERE, postgres, process, worker

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
    with_peer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a row's calls."""

    row: str
    program: str
    answered: int
    refused: int
    missing: int | None
    """Verdicts that are missing; NULL: the program stores none."""
    used: float | None
    """Share of the allowance; None: there is no limit."""
    seconds: float
    shares: list[int]
    """Calls of each job while all of them ran, if there are several."""

    def line(self) -> str:
        missing = "–" if self.missing is None else self.missing
        used = "–" if self.used is None else f"{self.used:.0%}"
        refused = f"{self.refused / (self.answered + self.refused):.1%}"
        shares = f"; {' : '.join(map(str, self.shares))}" if self.shares else ""
        return (
            f"| {self.row}{shares} | {self.program} | {self.answered} | {refused} | {used} "
            f"| {self.seconds:.0f} s | {missing} |"
        )


HEAD = """| limit | program | answered | refused | used | time | missing verdicts |
|---|---|---|---|---|---|---|"""


BUCKET = ("--limit-requests=600", "--limit-burst-seconds=1", "--latency-ms=300")
MINUTE_BUCKET = ("--limit-requests=600", "--latency-ms=300")
ROWS = (
    Row(name="600/min, 64 at a time", vendor=BUCKET, with_peer=True),
    Row(name="600/min, 64 at a time, 300 threads", vendor=BUCKET, threads=300),
    Row(name="the same, a minute's reserve", vendor=MINUTE_BUCKET, threads=300),
    Row(
        name="the same, windows", vendor=(*MINUTE_BUCKET, "--limit-kind=window"), threads=300,
        with_peer=True,
    ),
    Row(name="two owners, two workers", vendor=BUCKET, threads=80, owners=2, workers=2),
    Row(name="16 at a time, 60 threads", vendor=BUCKET, threads=60, concurrency=16),
    Row(
        name="60/min, fixed windows, no Retry-After",
        vendor=("--limit-requests=60", "--limit-kind=window", "--latency-ms=300"),
        threads=48, per_minute=60, with_peer=True,
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
        threads=100, per_minute=300, with_peer=True,
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


async def run(row: Row) -> Outcome:
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
        for job in jobs:
            await client.wait(job.id)
        return await outcome(row, database, time.monotonic() - began)


async def peer(row: Row, python: str, calls: int) -> Outcome:
    """Inspect AI with as many calls against a new vendor of the same kind."""
    async with vendor(row.vendor) as url, httpx.AsyncClient() as http:
        with tempfile.TemporaryDirectory(prefix="evalqueue-peer-") as folder:
            began = time.monotonic()
            child = await asyncio.create_subprocess_exec(
                python, str(HERE / "comparison" / "peers.py"), "inspect-ai-adaptive", f"{url}/v1",
                str(calls), str(row.concurrency), stdout=asyncio.subprocess.DEVNULL, cwd=folder,
                env=os.environ | {"PEER_LOGS": folder, "INSPECT_DISPLAY": "none"},
            )  # fmt: skip
            answered: list[float] = []
            refused = 0
            ended = asyncio.create_task(child.wait())
            while not ended.done():
                await asyncio.wait([ended], timeout=0.1)
                statuses = (await http.get(f"{url}/stats")).json()["by_status"]
                now = time.monotonic() - began
                answered += [now] * (statuses.get("200", 0) - len(answered))
                refused = statuses.get("429", 0)
        if child.returncode != 0:
            raise RuntimeError(f"Inspect AI ended with {child.returncode}")
    since_first = [at - answered[0] for at in answered]
    return Outcome(
        row=row.name, program="Inspect AI, adaptive", answered=len(answered), refused=refused,
        missing=None, used=used(since_first, row.per_minute), seconds=since_first[-1], shares=[],
    )  # fmt: skip


def measured_from(last: float) -> float:
    """The second from which the use of an allowance is measured."""
    return 60.0 if last > 75 else min(10.0, last / 2)


def used(answered: Sequence[float], per_minute: float) -> float | None:
    """The share of an allowance that was used, by the seconds at which calls were answered."""
    if not per_minute:
        return None
    last = max(answered)
    begin = measured_from(last)
    return sum(begin <= at for at in answered) / (last - begin) * 60 / per_minute


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


async def outcome(row: Row, database: Database, seconds: float) -> Outcome:
    async with database.connection() as connection:
        cursor = await connection.execute("""
            SELECT job_id::text, outcome, EXTRACT(EPOCH FROM started_at - min(started_at) OVER ())
            FROM api_logs ORDER BY started_at""")
        calls: list[Any] = await cursor.fetchall()
        cursor = await connection.execute(
            "SELECT COALESCE(sum(missing_verdicts), 0)::int,"
            " (SELECT count(*) FROM jobs WHERE status <> 'completed') FROM thread_evaluations"
        )
        row_of_counts: Any = await cursor.fetchone()
    missing, unfinished = row_of_counts
    if unfinished:
        raise RuntimeError(f"{row.name}: {unfinished} jobs did not complete")
    answered = [(job, float(at)) for job, outcome, at in calls if outcome == "ok"]
    times = [at for _, at in answered]
    of_jobs = [[at for one, at in answered if one == job] for job in {job for job, _ in answered}]
    begin, both_ran = measured_from(max(times)), min(max(each) for each in of_jobs)
    shares = [sum(begin <= at <= both_ran for at in each) for each in of_jobs]
    return Outcome(
        row=row.name, program="evalqueue", answered=len(times),
        refused=sum(outcome == "rate_limited" for _, outcome, _ in calls), missing=missing,
        used=used(times, row.per_minute), seconds=seconds, shares=shares if row.owners > 1 else [],
    )  # fmt: skip


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=None, help="rows whose names contain one")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--peers-python", help="runs Inspect AI, too; `./run bench` installs it")
    options = parser.parse_args()
    if options.list:
        print("\n".join(row.name for row in ROWS))
        return
    measured_on = records.machine()
    print(HEAD)
    found: list[Outcome] = []
    for row in ROWS:
        if options.only is not None and not any(each in row.name for each in options.only):
            continue
        found.append(await run(row))
        print(found[-1].line(), flush=True)
        if row.with_peer and options.peers_python:
            found.append(await peer(row, options.peers_python, found[-1].answered))
            print(found[-1].line(), flush=True)
    if options.only is None:
        table = "\n".join([HEAD, *(each.line() for each in found)])
        records.save("limits", table, measured_on, outcomes=[asdict(each) for each in found])


asyncio.run(main())
