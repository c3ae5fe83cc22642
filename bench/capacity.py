"""What one Postgres has to do for a conversation: statements, WAL, CPU and stored bytes.

    ./run bench capacity [--processes 1 2 4] [--rounds 5] [--threads 200]

Real worker processes evaluate the bundled conversations against an endpoint that answers at once,
on a durable Postgres with its default settings. Each process has a job of its own in each round.
The figures go to `bench/results`; docs/capacity.md works with them.
"""

import argparse
import asyncio
import os
import statistics
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import psycopg
import records
from batch import conversations
from processes import HERE, postgres, process

from evalqueue import Client
from evalqueue.evaluators import EvaluateBatch
from evalqueue.postgres.database import Database

PORT = 18727
TABLES = ("datasets", "dataset_threads", "thread_evaluations", "scores", "api_logs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one round came to, of one conversation."""

    processes: int
    conversations: int
    seconds: float
    calls: float
    statements: float
    commits: float
    wal_bytes: float
    full_pages: float
    """Images of whole pages in the WAL: the first change of a page after a checkpoint."""
    database_ms: float
    """CPU of all processes of Postgres."""
    worker_ms: float
    """CPU of the worker processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Counters that only grow."""

    statements: float
    commits: float
    wal_bytes: float
    full_pages: float
    database_seconds: float
    worker_seconds: float


class Postgres:
    """The server that is measured."""

    def __init__(self, database: Database, session: psycopg.AsyncConnection[Any]) -> None:
        self.database = database
        self._session = session
        self._postmaster = psutil.Process(psutil.Process(session.info.backend_pid).ppid())

    async def snapshot(self, worker: psutil.Process) -> Snapshot:
        statements, commits, wal, pages = await self._row("""
            SELECT (SELECT sum(calls) FROM pg_stat_statements),
                (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
                pg_current_wal_lsn() - '0/0', (SELECT wal_fpi FROM pg_stat_wal)""")
        return Snapshot(
            statements=float(statements), commits=float(commits), wal_bytes=float(wal),
            full_pages=float(pages), database_seconds=cpu_of(self._postmaster),
            worker_seconds=cpu_of(worker),
        )  # fmt: skip

    async def sizes(self) -> dict[str, int]:
        """Bytes of each table, with its indexes and its texts."""
        await self._session.execute("VACUUM")
        names = ", ".join(f"pg_total_relation_size('{name}')" for name in TABLES)
        row = await self._row(f"SELECT {names}, pg_database_size(current_database())")
        return dict(zip((*TABLES, "database"), map(int, row), strict=True))

    async def _row(self, statement: str) -> Sequence[Any]:
        row = await (await self._session.execute(statement.encode())).fetchone()
        assert row is not None
        return row


@asynccontextmanager
async def measured_postgres() -> AsyncGenerator[Postgres]:
    async with postgres("pg_stat_statements") as database:
        connecting = psycopg.AsyncConnection.connect(database.conninfo, autocommit=True)
        async with await connecting as session:
            await session.execute("CREATE EXTENSION pg_stat_statements")
            yield Postgres(database, session)


def cpu_of(parent: psutil.Process) -> float:
    """Seconds that a process and its children have used, also those that have ended."""
    total = 0.0
    for each in (parent, *parent.children(recursive=True)):
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
        if each == parent:
            total += times.children_user + times.children_system
    return total


async def one_round(
    server: Postgres, client: Client, worker: psutil.Process, processes: int, content: str
) -> Measurement:
    params = EvaluateBatch(
        csv_content=content, concurrency=16, llm_provider="openai", llm_model="model", max_workers=1
    )
    before = await server.snapshot(worker)
    submitted = [await client.submit(params) for _ in range(processes)]
    jobs = [await client.wait(each.id) for each in submitted]
    after = await server.snapshot(worker)
    began = min(each.started_at for each in jobs if each.started_at is not None)
    ended = max(each.completed_at for each in jobs if each.completed_at is not None)
    results = [each.result or {} for each in jobs]
    count = sum(each["total_threads"] for each in results)

    def each(name: str) -> float:
        return (getattr(after, name) - getattr(before, name)) / count

    return Measurement(
        processes=processes,
        conversations=count,
        seconds=(ended - began).total_seconds(),
        calls=sum(each["llm_calls"] for each in results) / count,
        statements=each("statements"),
        commits=each("commits"),
        wal_bytes=each("wal_bytes"),
        full_pages=each("full_pages"),
        database_ms=each("database_seconds") * 1000,
        worker_ms=each("worker_seconds") * 1000,
    )


async def measure(given: argparse.Namespace) -> tuple[list[Measurement], dict[str, float]]:
    endpoint = str(HERE / "comparison" / "endpoint.py")
    url = f"http://127.0.0.1:{PORT}/v1"
    environment = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": url}
    os.environ |= environment  # the submission checks that there is a key, too
    content = conversations(given.threads)
    found: list[Measurement] = []
    async with (
        measured_postgres() as server,
        process(sys.executable, endpoint, str(PORT), "0"),
        Client(database=server.database) as client,
    ):
        before, total = await server.sizes(), 0
        for processes in given.processes:
            async with process(
                sys.executable, "-m", "evalqueue", "worker", f"--processes={processes}",
                "--concurrency=1", DATABASE_URL=server.database.conninfo, **environment,
            ) as child:  # fmt: skip
                worker = psutil.Process(child.pid)
                warm = await one_round(server, client, worker, processes, conversations(48))
                total += warm.conversations
                for number in range(given.rounds):
                    one = await one_round(server, client, worker, processes, content)
                    found.append(one)
                    total += one.conversations
                    print(
                        f"{processes} processes, round {number + 1}: "
                        f"{one.conversations / one.seconds:.0f} conversations/s, "
                        f"{one.statements:.1f} statements, {one.wal_bytes / 1000:.1f} kB of WAL, "
                        f"CPU: database {one.database_ms:.2f} ms, workers {one.worker_ms:.2f} ms",
                        flush=True,
                    )
        after = await server.sizes()
    stored = {name: (after[name] - before[name]) / total for name in after}
    return found, stored


def table(found: Sequence[Measurement], stored: dict[str, float]) -> str:
    """Medians over the rounds, and in brackets the lowest and the highest."""
    kinds = sorted({each.processes for each in found})
    rows = {
        "conversations a second": lambda each: each.conversations / each.seconds,
        "LLM calls of one": lambda each: each.calls,
        "statements": lambda each: each.statements,
        "commits": lambda each: each.commits,
        "kB of WAL": lambda each: each.wal_bytes / 1000,
        "whole pages in the WAL": lambda each: each.full_pages,
        "ms of CPU, Postgres": lambda each: each.database_ms,
        "ms of CPU, workers": lambda each: each.worker_ms,
    }
    heads = " | ".join("1 process" if each == 1 else f"{each} processes" for each in kinds)
    lines = [f"| of one conversation | {heads} |", "|---|" + "---|" * len(kinds)]
    for name, value in rows.items():
        cells: list[str] = []
        for kind in kinds:
            values = [value(each) for each in found if each.processes == kind]
            cells.append(
                f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| stored for one conversation, with indexes | kB |", "|---|---|"]
    lines += [f"| `{name}` | {size / 1000:.2f} |" for name, size in stored.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=200, help="conversations of each job")
    given = parser.parse_args()
    measured_on = records.machine()
    found, stored = asyncio.run(measure(given))
    shown = table(found, stored)
    print(f"\n{shown}\n\nload {os.getloadavg()[0]:.1f} after it")
    records.save(
        "capacity", shown, measured_on, stored=stored, measurements=[asdict(each) for each in found]
    )


if __name__ == "__main__":
    main()
