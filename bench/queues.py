"""The queue against plain procrastinate, in alternating rounds on one server.

    ./run bench queues submit [--rounds 7] [--jobs 10000]
    ./run bench queues drain [--rounds 7] [--jobs 1000] [--concurrency 10]
    ./run bench queues pickup [--rounds 7] [--jobs 200]
    ./run bench queues all                           # all three; the figures go to bench/results
    ./run bench queues growth [--finished 100000]    # the same, with finished jobs

Figures are medians over the rounds, and medians of the ratios of each round. Times are the tables'
own; CPU is what the worker's process and the database's sessions used.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import records
from processes import HERE, postgres, process, worker
from procrastinate.schema import SchemaManager

from evalqueue.postgres.database import Database

Session = psycopg.AsyncConnection[tuple[object, ...]]
SETTLE = 0.3  # seconds, so that a worker is idle when a round begins


@dataclass
class Side:
    """One of the systems compared."""

    name: str
    session: Session
    submit_one: str
    submit_many: str
    unfinished: str
    drained: str
    """Seconds between the first start and the last end of what was submitted since."""
    pickups: str
    """Milliseconds between submission and start, of what was submitted since."""
    worker_pid: int = 0
    results: dict[str, list[float]] = field(default_factory=dict)

    def note(self, figure: str, value: float) -> None:
        self.results.setdefault(figure, []).append(value)

    async def value(self, statement: str, *arguments: object) -> float:
        cursor = await self.session.execute(statement.encode(), arguments)
        row = await cursor.fetchone()
        assert row is not None
        return float(str(row[0]))

    async def cpu_seconds(self) -> tuple[float, float]:
        """Of the worker's process, and of the database's sessions but this one."""
        cursor = await self.session.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid()"
        )
        sessions = [int(str(pid)) for (pid,) in await cursor.fetchall()]
        return cpu_of(self.worker_pid), sum(map(cpu_of, sessions))

    async def wait_until_empty(self) -> None:
        while await self.value(self.unfinished):
            await asyncio.sleep(0.05)


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used, all its threads."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


@asynccontextmanager
async def evalqueue_side(database: Database, concurrency: int) -> AsyncGenerator[Side]:
    async with AsyncExitStack() as stack:
        session = await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True)
        await stack.enter_async_context(session)
        side = Side(
            name="evalqueue",
            session=session,
            submit_one="SELECT evalqueue_submit_job('noop')",
            submit_many="SELECT count(*) FROM evalqueue_submit_jobs((SELECT jsonb_agg("
            "jsonb_build_object('job_type', 'noop', 'params', jsonb_build_object('number', n))) "
            "FROM generate_series(1, %s) AS n))",
            unfinished="SELECT count(*) FROM jobs WHERE completed_at IS NULL",
            drained="SELECT EXTRACT(epoch FROM max(completed_at) - min(started_at)) FROM jobs "
            "WHERE created_at >= %s",
            pickups="SELECT EXTRACT(epoch FROM started_at - created_at) * 1000 FROM jobs "
            "WHERE created_at >= %s",
        )
        if concurrency:
            child = await stack.enter_async_context(
                worker(
                    database,
                    f"--concurrency={concurrency}",
                    EVALQUEUE_IMPORTS="noop_jobs",
                )
            )
            side.worker_pid = child.pid
            await session.execute("SELECT evalqueue_submit_job('noop')")
            await side.wait_until_empty()
        yield side


@asynccontextmanager
async def procrastinate_side(database: Database, concurrency: int) -> AsyncGenerator[Side]:
    async with AsyncExitStack() as stack:
        async with database.connection() as connection:
            await connection.execute("CREATE DATABASE raw")
        dsn = urlsplit(database.conninfo)._replace(path="/raw").geturl()
        command = (
            str(Path(sys.executable).with_name("procrastinate")),
            "--app=raw_procrastinate.app",
        )
        environment = {"RAW_DSN": dsn, "PYTHONPATH": str(HERE)}
        session = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
        await stack.enter_async_context(session)
        await session.execute(SchemaManager.get_schema().encode())
        task = "ROW('raw', 'noop', 0, NULL, NULL, '{}', NULL)::procrastinate_job_to_defer_v1"
        side = Side(
            name="procrastinate",
            session=session,
            submit_one=f"SELECT procrastinate_defer_jobs_v1(ARRAY[{task}])",
            submit_many=f"SELECT procrastinate_defer_jobs_v1(array_agg({task})) "  # noqa: S608
            "FROM generate_series(1, %s)",
            unfinished="SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')",
            drained="SELECT EXTRACT(epoch FROM max(at) FILTER (WHERE type = 'succeeded') - "
            "min(at) FILTER (WHERE type = 'started')) FROM procrastinate_events WHERE at >= %s",
            pickups="SELECT EXTRACT(epoch FROM started.at - deferred.at) * 1000 "
            "FROM procrastinate_events AS started JOIN procrastinate_events AS deferred "
            "USING (job_id) WHERE started.type = 'started' AND deferred.type = 'deferred' "
            "AND deferred.at >= %s",
        )
        if concurrency:
            child = await stack.enter_async_context(
                process(
                    *command,
                    "worker",
                    f"--concurrency={concurrency}",
                    "--queues=raw",
                    **environment,
                )
            )
            side.worker_pid = child.pid
            await session.execute(side.submit_one.encode())
            await side.wait_until_empty()
        yield side


async def moment(side: Side) -> object:
    cursor = await side.session.execute("SELECT clock_timestamp()")
    row = await cursor.fetchone()
    assert row is not None
    return row[0]


async def submit(side: Side, jobs: int) -> None:
    """Jobs a second, in one statement."""
    cursor = await side.session.execute("SELECT pg_backend_pid()")
    row = await cursor.fetchone()
    assert row is not None
    pid = int(str(row[0]))
    used, begun = cpu_of(pid), time.perf_counter()
    await side.session.execute(side.submit_many.encode(), [jobs])
    side.note("submitted/s", jobs / (time.perf_counter() - begun))
    side.note("µs database CPU/job", (cpu_of(pid) - used) / jobs * 1e6)


async def drain(side: Side, jobs: int) -> None:
    """Jobs a second, from the first start to the last end."""
    await asyncio.sleep(SETTLE)
    since = await moment(side)
    before = await side.cpu_seconds()
    await side.session.execute(side.submit_many.encode(), [jobs])
    await side.wait_until_empty()
    after = await side.cpu_seconds()
    side.note("drained/s", jobs / await side.value(side.drained, since))
    side.note("µs worker CPU/job", (after[0] - before[0]) / jobs * 1e6)
    side.note("µs database CPU/job", (after[1] - before[1]) / jobs * 1e6)


async def pickup(side: Side, jobs: int) -> None:
    """Milliseconds from submission to start, Poisson arrivals, 50 a second."""
    await asyncio.sleep(SETTLE)
    since = await moment(side)
    for _ in range(jobs):
        await side.session.execute(side.submit_one.encode())
        await asyncio.sleep(random.expovariate(50))
    await side.wait_until_empty()
    cursor = await side.session.execute(side.pickups.encode(), [since])
    waits = sorted(float(str(wait)) for (wait,) in await cursor.fetchall())
    for share in (0.5, 0.95, 0.99):
        side.note(f"ms pick-up p{share * 100:.0f}", waits[int(share * len(waits))])


MEASURES = {"submit": submit, "drain": drain, "pickup": pickup}
JOBS = {"submit": 10_000, "drain": 1000, "pickup": 200}  # of a round


async def fill(sides: Sequence[Side], finished: int) -> None:
    """Give both sides so many finished jobs, with the triggers off."""
    tasks = (
        "INSERT INTO procrastinate_jobs (queue_name, task_name, status) "
        "SELECT 'old', 'noop', 'succeeded' FROM generate_series(1, %s) RETURNING id"
    )
    for side in sides:
        await side.session.execute("SET session_replication_role = replica")
        filled = f"WITH task AS ({tasks}) INSERT INTO procrastinate_events (job_id, type) "
        filled += "SELECT id, type::procrastinate_job_event_type FROM task "
        filled += "CROSS JOIN unnest(ARRAY['deferred', 'started', 'succeeded']) AS type"
        if side.name == "evalqueue":
            filled = (
                f"WITH task AS ({tasks}), job AS (INSERT INTO jobs (job_type, status, task_id, "  # noqa: S608
                "attempt, result, worker, started_at, completed_at, created_at) SELECT 'noop', "
                "'completed', id, 1, '{}', 'old', past, past, past FROM task, LATERAL ("
                "SELECT now() - interval '1 day' - random() * interval '30 days') AS at (past) "
                "RETURNING id) INSERT INTO job_attempts SELECT id, 1, 'old', now(), now(), "
                "'completed' FROM job"
            )
        await side.session.execute(filled.encode(), [finished])
        await side.session.execute("SET session_replication_role = origin")
        await side.session.execute("VACUUM ANALYZE")


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What both sides came to in each round."""

    measure: str
    name: str
    ours: list[float]
    procrastinate: list[float]

    def row(self) -> str:
        """Medians, with the lowest and the highest; the ratio is the median of the rounds' own."""
        ratios = [mine / other for mine, other in zip(self.ours, self.procrastinate, strict=True)]
        cells = [
            f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
            for values, digits in ((self.ours, 1), (self.procrastinate, 1), (ratios, 2))
        ]
        return f"| {self.measure}: {self.name} | {' | '.join(cells)} |"


async def measured(measure: str, given: argparse.Namespace) -> list[Figure]:
    """Both sides in alternating rounds, after one that warms up."""
    # A worker would take from the CPU of submissions, and need minutes for what was submitted.
    concurrency = 0 if measure == "submit" else given.concurrency
    async with (
        postgres() as database,
        evalqueue_side(database, concurrency) as ours,
        procrastinate_side(database, concurrency) as raw,
    ):
        sides = (ours, raw)
        if given.what == "growth":
            await fill(sides, given.finished)
        for number in range(-1, given.rounds):
            for side in sides if number % 2 else reversed(sides):
                await MEASURES[measure](side, given.jobs or JOBS[measure])
                if concurrency:
                    await side.wait_until_empty()
            if number < 0:
                for side in sides:
                    side.results.clear()
        return [
            Figure(measure=measure, name=name, ours=values, procrastinate=raw.results[name])
            for name, values in ours.results.items()
        ]


async def main(given: argparse.Namespace) -> None:
    measured_on = records.machine()
    lines = ["| figure | evalqueue | procrastinate | ratio |", "|---|---|---|---|"]
    print("\n".join(lines))
    figures: list[Figure] = []
    for measure in MEASURES if given.what in ("all", "growth") else [given.what]:
        for figure in await measured(measure, given):
            figures.append(figure)
            lines.append(figure.row())
            print(lines[-1], flush=True)
    print(
        f"\n{given.rounds} rounds, concurrency {given.concurrency}, load {os.getloadavg()[0]:.1f}"
    )
    if given.what == "all":
        found = [asdict(each) for each in figures]
        records.save("queue", "\n".join(lines), measured_on, measurements=found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=[*MEASURES, "all", "growth"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--finished", type=int, default=100_000)
    asyncio.run(main(parser.parse_args()))
