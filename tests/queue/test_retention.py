"""Pruning deletes old jobs with all that belongs to them, and nothing else."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from evalqueue.jobs import Ended, Job
from evalqueue.postgres import fleet, store
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.fleet import Capabilities
from evalqueue.postgres.store import Submission
from evalqueue.worker.leader import Retention, prune

CAPABILITIES = Capabilities(queues=None, job_types=["evaluate-it"])
OLD = timedelta(days=10)
PATIENCE = 30.0  # seconds


@pytest.fixture
async def connection(database: Database) -> AsyncGenerator[Connection]:
    async with database.connection() as connection:
        yield connection


async def submitted(connection: Connection, **params: Any) -> Job:
    return await store.submit(connection, Submission(job_type="evaluate-it", params=params))


async def begun(connection: Connection) -> Job:
    worker = await fleet.register(
        connection, name="w", version="1", capabilities=CAPABILITIES, slots=1
    )
    (job,) = await fleet.claim(connection, worker, CAPABILITIES, slots=1, lease_seconds=30)
    return job


async def over(connection: Connection, **params: Any) -> Job:
    """A job that was completed ten days ago, with a thread and a call in its run."""
    await submitted(connection, **params)
    job = await begun(connection)
    run_id = job.progress.details["run_id"]
    await connection.execute(
        "INSERT INTO thread_evaluations (run_id, thread_id, result, attempt, duration_ms) "
        "VALUES (%s, 't', '{}', 1, 1)", [run_id],
    )  # fmt: skip
    await call(connection, run_id)
    await store.finish(
        connection, job_id=job.id, attempt=1, ended=Ended.completed({}), delete_task=False
    )
    await ages(connection)
    return job


async def call(connection: Connection, run_id: str) -> None:
    await connection.execute(
        "INSERT INTO api_logs (run_id, evaluator, provider, model, method, outcome, try_number, "
        "prompt, duration_ms, attempt, started_at) "
        "VALUES (%s, 'e', 'p', 'm', 'x', 'ok', 1, '', 1, 1, now())", [run_id],
    )  # fmt: skip


async def ages(connection: Connection) -> None:
    """Date the end of all jobs back by ten days."""
    for table in ("jobs", "eval_runs"):
        await connection.execute(f"UPDATE {table} SET completed_at = now() - interval '10 days' "
                                 "WHERE completed_at IS NOT NULL".encode())  # fmt: skip
    await connection.execute("UPDATE datasets SET created_at = now() - interval '10 days'")


async def counted(connection: Connection) -> dict[str, int]:
    found: dict[str, int] = {}
    for table in (
        "jobs", "procrastinate_jobs", "job_attempts", "eval_runs", "thread_evaluations", "api_logs",
        "datasets",
    ):  # fmt: skip
        row = await (await connection.execute(f"SELECT count(*) FROM {table}".encode())).fetchone()
        assert row is not None
        if row[0]:
            found[table] = row[0]
    return found


ALL = {
    "jobs": 1, "procrastinate_jobs": 1, "job_attempts": 1, "eval_runs": 1,
    "thread_evaluations": 1, "api_logs": 1,
}  # fmt: skip
RUN = {"eval_runs": 1, "thread_evaluations": 1, "api_logs": 1}


@pytest.mark.parametrize(
    ("retention", "left"),
    [
        (Retention(), ALL),
        (Retention(jobs=2 * OLD, runs=2 * OLD, logs=2 * OLD), ALL),
        (Retention(jobs=OLD / 2), RUN),
        (Retention(runs=OLD / 2), {"jobs": 1, "procrastinate_jobs": 1, "job_attempts": 1}),
        (Retention(logs=OLD / 2), {key: 1 for key in ALL if key != "api_logs"}),
        (Retention(jobs=OLD / 2, runs=OLD / 2, logs=OLD / 2), {}),
    ],
)
async def test_what_is_older_than_it_is_to_be_kept_goes_and_nothing_else(
    database: Database, connection: Connection, retention: Retention, left: dict[str, int]
):
    await over(connection)
    await prune(database, retention)

    assert await counted(connection) == left


async def test_what_is_not_over_is_never_old(database: Database, connection: Connection):
    await over(connection)
    waits, runs = await submitted(connection), await submitted(connection)
    await connection.execute(
        "UPDATE jobs SET created_at = now() - interval '1 year' WHERE status = 'queued'"
    )
    await begun(connection)
    now = timedelta(0)
    await prune(database, Retention(jobs=now, runs=now, logs=now))

    cursor = await connection.execute("SELECT id FROM jobs")
    assert {row[0] for row in await cursor.fetchall()} == {waits.id, runs.id}
    assert (await counted(connection))["eval_runs"] == 2


async def test_it_goes_a_chunk_at_a_time_oldest_first(connection: Connection):
    jobs = [await over(connection) for _ in range(5)]
    for n, job in enumerate(jobs):
        await connection.execute(
            "UPDATE jobs SET completed_at = now() - make_interval(days => 99 - %s) WHERE id = %s",
            [n, job.id],
        )
    gone: list[Any] = []
    for left in (jobs[2:], jobs[4:], [], []):
        cursor = await connection.execute("SELECT evalqueue_prune('5 days', NULL, NULL, 2)")
        gone.extend(await cursor.fetchone() or ())
        cursor = await connection.execute("SELECT id FROM jobs")
        assert {row[0] for row in await cursor.fetchall()} == {job.id for job in left}

    assert gone == [2, 2, 1, 0]


async def with_calls(connection: Connection) -> int:
    """How many runs retention still looks at."""
    cursor = await connection.execute("SELECT count(*) FROM eval_runs WHERE has_calls")
    return (await cursor.fetchone() or (0,))[0]


async def test_runs_whose_calls_are_deleted_are_not_looked_at_again(connection: Connection):
    jobs = [await over(connection) for _ in range(5)]
    await call(connection, jobs[0].progress.details["run_id"])
    found: list[tuple[Any, int]] = []
    for _ in range(5):
        cursor = await connection.execute("SELECT evalqueue_prune(NULL, NULL, '5 days', 2)")
        (deleted,) = await cursor.fetchone() or (None,)
        found.append((deleted, await with_calls(connection)))

    assert sorted(deleted for deleted, _ in found) == [1, 1, 1, 1, 2]
    assert found[-1][1] == 0
    assert (await counted(connection))["eval_runs"] == 5


async def test_a_call_that_comes_after_its_run_was_pruned_is_deleted_by_the_next_look(
    database: Database, connection: Connection
):
    job = await over(connection)
    await prune(database, Retention(logs=OLD / 2))
    await call(connection, job.progress.details["run_id"])
    assert (await counted(connection))["api_logs"] == 1

    await prune(database, Retention(logs=OLD / 2))

    assert "api_logs" not in await counted(connection)


async def test_helper_jobs_are_deleted_with_their_parent_and_not_before(
    database: Database, connection: Connection
):
    await submitted(connection)
    parent = await begun(connection)
    await store.start_helpers(connection, job_id=parent.id, attempt=1, wanted=2)
    helper_job = await begun(connection)
    await store.finish(
        connection, job_id=helper_job.id, attempt=1, ended=Ended.completed({}), delete_task=False
    )
    await ages(connection)
    await prune(database, Retention(jobs=OLD / 2))
    assert (await counted(connection))["jobs"] == 3

    await store.finish(
        connection, job_id=parent.id, attempt=1, ended=Ended.completed({}), delete_task=False
    )
    await ages(connection)
    await prune(database, Retention(jobs=OLD / 2))
    assert await counted(connection) == {"eval_runs": 1}


async def test_what_continues_a_job_outlives_it(database: Database, connection: Connection):
    old = await over(connection)
    await connection.execute("""UPDATE jobs SET result = '{"incomplete": true}'""")
    new = await store.retry(connection, old.id)
    assert new is not None
    await prune(database, Retention(jobs=OLD / 2, runs=OLD / 2))
    new = await store.get(connection, new.id)

    assert new is not None
    assert new.retry_of is None
    assert (await counted(connection))["eval_runs"] == 1, "its run goes on"


# Datasets.

CSV = "thread_id,text\n1,hello\n"


async def content(connection: Connection, job: Job) -> str | None:
    cursor = await connection.execute(
        "SELECT content FROM datasets WHERE id = %s", [job.params["dataset_id"]]
    )
    return (await cursor.fetchone() or [None])[0]


async def test_a_dataset_is_kept_while_any_job_or_run_names_it(
    database: Database, connection: Connection
):
    await over(connection, csv_content=CSV)
    waits = await submitted(connection, csv_content=CSV)
    await ages(connection)
    assert (await counted(connection))["datasets"] == 1
    await prune(database, Retention(jobs=OLD / 2))
    assert (await counted(connection))["datasets"] == 1

    await store.cancel(connection, waits.id)
    await ages(connection)
    await prune(database, Retention(jobs=OLD / 2))
    assert (await counted(connection))["datasets"] == 1, "what its runs found refers to it"

    await prune(database, Retention(jobs=OLD / 2, runs=OLD / 2))
    assert "datasets" not in await counted(connection)


async def test_a_dataset_that_an_owner_added_is_never_old(
    database: Database, connection: Connection
):
    await over(connection, csv_content=CSV)
    await connection.execute("UPDATE dataset_owners SET kept = true")
    await prune(database, Retention(jobs=OLD / 2, runs=OLD / 2))

    assert await counted(connection) == {"datasets": 1}


async def test_a_new_dataset_that_no_job_names_yet_is_not_old(
    database: Database, connection: Connection
):
    job = await over(connection, csv_content=CSV)
    await connection.execute("UPDATE datasets SET created_at = now()")
    await prune(database, Retention(jobs=OLD / 2))

    assert await store.get(connection, job.id) is None
    assert (await counted(connection))["datasets"] == 1


async def test_an_old_dataset_is_not_deleted_under_a_job_that_is_just_submitted(
    database: Database, connection: Connection, dsn: str
):
    await over(connection, csv_content=CSV)
    async with await psycopg.AsyncConnection.connect(dsn) as mine:
        job = await store.submit(
            mine, Submission(job_type="evaluate-it", params={"csv_content": CSV})
        )
        async with asyncio.timeout(PATIENCE):
            await prune(database, Retention(jobs=OLD / 2, runs=OLD / 2))
        await mine.commit()

    assert await content(connection, job) == CSV


async def test_a_job_that_comes_while_its_dataset_is_deleted_stores_it_again(
    database: Database, connection: Connection, dsn: str
):
    await over(connection, csv_content=CSV)
    async with await psycopg.AsyncConnection.connect(dsn) as mine:
        await mine.execute("SELECT evalqueue_prune('5 days', '5 days', NULL)")
        coming = asyncio.create_task(submit_on_its_own(database))
        await somebody_waits_for_a_lock(connection)
        await mine.commit()
        job = await coming

    assert await content(connection, job) == CSV


async def submit_on_its_own(database: Database) -> Job:
    async with database.connection() as connection:
        return await submitted(connection, csv_content=CSV)


async def somebody_waits_for_a_lock(connection: Connection) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            cursor = await connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
            if await cursor.fetchone() is not None:
                return
