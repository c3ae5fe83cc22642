"""Many jobs in one statement: all of them or none, in their order, and each as if it came alone."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from evalqueue import Client, InvalidParams, JobParams, KeyReused
from evalqueue.handlers import Handlers
from evalqueue.jobtypes import AdmissionContext
from evalqueue.testing import run_jobs

SUBMIT = "SELECT id FROM evalqueue_submit_job_rows(%s)"


class Greet(JobParams, job_type="greet"):
    name: str


class Picky(JobParams, job_type="picky"):
    number: int

    async def admit(self, admission: AdmissionContext) -> Self:
        if self.number % 2:
            raise InvalidParams.of("number", f"{self.number} is odd")
        return self


@pytest.fixture
async def client(dsn: str) -> AsyncGenerator[Client]:
    async with Client(dsn) as client:
        yield client


async def rows(client: Client, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
    async with (await client.database()).connection() as connection:
        return await (await connection.execute(statement.encode(), arguments)).fetchall()


async def counted(client: Client) -> tuple[int, int]:
    """Jobs and tasks."""
    (row,) = await rows(
        client, "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM procrastinate_jobs)"
    )
    return row[0], row[1]


async def test_jobs_are_stored_and_run_in_their_order(client: Client, dsn: str):
    names = [f"n{number}" for number in range(300)]
    greeted: list[str] = []
    handlers = Handlers()

    @handlers.handles(Greet)
    async def greet(_context: object, params: Greet) -> dict[str, Any]:
        greeted.append(params.name)
        return {"hello": params.name}

    jobs = await client.submit_many([Greet(name=name) for name in names], owner="ann", priority=3)
    await run_jobs(dsn, handlers, concurrency=1)

    assert [job.params["name"] for job in jobs] == names
    assert {(job.owner, job.priority, job.queue) for job in jobs} == {("ann", 3, "evalqueue")}
    assert greeted == names
    assert (await client.get(jobs[-1].id)).result == {"hello": "n299"}


async def test_each_job_has_the_task_that_names_it(client: Client):
    await client.submit_many([Greet(name=str(number)) for number in range(50)])

    assert await counted(client) == (50, 50)
    assert await rows(
        client,
        "SELECT count(*) FROM jobs JOIN procrastinate_jobs AS task ON task.id = task_id "
        "WHERE task.args ->> 'job_id' = jobs.id::text AND task.status = 'todo'",
    ) == [(50,)]


async def test_jobs_with_a_run_have_one_each(client: Client):
    submissions = [{"job_type": "evaluate-it", "params": {"name": f"r{n}"}} for n in range(5)]
    await rows(client, SUBMIT, Jsonb(submissions))

    assert await rows(
        client, "SELECT count(DISTINCT job_id) FROM eval_runs WHERE status = 'pending'"
    ) == [(5,)]


async def test_one_bad_job_stores_none_and_all_are_named(client: Client):
    with pytest.raises(InvalidParams) as refused:
        await client.submit_many([Picky(number=number) for number in (2, 3, 4, 5)])

    assert [(problem.loc, problem.msg) for problem in refused.value.problems] == [
        (("jobs", 1, "params", "number"), "3 is odd"),
        (("jobs", 3, "params", "number"), "5 is odd"),
    ]
    assert await counted(client) == (0, 0)


BAD = [
    (7, None, "A submission is a JSON object"),
    ({"params": {}}, "job_type", "From 1 to 50 lowercase"),
    ({"job_type": "No"}, "job_type", "From 1 to 50 lowercase"),
    ({"job_type": "greet", "job_tpye": "x"}, "job_tpye", "no such field"),
    ({"job_type": "greet", "params": [1]}, "params", "JSON object"),
    ({"job_type": "greet", "params": {"api_key": "x"}}, "params", "Credentials never travel"),
    ({"job_type": "greet", "owner": ""}, "owner", "From 1 to 200"),
    ({"job_type": "greet", "queue": "q" * 41}, "queue", "40 bytes"),
    ({"job_type": "greet", "idempotency_key": ""}, "idempotency_key", "From 1 to 255"),
    ({"job_type": "greet", "priority": "high"}, "priority", "integer"),
    ({"job_type": "greet", "max_attempts": 0}, "max_attempts", "positive"),
    ({"job_type": "greet", "scheduled_at": "9999-06-01"}, "scheduled_at", "Later than any job"),
    ({"job_type": "greet", "after": "yesterday"}, "after", "id of a job"),
    ({"job_type": "greet", "after": str(uuid4())}, "after", "not there"),
]


@pytest.mark.parametrize(("bad", "field", "problem"), BAD)
async def test_sql_names_what_is_wrong(client: Client, bad: object, field: str, problem: str):
    good = {"job_type": "greet", "params": {"name": "Asha"}}

    with pytest.raises(psycopg.errors.InvalidParameterValue, match="Submission 2: ") as refused:
        await rows(client, SUBMIT, Jsonb([good, good, bad, good]))

    assert problem in str(refused.value)
    assert f'"field": {"null" if field is None else chr(34) + field + chr(34)}' in (
        refused.value.diag.message_detail or ""
    )
    assert await counted(client) == (0, 0)


async def test_nulls_are_defaults(client: Client):
    submission = {"job_type": "greet", "params": None, "owner": None, "priority": None,
                  "scheduled_at": None, "queue": None, "max_attempts": None,
                  "idempotency_key": None, "after": None, "requested": None}  # fmt: skip
    await rows(client, SUBMIT, Jsonb([submission]))

    found = await rows(
        client, "SELECT params, owner, priority, queue, max_attempts, waiting FROM jobs"
    )
    assert found == [({}, "default", 0, "evalqueue", 3, False)]


async def test_the_same_key_in_one_batch_is_one_job(client: Client):
    asha, bo = Greet(name="Asha"), Greet(name="Bo")

    jobs = await client.submit_many([asha, bo, asha], idempotency_keys=["a", None, "a"])
    again = await client.submit_many([asha, bo, asha], idempotency_keys=["a", "b", "a"])

    assert jobs[0].id == jobs[2].id == again[0].id == again[2].id
    assert len({job.id for job in (*jobs, *again)}) == 3
    assert await counted(client) == (3, 3)


async def test_a_key_is_the_same_alone_and_in_a_batch(client: Client):
    when = datetime.now(UTC) + timedelta(days=1)
    alone = await client.submit(Greet(name="Asha"), scheduled_at=when, idempotency_key="a")
    (in_batch,) = await client.submit_many(
        [Greet(name="Asha")], scheduled_at=when, idempotency_keys=["a"]
    )
    (first,) = await client.submit_many([Greet(name="Bo")], idempotency_keys=["b"])

    assert in_batch.id == alone.id
    assert (await client.submit(Greet(name="Bo"), idempotency_key="b")).id == first.id


@pytest.mark.parametrize("names", [["Asha", "Bo"], ["Bo"]])
async def test_a_key_of_another_request_is_refused(client: Client, names: list[str]):
    if names == ["Bo"]:
        await client.submit(Greet(name="Asha"), idempotency_key="a")
    before = await counted(client)

    with pytest.raises(KeyReused, match="used for another request"):
        await client.submit_many(
            [Greet(name=name) for name in names], idempotency_keys=["a"] * len(names)
        )

    assert await counted(client) == before


async def test_batches_and_single_jobs_with_the_same_keys_at_once(client: Client):
    keys = [f"k{number}" for number in range(20)]
    params = [Greet(name=key) for key in keys]

    async def batch(backwards: bool) -> set[object]:
        step = -1 if backwards else 1
        jobs = await client.submit_many(params[::step], idempotency_keys=keys[::step])
        return {job.id for job in jobs}

    async def alone(number: int) -> set[object]:
        job = await client.submit(params[number], idempotency_key=keys[number])
        return {job.id}

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(batch(n % 2 == 0)) for n in range(6)]
        tasks += [group.create_task(alone(n)) for n in range(20)]

    assert len(set[object]().union(*(task.result() for task in tasks))) == 20
    assert await counted(client) == (20, 20)


async def test_nothing_is_stored_when_the_caller_rolls_back(client: Client, dsn: str):
    async with await psycopg.AsyncConnection.connect(dsn) as mine:
        jobs = await client.submit_many([Greet(name="Asha")] * 3, connection=mine)
        await mine.rollback()

    assert len(jobs) == 3
    assert await counted(client) == (0, 0)


async def test_jobs_after_another_one_wait_for_it(client: Client):
    first = await client.submit(Greet(name="Asha"))
    jobs = await client.submit_many([Greet(name="Bo")] * 2, after=first.id)
    await client.cancel(first.id)

    assert [job.waiting for job in jobs] == [True, True]
    assert {(await client.get(job.id)).status.value for job in jobs} == {"cancelled"}


async def test_limits_of_the_client(client: Client):
    assert await client.submit_many([]) == []
    with pytest.raises(ValueError, match="2 idempotency keys for 1 jobs"):
        await client.submit_many([Greet(name="Asha")], idempotency_keys=["a", "b"])
    with pytest.raises(ValueError, match="10001 jobs at once"):
        await client.submit_many([Greet(name="Asha")] * 10_001)
