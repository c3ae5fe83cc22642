"""What a worker counts of jobs and attempts is what the tables hold."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from scraping import Figures, parsed, summed, value

from evalqueue import Client, Handlers, JobContext, JobFailed, JobParams, Settings, TryAgain
from evalqueue.errors import Postponed
from evalqueue.postgres.database import Database
from evalqueue.worker.app import ProcrastinateApp
from evalqueue.worker.loop import Worker

PATIENCE = 30.0  # seconds
OUTCOMES = """
    SELECT job_type, outcome, count(*) FROM job_attempts JOIN jobs ON jobs.id = job_id
    WHERE outcome IS NOT NULL GROUP BY 1, 2"""


class Chore(JobParams, job_type="chore"):
    how: str = "well"


class Rest(JobParams, job_type="rest"):
    pass


def handlers() -> Handlers:
    handlers = Handlers()

    @handlers.handles(Chore)
    async def do(context: JobContext, params: Chore) -> None:
        first = context.job.attempt == 1
        if params.how == "fails":
            raise JobFailed("no")
        if params.how == "never" or (params.how == "again" and first):
            raise TryAgain("later", after=0)
        if params.how == "postponed" and first:
            raise Postponed("wait", after=0)

    @handlers.handles(Rest)
    async def rest(context: JobContext, params: Rest) -> None:
        await asyncio.sleep(3600)

    return handlers


@asynccontextmanager
async def working(dsn: str, **options: Any) -> AsyncGenerator[Worker]:
    app = ProcrastinateApp(
        address=lambda: dsn, handlers=handlers, settings=Settings(lease_seconds=2)
    )
    async with app.open_async():
        worker = app.worker(install_signal_handlers=False, shutdown_graceful_timeout=0, **options)
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            running.cancel()
            await asyncio.wait({running})


def figures_of(worker: Worker) -> Figures:
    return parsed(worker.metrics.expose().decode())


async def until_counted(worker: Worker, database: Database, *, over: int) -> Counter[Any]:
    """Wait until so many attempts are counted, as many as the table has. Returns these."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with database.connection() as connection:
                cursor = await connection.execute(OUTCOMES.encode())
                table = Counter({(kind, how): n for kind, how, n in await cursor.fetchall()})
            counted = summed(
                [figures_of(worker)], "evalqueue_attempts_total", "job_type", "outcome"
            )
            if table.total() >= over and counted == table:
                return table
            await asyncio.sleep(0.02)


async def test_attempts_are_counted_by_their_outcome(dsn: str, database: Database):
    async with Client(dsn) as client, working(dsn) as worker:
        for how in ("well", "well", "fails", "again", "postponed", "never"):
            await client.submit(Chore(how=how), max_attempts=2)
        table = await until_counted(worker, database, over=9)
        figures = figures_of(worker)

    assert table == {
        ("chore", "completed"): 4, ("chore", "failed"): 2, ("chore", "retried"): 2,
        ("chore", "postponed"): 1,
    }  # fmt: skip
    of = {"queue": "evalqueue", "job_type": "chore"}
    assert value(figures, "evalqueue_claims_total", **of) == 9
    assert value(figures, "evalqueue_run_seconds_count", **of) == 9
    assert value(figures, "evalqueue_pickup_seconds_count", **of) == 6, "of first attempts"
    assert value(figures, "evalqueue_is_leader") == 1


async def test_a_cancelled_attempt_is_counted_as_that(dsn: str, database: Database):
    async with Client(dsn) as client, working(dsn) as worker:
        job = await client.submit(Rest())
        async with asyncio.timeout(PATIENCE):
            while value(figures_of(worker), "evalqueue_running_attempts") != 1:
                await asyncio.sleep(0.02)
        await client.cancel(job.id)
        table = await until_counted(worker, database, over=1)
    assert table == {("rest", "cancelled"): 1}


async def test_an_attempt_that_lost_its_lease_is_over_and_the_loss_is_counted(
    dsn: str, database: Database
):
    async with Client(dsn) as client, working(dsn) as worker:
        await client.submit(Rest())
        async with asyncio.timeout(PATIENCE):
            while value(figures_of(worker), "evalqueue_running_attempts") != 1:
                await asyncio.sleep(0.02)
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE jobs SET lease_expires_at = clock_timestamp() - interval '1 hour';"
            )
            await connection.execute("SELECT evalqueue_recover_jobs()")
        async with asyncio.timeout(PATIENCE):
            while not (over := summed([figures_of(worker)], "evalqueue_attempts_total", "outcome")):
                await asyncio.sleep(0.02)
    assert over == {("over",): 1}


async def test_the_leader_counts_the_jobs_of_lost_workers(dsn: str, database: Database):
    async with Client(dsn) as client:
        job = await client.submit(Chore())
        async with database.connection() as connection:
            await connection.execute(
                "SELECT evalqueue_claim_jobs(w.id, w.name, ARRAY['evalqueue'], ARRAY['chore'], 1,"
                " 0, '{}') FROM evalqueue_register_worker('gone', 'h', 1, '', ARRAY['evalqueue'],"
                " ARRAY['chore'], 1) AS w"
            )
        async with working(dsn) as worker:
            await client.wait(job.id, timeout=PATIENCE)
            figures = figures_of(worker)
        attempts = await client.attempts(job.id)
    assert [each.outcome for each in attempts] == ["lost", "completed"]
    assert value(figures, "evalqueue_lease_losses_total") == 1


async def test_two_workers_of_the_same_handlers_count_apart(dsn: str):
    shared = handlers()
    app = ProcrastinateApp(address=lambda: dsn, handlers=lambda: shared, settings=Settings())
    async with app.open_async():
        workers = [app.worker(wait=False, install_signal_handlers=False) for _ in "ab"]
        async with Client(dsn) as client:
            await client.submit(Chore())
        for worker in workers:
            await worker.run()
    counts = [summed([figures_of(each)], "evalqueue_claims_total")[()] for each in workers]
    assert counts == [1, 0]


@pytest.mark.parametrize("listen", [True, False])
async def test_a_worker_tells_of_its_connections(dsn: str, listen: bool):
    async with working(dsn, listen_notify=listen) as worker:
        async with asyncio.timeout(PATIENCE):
            while not value(
                figures := figures_of(worker), "evalqueue_event_loop_lag_seconds_count"
            ):
                await asyncio.sleep(0.02)
    assert value(figures, "evalqueue_pool_connections_max") == 10
    assert (value(figures, "evalqueue_pool_connections", state="idle") or 0) > 0
    assert value(figures, "evalqueue_notifications_connected") == (1 if listen else None)
    age = value(figures, "evalqueue_notifications_probe_age_seconds")
    assert (age is not None) == listen
