"""One job on several workers: `context.map(max_helpers=…)`, with real workers on one database."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from evalqueue import Checkpoint, Client, Handlers, Job, JobContext, JobParams, JobStatus, Settings
from evalqueue.items import ItemWork, SharedItems
from evalqueue.postgres import fleet, store
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.fleet import Capabilities
from evalqueue.postgres.store import Submission
from evalqueue.worker.app import ProcrastinateApp

PATIENCE = 20.0  # seconds
CAPABILITIES = Capabilities(queues=None, job_types=["share"])


class Share(JobParams, job_type="share"):
    items: int = 60
    max_helpers: int = 1


class Other(JobParams, job_type="other"):
    pass


class Work:
    """Records which job worked on which items."""

    def __init__(self) -> None:
        self.done = Counter[str]()
        self.stored = Counter[str]()
        self.by_parent: list[str] = []
        self.by_helper: list[str] = []
        self.others = 0
        self.stopped: list[str] = []
        self.before: Callable[[JobContext, str], Awaitable[None]] = self.at_once

    async def at_once(self, _context: JobContext, _item: str) -> None:
        """An item takes no time."""

    def handlers(self) -> Handlers:
        handlers = Handlers()

        @handlers.handles(Share)
        async def share(context: JobContext, params: Share) -> None:
            try:
                await self._map(context, params)
            except asyncio.CancelledError:
                self.stopped.append("helper" if context.is_helper else "parent")
                raise

        @handlers.handles(Other)
        async def other(_context: JobContext, _params: Other) -> None:
            self.others += 1

        return handlers

    async def _map(self, context: JobContext, params: Share) -> None:
        everything = self

        class Counting(ItemWork[str, str]):
            async def work(self, item: str, /) -> str:
                await everything.before(context, item)
                everything.done[item] += 1
                by = everything.by_helper if context.is_helper else everything.by_parent
                by.append(item)
                return item

            async def store(self, connection: Connection, result: str, /) -> None:
                everything.stored[result] += 1

            def succeeded(self, result: str, /) -> bool:
                return not result.endswith("7")

        await context.map(
            [f"item {n}" for n in range(params.items)], Counting(),
            checkpoint=Checkpoint(), concurrency=3, max_helpers=params.max_helpers,
        )  # fmt: skip


@asynccontextmanager
async def workers(
    dsn: str, work: Work, number: int, *, concurrency: int = 2
) -> AsyncGenerator[Client]:
    """Run so many workers, each with its own connections, and a client."""
    async with AsyncExitStack() as at_work:
        client = await at_work.enter_async_context(Client(dsn))
        for _ in range(number):
            # Longer than any test here: leases expire only by `lose`.
            settings = Settings(lease_seconds=60, concurrency=concurrency)
            app = ProcrastinateApp(address=lambda: dsn, handlers=work.handlers, settings=settings)
            await at_work.enter_async_context(app.open_async())
            worker = app.worker(install_signal_handlers=False, shutdown_graceful_timeout=0.1)
            running = asyncio.create_task(worker.run())
            at_work.push_async_callback(asyncio.wait, {running})
            at_work.callback(worker.stop)
        yield client


async def over(client: Client, job: Job) -> Job:
    return await client.wait(job.id, timeout=PATIENCE)


async def everything(client: Client, statement: str) -> list[tuple[Any, ...]]:
    async with (await client.database()).connection() as connection:
        return await (await connection.execute(statement.encode())).fetchall()


def both_take_part(work: Work) -> None:
    """No item is finished before the parent and a helper job have each begun one."""
    begun: set[bool] = set()
    both = asyncio.Event()

    async def before(context: JobContext, _item: str) -> None:
        begun.add(context.is_helper)
        if len(begun) == 2:
            both.set()
        await both.wait()

    work.before = before


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def test_two_workers_share_a_job_and_each_item_is_done_once(dsn: str):
    work = Work()
    both_take_part(work)
    async with workers(dsn, work, 2) as client:
        job = await over(client, await client.submit(Share()))
        left = await everything(client, "SELECT count(*) FROM job_items")
        open_jobs = await everything(client, "SELECT 1 FROM jobs WHERE completed_at IS NULL")

    assert job.status is JobStatus.COMPLETED
    assert set(work.stored.values()) == {1}
    assert len(work.stored) == 60
    assert work.done == work.stored
    assert work.by_helper
    assert work.by_parent
    assert job.progress.message == "Item 60/60 (54 ok, 6 failed)"
    assert (left, open_jobs) == ([(0,)], [])


async def test_five_workers_share_a_job_and_each_item_is_done_once(dsn: str):
    work = Work()
    both_take_part(work)
    async with workers(dsn, work, 5) as client:
        job = await over(client, await client.submit(Share(items=300, max_helpers=4)))
        names = await everything(client, "SELECT DISTINCT worker FROM jobs WHERE attempt > 0")

    assert set(work.done.values()) == {1}
    assert len(work.done) == 300
    assert job.progress.message == "Item 300/300 (270 ok, 30 failed)"
    assert len(names) >= 2, "no worker has two helper jobs of the same job"


async def test_without_others_a_job_does_it_all_alone(dsn: str):
    work = Work()
    async with workers(dsn, work, 1) as client:
        job = await over(client, await client.submit(Share(max_helpers=3)))
        helper_jobs = await everything(
            client, "SELECT status, attempt FROM jobs WHERE parent_id IS NOT NULL"
        )

    assert job.progress.message == "Item 60/60 (54 ok, 6 failed)"
    assert helper_jobs == [("cancelled", 0)] * 3
    assert work.by_helper == []


async def test_helper_jobs_are_not_listed_and_belong_to_their_parent(dsn: str):
    work = Work()
    both_take_part(work)
    async with workers(dsn, work, 2) as client:
        job = await over(client, await client.submit(Share(), owner="ann"))
        listed = await client.list()
        helper_jobs = await everything(
            client, "SELECT parent_id, owner, job_type FROM jobs WHERE parent_id IS NOT NULL"
        )

    assert [each.id for each in listed] == [job.id]
    assert helper_jobs == [(job.id, "ann", "share")]


async def claimed_by_one_who_dies(client: Client) -> Job:
    """Claim the next job in the queue as a worker that then disappears."""
    async with (await client.database()).connection() as connection:
        gone = await fleet.register(
            connection, name="gone", version="1", capabilities=CAPABILITIES, slots=1
        )
        (job,) = await fleet.claim(connection, gone, CAPABILITIES, slots=1, lease_seconds=60)
    return job


async def lose(client: Client, job: Job) -> None:
    """Expire the lease of a job and recover it at once, so that no other job is lost."""
    async with (await client.database()).transaction() as connection:
        await connection.execute(
            "UPDATE jobs SET lease_expires_at = clock_timestamp() WHERE id = %s", [job.id]
        )
        cursor = await connection.execute("SELECT evalqueue_recover_jobs()")
        assert await cursor.fetchone() == (1,)


async def test_items_that_a_dead_worker_s_helper_job_had_claimed_are_done_by_others(dsn: str):
    work = Work()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def before(_context: JobContext, _item: str) -> None:
        begun.set()
        await go_on.wait()

    work.before = before
    async with workers(dsn, work, 1) as client:
        job = await client.submit(Share())
        await begun.wait()
        helper_job = await claimed_by_one_who_dies(client)
        async with (await client.database()).connection() as connection:
            theirs = await store.claim_items(
                connection, job_id=helper_job.id, attempt=1, wanted=5,
                items=[f"item {n}" for n in range(40, 50)],
            )  # fmt: skip
        assert theirs is not None
        assert len(theirs) == 5
        go_on.set()
        await until(lambda: len(work.done) == 55)
        await lose(client, helper_job)
        job = await over(client, job)

    assert helper_job.parent_id == job.id
    assert job.progress.message == "Item 60/60 (54 ok, 6 failed)"
    assert work.done == Counter({f"item {n}": 1 for n in range(60)})


async def test_a_claim_whose_answer_was_lost_is_found_when_asked_again(dsn: str):
    """Otherwise the job would wait for ever for items that it has claimed itself."""
    async with Client(dsn) as client:
        await client.submit(Share())
        job = await claimed_by_one_who_dies(client)
        async with (await client.database()).connection() as connection:
            claims = [
                await store.claim_items(
                    connection, job_id=job.id, attempt=1, items=["a", "b", "c"], wanted=2
                )
                for _ in range(2)
            ]
            await store.note_items_done(connection, root_id=job.id, items={"a": True})
            rest = await store.claim_items(
                connection, job_id=job.id, attempt=1, items=["a", "b", "c"], wanted=3
            )

    assert claims == [{"a", "b"}, {"a", "b"}]
    assert rest == {"b", "c"}


async def test_connections_that_are_cut_while_two_workers_share_lose_no_item(dsn: str):
    work = Work()
    both_take_part(work)
    async with workers(dsn, work, 2) as client:
        job = await client.submit(Share(items=200))
        for enough in (20, 60, 100, 150):
            await until(lambda enough=enough: len(work.stored) >= enough)
            await everything(
                client,
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND query NOT LIKE 'LISTEN%'",
            )
        job = await over(client, job)

    assert job.status is JobStatus.COMPLETED
    assert job.progress.message == "Item 200/200 (180 ok, 20 failed)"
    assert len(work.done) == 200


async def test_a_helper_job_yields_to_another_job(dsn: str):
    work = Work()
    both_take_part(work)
    take_part = work.before

    async def before(context: JobContext, item: str) -> None:
        await take_part(context, item)
        if not work.others:
            await asyncio.sleep(0.02)

    work.before = before
    async with workers(dsn, work, 2, concurrency=1) as client:
        job = await client.submit(Share(items=2000))
        await until(lambda: len(work.by_helper) > 0)
        # The parent's own slice never ends, so the helper job has to yield.
        await everything(
            client, "UPDATE job_attempts SET started_at = now() + interval '1 hour' RETURNING 1"
        )
        other = await over(client, await client.submit(Other()))
        done_by_then = len(work.done)
        await client.cancel(job.id)
        outcomes = await everything(
            client,
            "SELECT outcome FROM job_attempts JOIN jobs ON id = job_id "
            "WHERE parent_id IS NOT NULL AND job_attempts.attempt = 1",
        )

    assert other.status is JobStatus.COMPLETED
    assert done_by_then < 2000
    assert outcomes == [("yielded",)]


async def test_a_cancel_of_the_job_stops_its_helper_jobs_where_they_wait(dsn: str):
    work = Work()
    begun: set[bool] = set()

    async def before(context: JobContext, _item: str) -> None:
        begun.add(context.is_helper)
        await asyncio.sleep(3600)

    work.before = before
    async with workers(dsn, work, 2) as client:
        job = await client.submit(Share())
        await until(lambda: len(begun) == 2)
        await client.cancel(job.id)
        statuses = await everything(client, "SELECT DISTINCT status FROM jobs")
        await until(lambda: len(work.stopped) == 2)

    assert statuses == [("cancelled",)]
    assert sorted(work.stopped) == ["helper", "parent"]
    assert not work.done


@pytest.mark.parametrize("number", [1, 2])
async def test_a_job_whose_worker_is_lost_goes_on_while_its_helper_job_works(dsn: str, number: int):
    work = Work()
    async with Client(dsn) as client:
        job = await client.submit(Share(items=40))
        await claimed_by_one_who_dies(client)
        async with (await client.database()).connection() as connection:
            await store.start_helpers(connection, job_id=job.id, attempt=1, wanted=1)
            await store.claim_items(
                connection, job_id=job.id, attempt=1, items=["item 3", "item 5"], wanted=2
            )

    back = asyncio.Event()

    async def before(context: JobContext, _item: str) -> None:
        """The helper job works until the parent is back."""
        if not context.is_helper:
            back.set()
        elif len(work.by_helper) >= 10:
            await back.wait()

    work.before = before
    async with workers(dsn, work, number) as client:
        await until(lambda: len(work.by_helper) >= 10)
        await lose(client, job)
        job = await over(client, job)
        attempts = [each.outcome for each in await client.attempts(job.id)]

    assert attempts == ["lost", "completed"]
    assert len(work.by_helper) >= 10
    assert work.done == Counter({f"item {n}": 1 for n in range(40)})
    assert job.progress.message == "Item 40/40 (36 ok, 4 failed)"


async def test_no_helper_job_that_lost_a_race_ends_while_an_item_is_free(database: Database):
    """A job that loses a race for some items has not seen that all of them are taken."""
    names = [str(number) for number in range(240)]
    async with database.connection() as connection:
        await store.submit(connection, Submission(job_type="work", params={}))
        capabilities = Capabilities(queues=None, job_types=["work"])
        jobs: list[Job] = []
        for _ in range(6):
            worker = await fleet.register(
                connection, name="w", version="1", capabilities=capabilities, slots=1
            )
            jobs += await fleet.claim(connection, worker, capabilities, slots=1, lease_seconds=60)
            await store.start_helpers(connection, job_id=jobs[0].id, attempt=1, wanted=5)
    done: list[str] = []

    async def help_with(helper_job: Job) -> None:
        share = SharedItems(JobContext(helper_job, database), names, 4, lambda _item, _ok: None)
        while (name := await share.take()) is not None:
            async with database.connection() as connection:
                await share.done(connection, {name: True})
            done.append(name)
        async with database.connection() as connection:
            cursor = await connection.execute("SELECT count(*) FROM job_items")
            assert await cursor.fetchone() == (len(names),), "all items claimed"

    async with asyncio.TaskGroup() as group:
        for helper_job in jobs[1:]:
            group.create_task(help_with(helper_job))

    assert sorted(done) == sorted(names)
