"""Datasets beside jobs: plain SQL, schedules, removal while somebody submits."""

import asyncio
import io
import json
from typing import Any

import psycopg

from evalqueue import Settings
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.evaluators.datasets.store import Removal
from evalqueue.evaluators.simulated.conversations import sample_csv
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Database

PATIENCE = 30.0  # seconds
CSV = sample_csv().read_text()
SUBMIT = "SELECT (evalqueue_submit_job_row('evaluate-batch', %s, 'ann')).params ->> 'dataset_id'"


async def value(database: Database, sql: str, *arguments: object) -> Any:
    async with database.connection() as connection:
        cursor = await connection.execute(sql.encode(), arguments)
        return (await cursor.fetchone() or [None])[0]


async def add(database: Database, *, kept: bool = True) -> str:
    incoming = Incoming(file=io.BytesIO(CSV.encode()), name="sample.csv")
    return (await imports.add(database, incoming, owner="ann", kept=kept)).dataset_id


async def test_a_dataset_that_came_by_plain_sql_is_its_job_s_owner_s_and_is_read_later(
    database: Database,
):
    dataset_id = await value(database, SUBMIT, json.dumps({"csv_content": CSV}))

    owner = await value(database, "SELECT owner FROM dataset_owners")
    named = await value(database, "SELECT dataset_id FROM eval_runs")
    assert (owner, named) == ("ann", dataset_id)
    assert await add(database) == dataset_id, "what was stored as text is read now"
    assert await value(database, "SELECT content FROM datasets") is None


async def test_what_was_not_read_yet_is_in_no_list(database: Database):
    dataset_id = await value(database, SUBMIT, json.dumps({"csv_content": CSV}))
    async with database.connection() as connection:
        assert await datasets.list_datasets(connection, owner="ann", limit=9, offset=0) == []
        assert await datasets.raw(connection, dataset_id) == CSV


async def test_whoever_asks_while_somebody_else_reads_it_gets_what_was_read(database: Database):
    """Of many who ask, one after the other, some ask in the very moment in which it is read."""
    admission = AdmissionContext(settings=Settings(), database=database, owner="ann")
    for attempt in range(10):
        text = CSV.replace("thr_", f"t{attempt}_")
        dataset_id = await value(database, SUBMIT, json.dumps({"csv_content": text}))
        wanted = EvaluateBatch(dataset_id=dataset_id)

        async def ask(after: int, wanted: EvaluateBatch = wanted) -> Any:
            await asyncio.sleep(after / 1000)
            return await wanted.content(admission)

        found = await asyncio.gather(*(ask(after) for after in range(80)))

        assert {(each.format, each.threads) for each in found} == {("csv", 5)}


async def test_whoever_submits_while_a_dataset_is_removed_either_has_it_or_knows(
    dsn: str, database: Database
):
    dataset_id = await add(database)
    async with await psycopg.AsyncConnection.connect(dsn) as mine:
        await mine.execute(SUBMIT, [json.dumps({"dataset_id": dataset_id})])
        removing = asyncio.create_task(remove(database, dataset_id))
        await somebody_waits_for_a_lock(database)
        await mine.commit()
        assert await removing is Removal.READ

    async with database.connection() as connection:
        assert len(await datasets.thread_ids(connection, dataset_id)) == 5


async def test_a_job_that_comes_while_its_dataset_is_removed_is_taken_and_names_none(
    dsn: str, database: Database
):
    dataset_id = await add(database)
    async with await psycopg.AsyncConnection.connect(dsn) as mine:
        assert await datasets.remove(mine, dataset_id, owner="ann") is Removal.GONE
        params = json.dumps({"dataset_id": dataset_id})
        submitting = asyncio.create_task(value(database, SUBMIT, params))
        await somebody_waits_for_a_lock(database)
        await mine.commit()
        assert await submitting == dataset_id

    assert await value(database, "SELECT dataset_id FROM eval_runs") is None


async def remove(database: Database, dataset_id: str) -> Removal | None:
    async with database.transaction() as connection:
        return await datasets.remove(connection, dataset_id, owner="ann")


async def somebody_waits_for_a_lock(database: Database) -> None:
    async with asyncio.timeout(PATIENCE):
        while await value(database, "SELECT 1 FROM pg_locks WHERE NOT granted") is None:
            await asyncio.sleep(0.01)


async def test_what_a_schedule_names_stays(database: Database):
    dataset_id = await add(database, kept=False)
    await value(database, "UPDATE datasets SET created_at = now() - interval '1 year' RETURNING 1")
    await value(
        database,
        "INSERT INTO job_schedules (name, cron, timezone, job_type, params, owner, queue, priority,"
        " max_attempts, next_at) VALUES ('n', '@daily', 'UTC', 'evaluate-batch', %s, 'ann', 'q', 0,"
        " 3, now()) RETURNING 1",
        json.dumps({"dataset_id": dataset_id}),
    )
    prune = "SELECT evalqueue_prune('1 day', '1 day', NULL)"
    assert await value(database, prune) == 0
    await value(database, "DELETE FROM job_schedules RETURNING 1")
    assert await value(database, prune) == 1


def test_a_schedule_reads_a_file_as_it_is_each_time():
    dataset_id = "sha256:" + "0" * 64
    of_file = EvaluateBatch(data_path="a.csv", dataset_id=dataset_id, seed=3)
    of_content = EvaluateBatch(dataset_id=dataset_id)

    assert of_file.lasting() == {"data_path": "a.csv", "seed": 3}
    assert of_content.lasting() == {"dataset_id": dataset_id}


async def test_what_takes_several_statements_is_done_again_while_the_database_is_away(
    database: Database,
):
    tries: list[int] = []

    async def look() -> str:
        tries.append(len(tries))
        if len(tries) < 3:
            raise psycopg.OperationalError("gone")
        return await value(database, "SELECT 'there'")

    assert await database.retry_transient(look, what="A look") == "there"
    assert tries == [0, 1, 2]


async def test_importing_leaves_connections_for_everybody_else(dsn: str):
    database = Database(dsn, max_size=10)
    await database.open()
    entered: list[int] = []
    go_on = asyncio.Event()

    async def importing(number: int) -> None:
        async with database.long_transaction():
            entered.append(number)
            await go_on.wait()

    try:
        async with asyncio.TaskGroup() as tasks:
            for number in range(5):
                tasks.create_task(importing(number))
            async with asyncio.timeout(PATIENCE):
                while len(entered) < 2:
                    await asyncio.sleep(0.01)
            assert await value(database, "SELECT pg_sleep(0.2)::text") == ""
            assert len(entered) == 2
            go_on.set()
        assert len(entered) == 5
    finally:
        await database.close()


async def test_looking_leaves_room_for_importing(dsn: str):
    database = Database(dsn, max_size=10)
    await database.open()
    looking = 0
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def look() -> None:
        nonlocal looking
        async with database.long_read():
            looking += 1
            begun.set()
            await go_on.wait()

    try:
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(30):
            for _ in range(5):
                tasks.create_task(look())
            await begun.wait()
            async with database.long_transaction():
                assert looking == 1
            go_on.set()
        assert looking == 5
    finally:
        await database.close()
