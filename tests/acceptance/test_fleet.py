"""Several worker processes: a large batch is shared, a small one does not wait for it."""

import asyncio
import csv
import io
from typing import Any

import pytest

from evalqueue import Client, Job, JobStatus
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.simulated.conversations import kaira_csv
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour, SimulatedServer

PATIENCE = 60.0  # seconds
THREADS = 100


@pytest.fixture
def many() -> str:
    """The bundled conversations many times over, under names of their own."""
    with kaira_csv().open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    renamed = io.StringIO()
    writer = csv.DictWriter(renamed, fieldnames=list(found[0]))
    writer.writeheader()
    for copy in range(6):
        for row in found:
            writer.writerow(row | {"thread_id": f"{row['thread_id']}-{copy}"})
    return renamed.getvalue()


async def rows(database: Database, sql: str) -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        return await (await connection.execute(sql.encode())).fetchall()


async def until(database: Database, sql: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while not (await rows(database, sql))[0][0]:
            await asyncio.sleep(0.05)


def batch(content: str, **params: Any) -> EvaluateBatch:
    return EvaluateBatch(
        csv_content=content, evaluate_correctness=False, evaluate_efficiency=False,
        concurrency=4, **params,
    )  # fmt: skip


def assert_complete(job: Job) -> None:
    assert job.status is JobStatus.COMPLETED, job.error_message
    assert job.progress.message == f"Thread {THREADS}/{THREADS} ({THREADS} ok, 0 failed)"


async def test_a_large_batch_is_shared_by_idle_workers_and_survives_the_loss_of_each(
    client: Client, database: Database, start_daemon: Any, many: str
):
    # Alone, the first worker would have enough to do for a minute: the others may take their time.
    slow, fast = Behaviour(latency_ms=1000), Behaviour(latency_ms=250)
    async with SimulatedServer(slow) as judge, SimulatedServer(fast) as other:
        url = {"EVALQUEUE_SIMULATED_URL": judge.url}
        async with start_daemon(**url) as first:
            job = await client.submit(batch(many, sample_size=THREADS))
            await until(database, "SELECT count(*) > 0 FROM thread_evaluations")
            url_of_last = {"EVALQUEUE_SIMULATED_URL": other.url}
            async with start_daemon(**url) as late, start_daemon(**url_of_last):
                await until(
                    database, "SELECT count(DISTINCT worker) = 3 FROM jobs WHERE status = 'running'"
                )
                for lost in (late, first):
                    await lost.kill()
                    await lost.declare_lost()
                job = await client.wait(job.id, timeout=PATIENCE)
        requests = sum(each.simulation.stats["requests"] for each in (judge, other))

    assert_complete(job)
    assert await rows(
        database, "SELECT count(*), count(DISTINCT thread_id) FROM thread_evaluations"
    ) == [(THREADS, THREADS)]
    ((bought, answered),) = await rows(
        database, "SELECT count(DISTINCT request_hash), count(*) FROM api_logs WHERE outcome = 'ok'"
    )
    assert bought == answered  # whatever is on record was bought once
    ((longest,),) = await rows(
        database,
        "SELECT max(count) FROM (SELECT count(*) FROM api_logs WHERE outcome = 'ok'"
        " GROUP BY thread_id) AS calls",
    )
    # What was not on record yet is of the four threads that either of them was at.
    assert requests - answered <= 2 * 4 * longest
    assert await rows(database, "SELECT count(*) FROM jobs WHERE completed_at IS NULL") == [(0,)]
    assert await rows(database, "SELECT count(*) FROM job_items") == [(0,)]
    assert [each.id for each in await client.list()] == [job.id]  # hands are nobody's business


async def test_a_small_batch_does_not_wait_for_large_ones_that_have_every_slot(
    client: Client, database: Database, start_daemon: Any, many: str
):
    async with SimulatedServer(Behaviour(latency_ms=300, latency_sigma=0)) as judge:
        async with start_daemon("--concurrency=2", EVALQUEUE_SIMULATED_URL=judge.url):
            large = [await client.submit(batch(many, name=name)) for name in ("one", "two")]
            await until(database, "SELECT count(*) = 2 FROM jobs WHERE status = 'running'")
            small = await client.submit(EvaluateBatch(total_items=5), owner="someone-else")
            small = await client.wait(small.id, timeout=PATIENCE)
            left = [(await client.get(job.id)).progress for job in large]
            for job in large:
                await client.cancel(job.id)

    assert small.status is JobStatus.COMPLETED
    assert all(each.current < each.total for each in left)
    outcomes = await rows(database, "SELECT outcome, count(*) FROM job_attempts GROUP BY 1")
    assert dict(outcomes)["yielded"] >= 1
    assert dict(outcomes).keys() <= {"yielded", "completed", "cancelled"}
    assert await rows(database, "SELECT sum(failed_attempts) FROM jobs") == [(0,)]
