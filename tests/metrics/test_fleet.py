"""What the API says of all jobs and workers is what the tables hold, and costs one statement."""

import asyncio
from typing import Any

import pytest
from scraping import Figures, parsed, summed, value

from evalqueue import Client, JobParams
from evalqueue.metrics import fleet
from evalqueue.metrics.fleet import FleetMetrics
from evalqueue.metrics.registry import NAMES_MAX, Metrics
from evalqueue.postgres.database import Database

OF_JOB = ("queue", "job_type")


class Chore(JobParams, job_type="chore"):
    pass


class Task(JobParams, job_type="task"):
    pass


class Scraped:
    """Fleet metrics, and how often the database was asked for."""

    def __init__(self, database: Database) -> None:
        self.metrics = Metrics()
        self.fleet = FleetMetrics(self.metrics)
        self.reads = 0
        self._database = database

    async def read(self) -> Figures:
        await self.fleet.refresh(self._opened)
        return parsed(self.metrics.expose().decode())

    async def _opened(self) -> Database:
        self.reads += 1
        return self._database


async def run(database: Database, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        cursor = await connection.execute(statement.encode(), arguments)
        return await cursor.fetchall() if cursor.description else []


async def submitted(dsn: str) -> None:
    async with Client(dsn) as client:
        for queue, priority, count in (("a", 0, 3), ("a", 5, 2), ("b", 0, 4)):
            for number in range(count):
                owner = f"owner-{number}"
                await client.submit(Chore(), queue=queue, priority=priority, owner=owner)
        await client.submit(Task(), queue="a")
        first = await client.submit(Task(), queue="b")
        await client.submit(Task(), queue="b", after=first.id)


async def test_waiting_and_running_jobs_are_counted_by_queue_and_type(dsn: str, database: Database):
    await submitted(dsn)
    await run(
        database,
        "UPDATE jobs SET due_at = clock_timestamp() + interval '1 hour' WHERE id IN ("
        "SELECT id FROM jobs WHERE queue = 'b' AND job_type = 'chore' LIMIT 1)",
    )
    await run(
        database,
        "UPDATE jobs SET due_at = clock_timestamp() - interval '1 hour' WHERE id IN ("
        "SELECT id FROM jobs WHERE queue = 'a' AND priority = 0 AND job_type = 'chore' LIMIT 1)",
    )
    await run(
        database,
        "SELECT evalqueue_claim_jobs(w.id, w.name, ARRAY['b'], ARRAY['task'], 1, 60, '{}') FROM"
        " evalqueue_register_worker('w', 'h', 1, '', ARRAY['b'], ARRAY['task'], 7) AS w",
    )
    await run(database, "INSERT INTO job_queues (name, paused_at) VALUES ('a', now())")
    figures = await Scraped(database).read()

    assert summed([figures], "evalqueue_queue_due_jobs", *OF_JOB) == {
        ("a", "chore"): 5, ("a", "task"): 1, ("b", "chore"): 3,
    }  # fmt: skip
    assert +summed([figures], "evalqueue_queue_later_jobs", *OF_JOB) == {("b", "chore"): 1}
    assert summed([figures], "evalqueue_running_jobs", *OF_JOB) == {("b", "task"): 1}
    ages = summed([figures], "evalqueue_queue_oldest_due_age_seconds", *OF_JOB)
    assert set(ages) == {("a", "chore"), ("a", "task"), ("b", "chore")}
    assert 3600 < ages["a", "chore"] < 3700
    assert ages["b", "chore"] < 100
    assert summed([figures], "evalqueue_queue_paused", "queue") == {("a",): 1}
    assert value(figures, "evalqueue_workers") == 1
    assert value(figures, "evalqueue_worker_slots") == 7
    assert value(figures, "evalqueue_leaders") == 0
    assert value(figures, "evalqueue_leases_run_out") == 0
    assert value(figures, "evalqueue_queue_counts_complete") == 1
    assert value(figures, "evalqueue_database_up") == 1


async def test_counts_are_bounded_and_the_oldest_job_is_found_all_the_same(
    dsn: str, database: Database, monkeypatch: pytest.MonkeyPatch
):
    await submitted(dsn)
    await run(
        database,
        "UPDATE jobs SET due_at = clock_timestamp() - interval '1 hour' WHERE id IN ("
        "SELECT id FROM jobs WHERE queue = 'a' AND priority = 0 AND job_type = 'chore' LIMIT 1)",
    )
    monkeypatch.setattr(fleet, "JOBS_MAX", 4)  # two of each queue
    figures = await Scraped(database).read()

    assert summed([figures], "evalqueue_queue_due_jobs").total() == 4
    assert value(figures, "evalqueue_queue_counts_complete") == 0
    ages = summed([figures], "evalqueue_queue_oldest_due_age_seconds", *OF_JOB)
    assert ages["a", "chore"] > 3600


async def test_queues_beyond_the_limit_become_other(dsn: str, database: Database):
    async with Client(dsn) as client:
        for number in range(60):
            await client.submit(Chore(), queue=f"q-{number}")
            await client.submit(Task(), queue=f"q-{number}")
    figures = await Scraped(database).read()
    due = summed([figures], "evalqueue_queue_due_jobs", *OF_JOB)

    assert len(due) == NAMES_MAX + 1
    assert due["other", "other"] == 120 - NAMES_MAX
    assert due.total() == 120


async def test_scrapes_at_the_same_time_and_soon_after_cost_one_statement(database: Database):
    scraped = Scraped(database)
    await asyncio.gather(*(scraped.read() for _ in range(20)))
    await scraped.read()
    assert scraped.reads == 1


async def test_a_scrape_does_not_wait_for_a_table_that_is_locked(
    database: Database, caplog: pytest.LogCaptureFixture
):
    scraped = Scraped(database)
    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        figures = await scraped.read()
    assert value(figures, "evalqueue_database_up") == 0
    assert summed([figures], "evalqueue_workers") == {}
    assert "statement timeout" in caplog.text


async def test_a_scrape_does_not_wait_for_a_database_that_never_answers(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fleet, "READ_TIMEOUT", 0.1)
    scraped = Scraped(database)
    await scraped.read()
    scraped.fleet._read_at = None
    never: asyncio.Future[Database] = asyncio.get_running_loop().create_future()

    async def opened() -> Database:
        return await never

    await scraped.fleet.refresh(opened)
    figures = parsed(scraped.metrics.expose().decode())
    await scraped.fleet.aclose()
    assert value(figures, "evalqueue_database_up") == 0


async def test_a_statement_that_the_database_refuses_leaves_no_old_figures(
    monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    scraped = Scraped(database)
    monkeypatch.setattr(fleet, "CACHE_SECONDS", 0.0)
    assert value(await scraped.read(), "evalqueue_database_up") == 1
    async with database.connection() as connection:
        await connection.execute("ALTER TABLE job_leader RENAME TO elsewhere")
    figures = await scraped.read()
    assert value(figures, "evalqueue_database_up") == 0
