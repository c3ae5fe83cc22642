"""Jobs that follow another one: retries, and jobs submitted with `after`."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import UUID, uuid4

import psycopg
import pytest

from evalqueue import Client, InvalidParams, JobNotFound, JobParams, JobStatus, NotRetryable
from evalqueue.jobs import Ended, Job
from evalqueue.postgres import fleet, health, store
from evalqueue.postgres.database import Connection
from evalqueue.postgres.fleet import Capabilities, RegisteredWorker
from evalqueue.postgres.listener import WORK_WAITS

ALL = Capabilities(queues=None, job_types=["evaluate-it"])
PATIENCE = 30.0  # seconds


class EvaluateIt(JobParams, job_type="evaluate-it"):
    data: str = "some"


@pytest.fixture
async def client(dsn: str) -> AsyncGenerator[Client]:
    async with Client(dsn) as client:
        yield client


@pytest.fixture
async def connection(client: Client) -> AsyncGenerator[Connection]:
    async with (await client.database()).connection() as connection:
        yield connection


@pytest.fixture
async def worker(connection: Connection) -> RegisteredWorker:
    return await fleet.register(connection, name="w", version="1", capabilities=ALL, slots=4)


async def begun(connection: Connection, worker: RegisteredWorker) -> Job:
    (job,) = await fleet.claim(connection, worker, ALL, slots=1, lease_seconds=30)
    return job


async def ends(connection: Connection, job: Job, outcome: Ended) -> None:
    status = await store.finish(
        connection, job_id=job.id, attempt=job.attempt, ended=outcome, delete_task=False
    )
    assert status is not None


async def failed(client: Client, connection: Connection, worker: RegisteredWorker) -> Job:
    await client.submit(EvaluateIt())
    job = await begun(connection, worker)
    await ends(connection, job, Ended.failed("no"))
    return job


def run_of(job: Job) -> UUID:
    return job.progress.details["run_id"]


# Retry.


async def test_a_failed_job_goes_on_as_a_new_job_in_the_same_run(
    client: Client, connection: Connection, worker: RegisteredWorker
):
    submitted = await client.submit(EvaluateIt(data="x"), owner="ann", priority=3, max_attempts=2)
    await ends(connection, old := await begun(connection, worker), Ended.failed("no"))
    new = await client.retry(old.id)

    assert (new.status, new.attempt, new.failed_attempts) == (JobStatus.QUEUED, 0, 0)
    assert (new.params, new.owner, new.priority, new.max_attempts) == ({"data": "x"}, "ann", 3, 2)
    assert (new.retry_of, new.id == old.id, run_of(new)) == (old.id, False, run_of(submitted))
    assert (await client.get(old.id)).status is JobStatus.FAILED, "the old one stays as it is"
    cursor = await connection.execute("SELECT job_id, status, completed_at FROM eval_runs")
    assert await cursor.fetchall() == [(new.id, "pending", None)]


async def test_asking_twice_or_all_at_once_finds_the_same_new_job(
    client: Client, connection: Connection, worker: RegisteredWorker
):
    old = await failed(client, connection, worker)
    async with asyncio.TaskGroup() as all_at_once:
        asked = [all_at_once.create_task(client.retry(old.id)) for _ in range(30)]
    again = await client.retry(old.id)

    assert {each.result().id for each in asked} == {again.id}
    assert len(await client.list()) == 2


@pytest.mark.parametrize("outcome", [
    Ended.completed({"incomplete": True}), Ended.failed("no"), None,
])  # fmt: skip
async def test_what_is_missing_can_be_retried_however_it_ended(
    client: Client, connection: Connection, worker: RegisteredWorker, outcome: Ended | None
):
    await client.submit(EvaluateIt())
    job = await begun(connection, worker)
    if outcome is None:
        await client.cancel(job.id)
    else:
        await ends(connection, job, outcome)

    assert (await client.retry(job.id)).retry_of == job.id


async def test_what_was_cancelled_before_it_began_can_be_retried(client: Client):
    job = await client.submit(EvaluateIt())
    await client.cancel(job.id)

    assert (await client.retry(job.id)).retry_of == job.id


async def test_a_retry_of_a_retry_goes_on_with_the_same_run(
    client: Client, connection: Connection, worker: RegisteredWorker
):
    first = await failed(client, connection, worker)
    second = await client.retry(first.id)
    await ends(connection, await begun(connection, worker), Ended.failed("again"))
    third = await client.retry(second.id)

    assert third.retry_of == second.id
    assert run_of(third) == run_of(first)
    with pytest.raises(NotRetryable, match=f"was continued as job {second.id}. Retry that one"):
        await client.retry(first.id)


async def test_what_waits_or_runs_is_not_retried(
    client: Client, connection: Connection, worker: RegisteredWorker
):
    job = await client.submit(EvaluateIt())
    with pytest.raises(NotRetryable, match="is queued: only what is over"):
        await client.retry(job.id)
    await begun(connection, worker)
    with pytest.raises(NotRetryable, match="is running: only what is over"):
        await client.retry(job.id)


async def test_what_is_whole_is_not_retried(
    client: Client, connection: Connection, worker: RegisteredWorker
):
    await client.submit(EvaluateIt())
    await ends(connection, job := await begun(connection, worker), Ended.completed({}))
    with pytest.raises(NotRetryable, match="nothing is missing or failed. Submit a new job"):
        await client.retry(job.id)


async def test_a_helper_job_is_not_retried_and_its_parent_is_named(
    client: Client, connection: Connection, worker: RegisteredWorker
):
    await client.submit(EvaluateIt())
    parent = await begun(connection, worker)
    await store.start_helpers(connection, job_id=parent.id, attempt=1, wanted=1)
    await client.cancel(parent.id)
    cursor = await connection.execute("SELECT id FROM jobs WHERE parent_id IS NOT NULL")
    rows = await cursor.fetchall()

    with pytest.raises(NotRetryable, match=f"only helps job {parent.id}. Retry that one"):
        await client.retry(rows[0][0])


async def test_what_is_not_there_is_not_retried(client: Client):
    with pytest.raises(JobNotFound):
        await client.retry(uuid4())


async def test_who_asks_while_the_first_is_not_committed_waits_and_finds_the_same(
    client: Client, connection: Connection, worker: RegisteredWorker, dsn: str
):
    old = await failed(client, connection, worker)
    async with await psycopg.AsyncConnection.connect(dsn) as mine:
        first = await store.retry(mine, old.id)
        second = asyncio.create_task(client.retry(old.id))
        async with asyncio.timeout(PATIENCE):
            while True:
                cursor = await connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
                if await cursor.fetchone() is not None:
                    break
        await mine.commit()

        assert first is not None
        assert (await second).id == first.id


async def test_a_retry_that_can_not_be_seen_yet_is_no_reason_for_a_second_one(
    client: Client, connection: Connection, worker: RegisteredWorker, dsn: str
):
    old = await failed(client, connection, worker)
    async with await psycopg.AsyncConnection.connect(dsn) as mine:
        await mine.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await mine.execute("SELECT count(*) FROM jobs")
        new = await client.retry(old.id)
        with pytest.raises(psycopg.errors.SerializationFailure):
            await store.retry(mine, old.id)
        await mine.rollback()
        again = await store.retry(mine, old.id)
    assert again is not None
    assert again.id == new.id


# Jobs submitted with `after`.


async def test_what_was_to_start_after_a_job_begins_when_it_is_completed(
    client: Client, connection: Connection, worker: RegisteredWorker
):
    first = await client.submit(EvaluateIt())
    then = await client.submit(EvaluateIt(), after=first.id)
    assert (then.status, then.waiting, then.after_id) == (JobStatus.QUEUED, True, first.id)
    job = await begun(connection, worker)
    assert await fleet.claim(connection, worker, ALL, slots=4, lease_seconds=30) == []
    assert await fleet.next_due(connection, worker, ALL) is None
    listening = psycopg.AsyncConnection.connect(connection.info.dsn, autocommit=True)
    async with await listening as listener:
        await listener.execute(f"LISTEN {WORK_WAITS}")
        await ends(connection, job, Ended.completed({}))
        notified = [
            each.payload async for each in listener.notifies(timeout=PATIENCE, stop_after=1)
        ]

    assert notified == ["evalqueue"]
    assert (await begun(connection, worker)).id == then.id


async def test_after_a_completed_job_is_at_once(
    client: Client, connection: Connection, worker: RegisteredWorker
):
    first = await client.submit(EvaluateIt())
    await ends(connection, await begun(connection, worker), Ended.completed({}))
    then = await client.submit(EvaluateIt(), after=first.id)

    assert not then.waiting
    assert (await begun(connection, worker)).id == then.id


@pytest.mark.parametrize(("outcome", "came_to"), [
    (Ended.failed("no"), "failed"), (None, "was cancelled"),
])  # fmt: skip
async def test_what_was_to_start_after_a_job_that_came_to_nothing_is_cancelled_and_says_why(
    client: Client,
    connection: Connection,
    worker: RegisteredWorker,
    outcome: Ended | None,
    came_to: str,
):
    first = await client.submit(EvaluateIt())
    second = await client.submit(EvaluateIt(), after=first.id)
    third = await client.submit(EvaluateIt(), after=second.id)
    job = await begun(connection, worker)
    if outcome is None:
        await client.cancel(job.id)
    else:
        await ends(connection, job, outcome)
    second, third = await client.get(second.id), await client.get(third.id)

    assert (second.status, third.status) == (JobStatus.CANCELLED, JobStatus.CANCELLED)
    assert second.error_message == f"It was to start after job {first.id}, which {came_to}"
    assert third.error_message == f"It was to start after job {second.id}, which was cancelled"


async def test_what_retries_a_job_does_not_bring_back_what_was_to_start_after_it(
    client: Client, connection: Connection
):
    first = await client.submit(EvaluateIt())
    then = await client.submit(EvaluateIt(), after=first.id)
    await client.cancel(first.id)
    new = await client.retry(first.id)
    assert (await client.get(then.id)).status is JobStatus.CANCELLED
    again = await client.submit(EvaluateIt(), after=new.id)
    assert again.waiting


async def test_nothing_starts_after_what_came_to_nothing_or_is_not_there(client: Client):
    first = await client.submit(EvaluateIt())
    await client.cancel(first.id)

    for before in (first.id, uuid4()):
        with pytest.raises(InvalidParams, match=str(before)):
            await client.submit(EvaluateIt(), after=before)
    assert len(await client.list()) == 1


async def test_a_waiting_job_can_be_cancelled_and_starts_no_other(
    client: Client, connection: Connection, worker: RegisteredWorker
):
    first = await client.submit(EvaluateIt())
    then = await client.submit(EvaluateIt(), after=first.id)
    await client.cancel(then.id)
    await ends(connection, await begun(connection, worker), Ended.completed({}))

    assert (await client.get(then.id)).status is JobStatus.CANCELLED


async def test_many_may_start_after_one(
    client: Client, connection: Connection, worker: RegisteredWorker
):
    first = await client.submit(EvaluateIt())
    for _ in range(20):
        await client.submit(EvaluateIt(), after=first.id)
    await ends(connection, await begun(connection, worker), Ended.completed({}))

    assert len(await fleet.claim(connection, worker, ALL, slots=30, lease_seconds=30)) == 20


async def test_a_predecessor_that_ends_while_its_successor_is_submitted_lets_it_go(
    client: Client, connection: Connection, worker: RegisteredWorker, dsn: str
):
    """Neither transaction sees the other; the leader starts the job later."""
    first = await client.submit(EvaluateIt())
    job = await begun(connection, worker)
    async with await psycopg.AsyncConnection.connect(dsn) as mine:
        then = await client.submit(EvaluateIt(), connection=mine, after=first.id)
        await ends(connection, job, Ended.completed({}))
        await mine.commit()
    assert (await client.get(then.id)).waiting
    (misplaced,) = await health.misplaced_jobs(connection)
    assert (misplaced.id, misplaced.problem) == (then.id, "waits_for_nothing")

    await fleet.lead(connection, worker, term_seconds=60)
    assert (await begun(connection, worker)).id == then.id


async def test_a_predecessor_that_fails_while_its_successor_is_submitted_takes_it_along(
    client: Client, connection: Connection, worker: RegisteredWorker, dsn: str
):
    first = await client.submit(EvaluateIt())
    async with await psycopg.AsyncConnection.connect(dsn) as mine:
        then = await client.submit(EvaluateIt(), connection=mine, after=first.id)
        await client.cancel(first.id)
        await mine.commit()

    await fleet.lead(connection, worker, term_seconds=60)
    assert (await client.get(then.id)).status is JobStatus.CANCELLED


async def test_a_predecessor_that_is_gone_takes_along_who_waits_for_it(
    client: Client, connection: Connection, worker: RegisteredWorker
):
    first = await client.submit(EvaluateIt())
    then = await client.submit(EvaluateIt(), after=first.id)
    await connection.execute("DELETE FROM jobs WHERE id = %s", [first.id])
    await fleet.lead(connection, worker, term_seconds=60)
    then = await client.get(then.id)

    assert then.status is JobStatus.CANCELLED
    assert then.error_message == "It was to start after a job, which is gone"


async def test_a_chain_longer_than_any_stack_is_cancelled_a_piece_at_a_time(
    client: Client, connection: Connection, worker: RegisteredWorker
):
    last = first = await client.submit(EvaluateIt())
    for _ in range(300):
        last = await store.submit(
            connection, store.Submission(job_type="evaluate-it", params={}, after=last.id)
        )
    await client.cancel(first.id)
    for _ in range(20):
        turn = await fleet.lead(connection, worker, term_seconds=60)
        if turn.due_in > 0:
            break

    assert (await client.get(last.id)).status is JobStatus.CANCELLED
    cursor = await connection.execute("SELECT DISTINCT status FROM jobs")
    assert await cursor.fetchall() == [("cancelled",)]
