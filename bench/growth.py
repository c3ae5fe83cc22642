"""What slows down as the tables grow, and what a large batch needs.

    ./run bench growth [--finished 100000 1000000] [--backlog 1000000] [--calls 5000000]
                       [--conversations 10000] [--rounds 5]

Rows are made by SQL, with the triggers off. After each step the same is measured: pick-ups, jobs
that do nothing, an evaluation, what the page asks in general and of a run of 40 conversations, and
a look for what is too old. The figures go to `bench/results`.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import httpx
import psutil
import records
from batch import conversations
from capacity import cpu_of
from processes import HERE, postgres, process

from evalqueue import Client, JobParams, Settings
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.http.server import serve
from evalqueue.postgres.database import Database

PORT = 18728
LATENCY_MS = 100
SPREAD = "now() - interval '1 day' - random() * interval '30 days'"

FINISHED = f"""
    WITH task AS (
        INSERT INTO procrastinate_jobs (queue_name, task_name, status)
        SELECT 'evalqueue', 'noop', 'succeeded' FROM generate_series(1, %(rows)s) RETURNING id
    ), job AS (
        INSERT INTO jobs (job_type, status, task_id, attempt, result, worker, started_at,
            completed_at, created_at, owner)
        SELECT 'noop', 'completed', id, 1, '{{}}', 'old', past, past, past, 'owner-' || id %% 100
        FROM task, LATERAL (SELECT {SPREAD} + id * interval '0 s') AS at (past) RETURNING id
    )
    INSERT INTO job_attempts (job_id, attempt, worker, started_at, ended_at, outcome)
    SELECT id, 1, 'old', now(), now(), 'completed' FROM job
"""  # noqa: S608
BACKLOG = """
    WITH task AS (
        INSERT INTO procrastinate_jobs (queue_name, task_name, status)
        SELECT 'evalqueue', 'noop', 'todo' FROM generate_series(1, %(rows)s) RETURNING id
    )
    INSERT INTO jobs (job_type, task_id, owner, priority)
    SELECT 'later', id, 'owner-' || id %% 100, -1 FROM task
"""
RUNS = f"""
    INSERT INTO eval_runs (id, command, status, owner, created_at, started_at, completed_at)
    SELECT gen_random_uuid(), 'evaluate-batch', 'completed', 'owner-' || n %% 100, past, past, past
    FROM generate_series(1, %(rows)s / 1000) AS n, LATERAL (
        SELECT {SPREAD} + n * interval '0 s') AS at (past)
"""  # noqa: S608
CALLS = """
    WITH run AS (
        SELECT id, row_number() OVER () - 1 AS n FROM eval_runs WHERE job_id IS NULL
    )
    INSERT INTO api_logs (run_id, call_id, thread_id, evaluator, provider, model, method, outcome,
        try_number, prompt, response, duration_ms, tokens_in, tokens_out, parameters, request_hash,
        question_hash, attempt, started_at)
    SELECT run.id, gen_random_uuid(), 't' || number %% 185, 'intent', 'openai', 'model',
        'generate_json', 'ok', 1, repeat(md5(number::text), 8), '{}', 100, 900, 60,
        '{"temperature": 0.1}', sha256(number::text::bytea),
        substr(sha256(number::text::bytea), 1, 16), 1, now()
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS number
    JOIN run ON run.n = number %% (SELECT count(*) FROM run)
"""
THREADS = """
    INSERT INTO thread_evaluations (run_id, thread_id, success_status, result, attempt, duration_ms)
    SELECT run.id, 't' || number, number %% 3 > 0, '{"failures": [], "coverage": {}}', 1, 1000
    FROM eval_runs AS run, generate_series(1, 185) AS number WHERE run.job_id IS NULL
"""
CALLS_AT_ONCE = 500_000
PAGES = (
    "/api/jobs?limit=50", "/api/eval-runs?limit=50", "/api/eval-runs/stats/summary", "/api/queues",
    "/api/workers", "/api/costs", "/api/datasets", "/api/apps", "/metrics",
)  # fmt: skip
OF_RUN = ("", "/statistics", "/outcomes", "/threads?limit=50", "/logs?limit=50")
PRUNE = "SELECT evalqueue_prune(%(keep)s::interval, %(keep)s::interval, %(keep)s::interval)"


@dataclass
class Stack:
    """What the figures are taken from."""

    database: Database
    client: Client
    http: httpx.AsyncClient
    worker: psutil.Process
    postmaster: psutil.Process
    figures: dict[str, dict[str, float]] = field(default_factory=dict)

    async def execute(self, statement: str, **arguments: object) -> None:
        """Fill tables, with the triggers off."""
        async with self.database.transaction() as connection:
            await connection.execute(b"SET LOCAL session_replication_role = replica")
            await connection.execute(statement.encode(), arguments)

    async def vacuum(self) -> None:
        async with self.database.connection() as connection:
            await connection.execute(b"VACUUM ANALYZE jobs, procrastinate_jobs, job_attempts")
        async with self.database.transaction() as connection:
            await connection.execute(b"ANALYZE api_logs, eval_runs, thread_evaluations")


@asynccontextmanager
async def opened() -> AsyncGenerator[Stack]:
    url = f"http://127.0.0.1:{PORT}/v1"
    environment = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": url}
    os.environ |= environment  # the submission checks that there is a key, too
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(postgres())
        endpoint = str(HERE / "comparison" / "endpoint.py")
        command = (sys.executable, endpoint, str(PORT), str(LATENCY_MS))
        await stack.enter_async_context(process(*command))
        worker = await stack.enter_async_context(
            process(
                sys.executable, "-m", "evalqueue", "worker", "--processes=1", "--concurrency=4",
                DATABASE_URL=database.conninfo, PYTHONPATH=str(HERE), EVALQUEUE_IMPORTS="noop_jobs",
                **environment,
            )
        )  # fmt: skip
        client = Client(settings=Settings(port=0), database=database)
        address = await stack.enter_async_context(serve(client))
        http = httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=120)
        await stack.enter_async_context(http)
        async with database.connection() as connection:
            session = psutil.Process(connection.info.backend_pid)
        yield Stack(database, client, http, psutil.Process(worker.pid), session.parent() or session)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def measure(stack: Stack, name: str, rounds: int) -> None:
    """The same after each step."""
    found: dict[str, float] = {}
    noop = noop_params()
    waits: list[float] = []
    for _ in range(20 * rounds):
        job = await stack.client.wait((await stack.client.submit(noop)).id)
        assert job.started_at is not None
        waits.append((job.started_at - job.created_at).total_seconds() * 1000)
        await asyncio.sleep(random.expovariate(50))
    found["pick-up p50, ms"] = statistics.median(waits)
    found["pick-up p99, ms"] = quantile(waits, 0.99)
    drains: list[tuple[float, float]] = []
    batches: list[tuple[float, float]] = []
    for _ in range(rounds):
        drains.append(await cpu_per(stack, 200, lambda: drained(stack, 200)))
        batches.append(await cpu_per(stack, 40, lambda: evaluated(stack, 40)))
    for what, pairs in (("a job that does nothing", drains), ("a conversation", batches)):
        for side, number in (("Postgres", 0), ("worker", 1)):
            values = [pair[number] for pair in pairs]
            found[f"CPU of {what}, {side}, ms"] = statistics.median(values)
    newest = (await stack.http.get("/api/eval-runs?limit=1")).json()[0]["id"]
    pages = {path: path for path in PAGES} | {
        f"/api/eval-runs/ID{part}": f"/api/eval-runs/{newest}{part}" for part in OF_RUN
    }
    for shown, path in pages.items():

        async def look(path: str = path) -> None:
            (await stack.http.get(path)).raise_for_status()

        found[f"{shown.partition('?')[0]}, best ms"] = await best_ms(look, 2 * rounds)
    found["a look for what is too old, best ms"] = await best_ms(
        lambda: stack.execute(PRUNE, keep="100 years"), 2 * rounds
    )
    stack.figures[name] = found
    print(f"\n{name} (load {os.getloadavg()[0]:.1f})")
    for figure, value in found.items():
        print(f"  {figure:44} {value:10.2f}", flush=True)


async def best_ms(work: Callable[[], Awaitable[None]], times: int) -> float:
    found: list[float] = []
    for _ in range(times):
        begun = time.perf_counter()
        await work()
        found.append((time.perf_counter() - begun) * 1000)
    return min(found)


async def cpu_per(stack: Stack, count: int, work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of CPU of Postgres and of the worker for each of so many things."""
    before = cpu_of(stack.postmaster), cpu_of(stack.worker)
    await work()  # pyright: ignore[reportGeneralTypeIssues]
    after = cpu_of(stack.postmaster), cpu_of(stack.worker)
    return tuple((b - a) / count * 1000 for a, b in zip(before, after, strict=True))  # pyright: ignore[reportReturnType]


async def drained(stack: Stack, count: int) -> None:
    for job in await stack.client.submit_many([noop_params()] * count):
        await stack.client.wait(job.id)


async def evaluated(stack: Stack, threads: int) -> None:
    params = EvaluateBatch(
        csv_content=conversations(threads), concurrency=16, llm_provider="openai",
        llm_model="model", max_workers=1,
    )  # fmt: skip
    job = await stack.client.submit(params)
    ended = await stack.client.wait(job.id)
    assert ended.result is not None, ended.error_message


def noop_params() -> JobParams:
    import noop_jobs  # noqa: F401  registers the job types

    from evalqueue.handlers import registered

    return registered.job_types["noop"].model_validate({})


async def large_batch(stack: Stack, threads: int) -> Mapping[str, float]:
    """The first result of a large batch, and the worker's peak memory."""
    params = EvaluateBatch(
        dataset_id=await dataset(stack.database, threads), concurrency=64, llm_provider="openai",
        llm_model="model", max_workers=1,
    )  # fmt: skip
    idle = stack.worker.memory_info().rss
    begun = time.perf_counter()
    job = await stack.client.submit(params)
    submitted = time.perf_counter() - begun
    first: float | None = None
    peak = idle
    while (await stack.client.get(job.id)).completed_at is None:
        if first is None and await results_of(stack, job.id):
            first = time.perf_counter() - begun
        peak = max(peak, stack.worker.memory_info().rss)
        await asyncio.sleep(0.02 if first is None else 0.2)
    ended = await stack.client.get(job.id)
    assert ended.result is not None, ended.error_message
    return {
        "conversations": threads,
        "submission, s": submitted,  # the dataset was there
        "first result after the submission, s": (first or 0.0) - submitted,
        "worker idle, MB": idle / 1e6,
        "worker at its peak, MB": peak / 1e6,
        "all, s": time.perf_counter() - begun,
    }


async def dataset(database: Database, threads: int) -> str:
    async with imports.spooled(conversations(threads)) as file:
        incoming = Incoming(file=file, name="conversations.csv")
        return (await imports.add(database, incoming, owner="bench", kept=True)).dataset_id


async def results_of(stack: Stack, job_id: UUID) -> bool:
    async with stack.database.connection() as connection:
        cursor = await connection.execute(
            "SELECT EXISTS (SELECT FROM thread_evaluations WHERE run_id = ("
            "SELECT id FROM eval_runs WHERE job_id = %s))",
            [job_id],
        )
        row = await cursor.fetchone()
    return row is not None and row[0]


async def run(given: argparse.Namespace) -> tuple[dict[str, dict[str, float]], Mapping[str, float]]:
    async with opened() as stack:
        await evaluated(stack, 10)  # loads the SDK
        large = await large_batch(stack, given.conversations) if given.conversations else {}
        for figure, value in large.items():
            print(f"  {figure:44} {value:10.2f}", flush=True)
        await measure(stack, "nothing", given.rounds)
        there = 0
        for finished in given.finished:
            await stack.execute(FINISHED, rows=finished - there)
            await stack.vacuum()
            there = finished
            await measure(stack, f"{finished:,} finished jobs", given.rounds)
        if given.backlog:
            await stack.execute(BACKLOG, rows=given.backlog)
            await stack.vacuum()
            await measure(stack, f"and {given.backlog:,} waiting jobs", given.rounds)
        if given.calls:
            await stack.execute(RUNS, rows=given.calls)
            await stack.execute(THREADS)
            for first in range(1, given.calls + 1, CALLS_AT_ONCE):
                last = min(first + CALLS_AT_ONCE - 1, given.calls)
                await stack.execute(CALLS, first=first, last=last)
            await stack.vacuum()
            await measure(stack, f"and {given.calls:,} LLM calls", given.rounds)
        return stack.figures, large


def table(figures: dict[str, dict[str, float]], large: Mapping[str, float]) -> str:
    lines = [f"| | {' | '.join(figures)} |", "|---|" + "---|" * len(figures)]
    for name in next(iter(figures.values())):
        cells = " | ".join(f"{each[name]:.2f}" for each in figures.values())
        lines.append(f"| {name} | {cells} |")
    lines += ["", "| a large batch | |", "|---|---|"]
    lines += [f"| {name} | {value:.1f} |" for name, value in large.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--backlog", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=5_000_000)
    parser.add_argument("--conversations", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    measured_on = records.machine()
    figures, large = asyncio.run(run(given))
    shown = table(figures, large)
    print(f"\n{shown}")
    records.save("growth", shown, measured_on, figures=figures, large_batch=dict(large))


if __name__ == "__main__":
    main()
