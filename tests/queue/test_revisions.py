"""The columns that watchers need: a revision that grows with every change, and queue positions."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import psycopg
import pytest

from evalqueue import Client, JobParams
from evalqueue.jobs import Job
from evalqueue.postgres import store
from evalqueue.postgres.addresses import asyncpg_dsn
from evalqueue.postgres.database import Database
from evalqueue.postgres.listener import JOB_CHANGED


class Note(JobParams, job_type="note"):
    name: str | None = None


async def fetch_one(database: Database, statement: str, *values: Any) -> Any:
    async with database.connection() as connection:
        cursor = await connection.execute(statement, values)  # pyright: ignore[reportArgumentType]
        return None if cursor.description is None else await cursor.fetchone()


async def revision(database: Database, job_id: UUID) -> int:
    return (await fetch_one(database, "SELECT revision FROM jobs WHERE id = %s", job_id))[0]


async def task(database: Database, job_id: UUID, change: str) -> None:
    await fetch_one(
        database,
        f"UPDATE procrastinate_jobs SET {change} WHERE id ="
        " (SELECT task_id FROM jobs WHERE id = %s)",
        job_id,
    )


async def flush(database: Database, job_id: UUID, progress: str | None) -> None:
    statement = "SELECT evalqueue_flush_job(%s, 1, %s::jsonb, 30)"
    assert await fetch_one(database, statement, job_id, progress) == (True,)


@pytest.fixture
async def client(database: Database) -> Client:
    return Client(database=database)


async def test_every_change_has_a_revision_of_its_own_and_a_notification(
    client: Client, database: Database, dsn: str
) -> None:
    notified: asyncio.Queue[str] = asyncio.Queue()
    listening = await asyncpg.connect(asyncpg_dsn(dsn))
    await listening.add_listener(JOB_CHANGED, lambda *args: notified.put_nowait(str(args[-1])))  # pyright: ignore[reportUnknownLambdaType]
    job = await client.submit(Note())
    seen = [await revision(database, job.id)]
    for change in (
        "priority = 3", "queue_name = 'elsewhere'", "scheduled_at = now() + interval '1 hour'",
        "status = 'doing'", "status = 'todo'", "status = 'doing'", "status = 'succeeded'",
    ):  # fmt: skip
        await task(database, job.id, change)
        seen.append(await revision(database, job.id))

    assert seen == sorted(set(seen))
    async with asyncio.timeout(30):
        assert [await notified.get() for _ in seen] == [str(job.id)] * len(seen)
    await listening.close()


async def test_progress_is_a_revision_and_a_longer_lease_is_none(
    client: Client, database: Database
) -> None:
    job = await client.submit(Note())
    await task(database, job.id, "status = 'doing'")
    before = await revision(database, job.id)

    await flush(database, job.id, '{"current": 1, "total": 2, "message": "one"}')
    after = await revision(database, job.id)
    await fetch_one(database, "UPDATE jobs SET lease_expires_at = now() WHERE id = %s", job.id)
    await flush(database, job.id, None)
    await flush(database, job.id, '{"current": 1, "total": 2, "message": "one"}')

    assert after == before + 1
    assert await revision(database, job.id) == after


async def test_a_job_that_is_continued_says_so(client: Client, database: Database) -> None:
    job = await client.submit(Note())
    await client.cancel(job.id)
    before = await client.get(job.id)

    continues = await client.retry(job.id)

    after = await client.get(job.id)
    assert (before.continued_by, after.continued_by) == (None, continues.id)
    assert after.revision == before.revision + 1
    assert (await client.list())[1] == after


async def test_progress_updates_stay_within_their_page(client: Client, dsn: str) -> None:
    job = await client.submit(Note())
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "UPDATE procrastinate_jobs SET status = 'doing' WHERE id ="
            " (SELECT task_id FROM jobs WHERE id = %s)",
            [job.id],
        )
        counts: list[tuple[int, int]] = []
        for _ in range(2):
            connection.execute("SELECT pg_stat_force_next_flush()")
            row = connection.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs'"
            ).fetchone()
            assert row is not None
            counts.append(row)
            for number in range(300):
                progress = f'{{"current": {number}, "total": 300, "message": ""}}'
                connection.execute(
                    "SELECT evalqueue_flush_job(%s, 1, %s::jsonb, 30)", [job.id, progress]
                )

    (updates, hot), (updates_after, hot_after) = counts
    assert updates_after - updates == 300
    assert hot_after - hot >= 270  # an update leaves a full page now and then


async def test_places_are_counted_in_the_order_of_the_queue(
    client: Client, database: Database
) -> None:
    first = await client.submit(Note(), owner="a")
    other_owner = await client.submit(Note(), owner="b")
    urgent = await client.submit(Note(), priority=9)
    last = await client.submit(Note(name="the last one"))
    later = await client.submit(Note(), priority=9, scheduled_at=datetime.now(UTC) + timedelta(1))
    after = await client.submit(Note(), after=first.id)
    elsewhere = await client.submit(Note(), queue="elsewhere")
    running = await client.submit(Note(), priority=99)
    await task(database, running.id, "status = 'doing'")
    async with database.connection() as connection:
        assert await store.start_helpers(connection, job_id=running.id, attempt=1, wanted=3)

    looked = {job.id: job for job in await client.list()}

    expected = {
        urgent.id: 0, first.id: 1, other_owner.id: 2, last.id: 3, elsewhere.id: 0,
        later.id: None, after.id: None, running.id: None,
    }  # fmt: skip
    assert {job_id: job.ahead for job_id, job in looked.items()} == expected
    for job_id, ahead in expected.items():
        assert (await client.get(job_id)).ahead == ahead
    assert (looked[last.id].name, looked[first.id].name) == ("the last one", None)


async def test_places_are_counted_to_a_thousand(client: Client, database: Database) -> None:
    await fetch_one(database, "SELECT evalqueue_submit_job('note') FROM generate_series(1, 1005)")
    job = await client.submit(Note())
    front = await client.submit(Note(), priority=1)

    assert ((await client.get(job.id)).ahead, (await client.get(front.id)).ahead) == (1000, 0)
    assert [job.ahead for job in await client.list(limit=2)] == [0, 1000]


async def test_changes_are_read_without_helper_jobs_and_without_large_values(
    client: Client, database: Database
) -> None:
    job = await client.submit(Note(name="large"))
    await task(database, job.id, "status = 'doing'")
    async with database.connection() as connection:
        await store.start_helpers(connection, job_id=job.id, attempt=1, wanted=1)
        (helper_id,) = await fetch_one(database, "SELECT id FROM jobs WHERE parent_id = %s", job.id)
        ids = [job.id, helper_id, uuid4()]

        (brief,) = await store.changed(connection, ids, watched=[])
        watched = await store.changed(connection, ids, watched=[job.id, helper_id])

    assert (brief.id, brief.params, brief.name) == (job.id, {}, "large")
    by_id: dict[UUID, Job] = {each.id: each for each in watched}
    assert by_id[job.id] == await client.get(job.id)
    assert by_id[helper_id].parent_id == job.id
