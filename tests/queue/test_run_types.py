"""Jobs have a run if their type declares it, whatever its name."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from evalqueue import Client, Handlers, JobContext, JobParams
from evalqueue.evaluators.runs.params import RunParams
from evalqueue.postgres.database import Database
from evalqueue.testing import run_jobs

SUBMIT = "SELECT evalqueue_submit_job(%s, %s)"


class EvaluateMine(JobParams, job_type="evaluate-mine"):
    """A job type of an application, without runs."""

    csv_content: str | None = None


class Judge(RunParams, job_type="judge-it"):
    """A third party's job type that has a run."""

    name: str | None = None


@pytest.fixture
async def client(dsn: str) -> AsyncGenerator[Client]:
    async with Client(dsn) as client:
        yield client


async def rows(database: Database, sql: str, *arguments: object) -> list[Any]:
    async with database.connection() as connection:
        cursor = await connection.execute(sql.encode(), arguments)
        return await cursor.fetchall() if cursor.description else []


def handlers(seen: list[Any], result: Mapping[str, Any] | None = None) -> Handlers:
    handlers = Handlers()

    @handlers.handles(Judge)
    async def judge(context: JobContext, params: Judge) -> Mapping[str, Any] | None:
        seen.append(context.job.progress.details["run_id"])
        return result

    @handlers.handles(EvaluateMine)
    async def mine(context: JobContext, params: EvaluateMine) -> None:
        seen.append(params.csv_content)

    return handlers


async def test_a_user_s_own_job_type_named_evaluate_something_gets_no_run(
    dsn: str, database: Database, client: Client
):
    seen: list[Any] = []
    job = await client.submit(EvaluateMine(csv_content="a,b"))
    await rows(database, SUBMIT, "evaluate-mine", json.dumps({"csv_content": "c,d"}))
    await run_jobs(dsn, handlers(seen))

    assert job.params == {"csv_content": "a,b"}, "its params are its own"
    assert sorted(seen) == ["a,b", "c,d"]
    assert await rows(database, "SELECT status, progress ? 'run_id' FROM jobs") == [
        ("completed", False), ("completed", False),
    ]  # fmt: skip
    assert (
        await rows(database, "SELECT id FROM eval_runs UNION ALL SELECT NULL FROM datasets") == []
    )


async def test_a_declared_job_type_has_a_run_from_the_start_whoever_submits_it(
    dsn: str, database: Database, client: Client
):
    seen: list[Any] = []
    first = await client.submit(Judge(name="one"))
    await rows(database, SUBMIT, "judge-it", '{"name": "two"}')
    runs = "SELECT name, status, command FROM eval_runs ORDER BY created_at"
    assert await rows(database, runs) == [
        ("one", "pending", "judge-it"), ("two", "pending", "judge-it"),
    ]  # fmt: skip

    await run_jobs(dsn, handlers(seen, {"found": 1, "run_status": "completed"}))

    assert first.progress.details["run_id"] in seen
    assert await rows(database, "SELECT DISTINCT status, summary FROM eval_runs") == [
        ("completed", {"found": 1})
    ]


async def test_jobs_that_were_submitted_before_the_type_was_declared_get_their_run_then(
    dsn: str, database: Database
):
    """A submission by SQL, before any worker with the type has started."""
    seen: list[Any] = []
    for _ in range(3):
        await rows(database, SUBMIT, "judge-it", '{"name": "early"}')
    assert await rows(database, "SELECT id FROM eval_runs") == []

    await run_jobs(dsn, handlers(seen))

    found = await rows(
        database,
        "SELECT r.status, r.name, j.progress ->> 'run_id' = r.id::text"
        " FROM eval_runs r JOIN jobs j ON j.id = r.job_id",
    )
    assert found == [("completed", "early", True)] * 3
    assert len(set(seen)) == 3


async def test_declaring_a_type_from_many_workers_at_once_opens_each_run_once(database: Database):
    for _ in range(20):
        await rows(database, SUBMIT, "judge-it", "{}")

    async with asyncio.TaskGroup() as all_at_once:
        for _ in range(8):
            all_at_once.create_task(rows(database, "SELECT evalqueue_declare_job_type('judge-it')"))

    assert await rows(
        database,
        "SELECT count(*), count(DISTINCT job_id) FROM eval_runs WHERE status = 'pending'",
    ) == [(20, 20)]  # fmt: skip


async def test_a_caller_s_rollback_takes_the_job_and_leaves_the_declaration(
    database: Database, client: Client
):
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as connection:
            await client.submit(Judge(), connection=connection)
            raise ZeroDivisionError
    job = await client.submit(Judge())

    assert await rows(database, "SELECT job_id FROM eval_runs") == [(job.id,)]


@pytest.mark.parametrize(
    ("result", "run", "retryable"),
    [
        ({"incomplete": True}, "completed_with_errors", True),
        ({"incomplete": False}, "completed", False),
        ({"incomplete": "yes"}, "completed", False),
        ({"run_status": "completed_with_errors"}, "completed", False),
        (None, "completed", False),
    ],
)
async def test_a_completed_job_can_be_retried_when_its_result_says_that_it_is_incomplete(
    dsn: str, database: Database, client: Client, result: Mapping[str, Any] | None, run: str,
    retryable: bool,
):  # fmt: skip
    job = await client.submit(Judge())
    await run_jobs(dsn, handlers([], result))

    assert await rows(database, "SELECT status, summary ? 'incomplete' FROM eval_runs") == [
        (run, False)
    ]
    assert (await client.get(job.id)).retryable is retryable


@pytest.mark.parametrize("is_incomplete", [True, False])
async def test_what_went_wrong_is_the_error_of_a_run_and_not_in_its_summary(
    dsn: str, database: Database, client: Client, is_incomplete: bool
):
    """It may quote a conversation, and a summary may be read by those who see none."""
    await client.submit(Judge())
    await run_jobs(
        dsn, handlers([], {"found": 1, "message": "so it was", "incomplete": is_incomplete})
    )

    said = None if is_incomplete else "so it was"
    assert await rows(
        database, "SELECT error_message, summary ->> 'message', summary -> 'found' FROM eval_runs"
    ) == [("so it was" if is_incomplete else None, said, 1)]


async def test_the_key_of_a_request_that_brings_a_file_is_compared_with_what_was_sent(
    database: Database,
):
    submit = "SELECT evalqueue_submit_job('evaluate-batch', %s, idempotency_key => 'k')"
    sent = json.dumps({"csv_content": "a,b"})
    first, second = [await rows(database, submit, sent) for _ in range(2)]

    assert first == second
    assert await rows(
        database, "SELECT params ? 'csv_content', params ? 'dataset_id' FROM jobs"
    ) == [(False, True)]
