"""Many jobs in one statement: what happens to one of them happens to no other."""

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from evalqueue import Client, JobContext, JobParams, JobStatus
from evalqueue.handlers import Handlers
from evalqueue.jobs import Job
from evalqueue.postgres import fleet, store
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.fleet import Capabilities, RegisteredWorker
from evalqueue.postgres.store import CompletedAttempt, HeldAttempt, Submission
from evalqueue.testing import run_jobs

ALL = Capabilities(queues=None, job_types=["work", "more"])
PATIENCE_SECONDS = 30.0


class Work(JobParams, job_type="work"):
    number: int = 0


@pytest.fixture
async def connection(database: Database) -> AsyncGenerator[Connection]:
    async with database.connection() as connection:
        yield connection


@pytest.fixture
async def client(dsn: str) -> AsyncGenerator[Client]:
    async with Client(dsn) as client:
        yield client


async def entered(connection: Connection, name: str = "w") -> RegisteredWorker:
    return await fleet.register(connection, name=name, version="1", capabilities=ALL, slots=9)


async def claimed(connection: Connection, worker: RegisteredWorker, slots: int) -> list[Job]:
    return await fleet.claim(connection, worker, ALL, slots=slots, lease_seconds=30.0)


async def some_claimed(connection: Connection, number: int) -> list[Job]:
    for each in range(number):
        params = {"number": each}
        await store.submit(connection, Submission(job_type="work", params=params))
    return await claimed(connection, await entered(connection), number)


async def value(connection: Connection, statement: str, *arguments: Any) -> Any:
    row = await (await connection.execute(statement.encode(), arguments)).fetchone()
    return None if row is None else row[0]


def completed(jobs: Collection[Job]) -> list[CompletedAttempt]:
    return [
        CompletedAttempt(job_id=job.id, attempt=job.attempt, result=f'{{"ok":{number}}}')
        for number, job in enumerate(jobs)
    ]


# Claims


def backlog(chance: random.Random, owners: int, jobs: int) -> list[Submission]:
    return [
        Submission(
            job_type=chance.choice(["work", "work", "more"]),
            params={},
            owner=f"o{chance.randrange(owners)}",
            priority=chance.choice([0, 0, 0, 5]),
            queue=chance.choice(["evalqueue", "evalqueue", "nightly"]),
        )
        for _ in range(jobs)
    ]


@pytest.mark.parametrize("seed", range(6))
async def test_one_claim_of_many_takes_the_same_jobs_as_many_claims_of_one(
    connection: Connection, seed: int
):
    """In the same order, with limits, helper jobs, and jobs that run already."""
    chance = random.Random(seed)  # noqa: S311  which jobs there are
    for submission in backlog(chance, owners=4, jobs=60):
        await store.submit(connection, submission)
    other = await entered(connection, "other")
    for job in await claimed(connection, other, 5):
        if chance.random() < 0.5:
            await store.start_helpers(connection, job_id=job.id, attempt=1, wanted=2)
    if seed % 2:
        await fleet.limit(connection, "evalqueue", max_running=14, max_running_per_owner=5)
    me = await entered(connection, "me")

    async def taken(pieces: Collection[int]) -> list[UUID]:
        found: list[UUID] = []
        async with connection.transaction(force_rollback=True):
            for slots in pieces:
                found += [job.id for job in await claimed(connection, me, slots)]
        return found

    one_by_one = await taken([1] * 25)
    assert await taken([25]) == one_by_one
    assert await taken([7, 11, 7]) == one_by_one
    assert len(one_by_one) > 5


async def test_workers_that_claim_many_at_once_share_all_of_them(dsn: str, connection: Connection):
    for number in range(200):
        await store.submit(connection, Submission(job_type="work", params={"number": number}))

    async def work(name: str) -> list[UUID]:
        found: list[UUID] = []
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as own:
            me = await entered(own, name)
            while jobs := await claimed(own, me, 8):
                found += [job.id for job in jobs]
        return found

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(f"w{number}")) for number in range(4)]
    found = list(itertools.chain.from_iterable(task.result() for task in tasks))

    assert len(found) == len(set(found)) == 200
    assert await value(connection, "SELECT count(*) FROM job_attempts") == 200
    started = "SELECT count(*) FROM procrastinate_events WHERE type = 'started'"
    assert await value(connection, started) == 200


# Outcomes


async def test_outcomes_of_many_are_recorded_each_with_its_result(connection: Connection):
    jobs = await some_claimed(connection, 5)

    statuses = await store.complete_many(connection, completed(jobs))

    assert statuses == {job.id: JobStatus.COMPLETED for job in jobs}
    for number, job in enumerate(jobs):
        found = await store.get(connection, job.id)
        assert found is not None
        assert (found.status, found.result) == (JobStatus.COMPLETED, {"ok": number})
        (attempt,) = await store.attempts(connection, job.id)
        assert attempt.outcome == "completed"
    ended = "SELECT array_agg(DISTINCT (status, attempts)::text) FROM procrastinate_jobs"
    assert await value(connection, ended) == ["(succeeded,1)"]


async def test_one_that_was_cancelled_or_taken_over_changes_nothing(connection: Connection):
    cancelled, lost, one, two = jobs = await some_claimed(connection, 4)
    await store.cancel(connection, cancelled.id)
    await connection.execute(
        "UPDATE jobs SET lease_expires_at = now() - interval '1 s' WHERE id = %s", [lost.id]
    )
    await connection.execute("SELECT evalqueue_recover_jobs()")
    (again,) = await claimed(connection, await entered(connection, "heir"), 1)

    statuses = await store.complete_many(connection, completed(jobs))

    assert again.id == lost.id
    assert statuses == {
        cancelled.id: None, lost.id: None,
        one.id: JobStatus.COMPLETED, two.id: JobStatus.COMPLETED,
    }  # fmt: skip
    found = await store.get(connection, cancelled.id)
    assert found is not None
    assert (found.status, found.result) == (JobStatus.CANCELLED, None)
    found = await store.get(connection, lost.id)
    assert found is not None
    assert (found.status, found.attempt, found.result) == (JobStatus.RUNNING, 2, None)


@pytest.mark.parametrize("table", ["jobs", "procrastinate_jobs"])
async def test_a_locked_row_holds_up_only_its_job(dsn: str, connection: Connection, table: str):
    locked, *others = jobs = await some_claimed(connection, 4)
    held = [HeldAttempt(job_id=job.id, attempt=1, progress={"current": 1}) for job in jobs]
    column = "id" if table == "jobs" else "args ->> 'job_id'"
    async with (
        await psycopg.AsyncConnection.connect(dsn) as own,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await own.execute(f"SELECT FROM {table} WHERE {column} = %s FOR SHARE", [str(locked.id)])
        alive = await store.flush_many(connection, held, lease_seconds=30.0)
        statuses = await store.complete_many(connection, completed(jobs))

    assert alive == {job.id: True for job in others} | {
        locked.id: None if table == "jobs" else True
    }
    assert statuses == {job.id: JobStatus.COMPLETED for job in others}
    assert await store.complete_many(connection, completed([locked])) == {
        locked.id: JobStatus.COMPLETED
    }


async def test_leases_of_many_are_extended_and_the_fence_is_checked(connection: Connection):
    cancelled, one, two = jobs = await some_claimed(connection, 3)
    await store.cancel(connection, cancelled.id)
    held = [HeldAttempt(job_id=job.id, attempt=job.attempt, progress=None) for job in jobs]
    held.append(HeldAttempt(job_id=cancelled.root_id, attempt=7, progress={"current": 9}))
    expires = "SELECT lease_expires_at - now() > interval '50 s' FROM jobs WHERE id = %s"

    fresh = await store.flush_many(connection, held[:3], lease_seconds=30.0)
    untouched = await value(connection, expires, one.id)
    await store.flush_many(connection, held[1:3], lease_seconds=60.0)

    assert fresh == {cancelled.id: False, one.id: True, two.id: True}
    assert untouched is False
    assert await value(connection, expires, one.id) is True
    late = await store.flush_many(connection, held[3:], lease_seconds=60.0)
    assert late == {cancelled.id: False}


async def test_progress_never_goes_back_in_a_batch(connection: Connection):
    (job,) = await some_claimed(connection, 1)
    for current in (5, 3):
        note = {"current": current, "total": 9, "message": str(current), f"k{current}": 1}
        held = [HeldAttempt(job_id=job.id, attempt=1, progress=note)]
        await store.flush_many(connection, held, lease_seconds=30.0)

    found = await store.get(connection, job.id)
    assert found is not None
    assert found.progress.as_json() == {
        "current": 5, "total": 9, "message": "3", "k5": 1, "k3": 1,
    }  # fmt: skip


# Workers


@pytest.fixture
def handlers() -> Handlers:
    handlers = Handlers()

    @handlers.handles(Work)
    async def work(_context: JobContext, params: Work) -> dict[str, Any]:
        return {"number": params.number}

    return handlers


async def ends(client: Client) -> dict[Any, tuple[str, str | None]]:
    return {
        job.params.get("number"): (str(job.status), job.error_message)
        for job in await client.list(limit=100)
    }


async def test_one_job_of_a_claimed_batch_whose_params_are_bad_fails_alone(
    client: Client, connection: Connection, dsn: str, handlers: Handlers
):
    submissions = [{"job_type": "work", "params": {"number": number}} for number in range(8)]
    submissions[3]["params"] = {"number": "three"}
    await connection.execute("SELECT evalqueue_submit_job_rows(%s)", [Jsonb(submissions)])

    await run_jobs(dsn, handlers, concurrency=8)

    found = await ends(client)
    status, error = found.pop("three")
    assert status == "failed"
    assert "don't fit the job type" in (error or "")
    assert found == {number: ("completed", None) for number in range(8) if number != 3}


REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.result ->> 'number' = '3' THEN
        RAISE EXCEPTION 'no threes' USING ERRCODE = '{}';
    END IF;
    RETURN NEW;
END; $$;
CREATE TRIGGER refuse BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.fixture
async def refuse(connection: Connection) -> AsyncGenerator[Callable[[str], Awaitable[object]]]:
    """Refuses the outcome of job number 3 with an SQLSTATE."""

    async def refuse(sqlstate: str) -> None:
        await connection.execute(REFUSE.format(sqlstate).encode())

    yield refuse
    await connection.execute("DROP FUNCTION refuse CASCADE")


async def test_an_outcome_that_cannot_be_written_fails_only_its_job(
    client: Client, refuse: Callable[[str], Awaitable[object]], dsn: str, handlers: Handlers
):
    await refuse("22000")
    await client.submit_many([Work(number=number) for number in range(8)])

    await run_jobs(dsn, handlers, concurrency=8)

    found = await ends(client)
    status, error = found.pop(3)
    assert status == "failed"
    assert "could not be written" in (error or "")
    assert found == {number: ("completed", None) for number in range(8) if number != 3}


async def test_an_outcome_that_is_refused_for_a_while_holds_up_no_other(
    client: Client, connection: Connection, refuse: Callable[[str], Awaitable[object]], dsn: str,
    handlers: Handlers,
):  # fmt: skip
    """As long as a lock_timeout of one job's row lasts."""
    await refuse("55P03")
    jobs = await client.submit_many([Work(number=number) for number in range(8)])
    working = asyncio.create_task(run_jobs(dsn, handlers, concurrency=8))
    async with asyncio.timeout(PATIENCE_SECONDS):
        for job in jobs:
            if job.params["number"] != 3:
                await client.wait(job.id)
    held_up = (await client.get(jobs[3].id)).status
    await connection.execute("DROP TRIGGER refuse ON jobs")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await working

    assert held_up is JobStatus.RUNNING
    assert {status for status, _ in (await ends(client)).values()} == {"completed"}


async def test_a_job_that_is_cancelled_as_its_batch_is_recorded_stays_cancelled(
    client: Client, dsn: str
):
    """Its row is locked by the cancel's transaction, which commits after the others are over."""
    handlers = Handlers()
    go = asyncio.Event()
    begun = asyncio.Semaphore(0)

    @handlers.handles(Work)
    async def work(_context: JobContext, params: Work) -> dict[str, Any]:
        begun.release()
        await go.wait()
        return {"number": params.number}

    jobs = await client.submit_many([Work(number=number) for number in range(6)])
    working = asyncio.create_task(run_jobs(dsn, handlers, concurrency=6))
    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in jobs:
            await begun.acquire()
        async with await psycopg.AsyncConnection.connect(dsn) as own:
            await own.execute("SELECT evalqueue_cancel_job(%s)", [jobs[2].id])
            go.set()
            for job in (*jobs[:2], *jobs[3:]):
                await client.wait(job.id)
        await working

    found = await ends(client)
    assert found.pop(2) == ("cancelled", None)
    assert found == {number: ("completed", None) for number in range(6) if number != 2}
    assert (await client.get(jobs[2].id)).result is None
