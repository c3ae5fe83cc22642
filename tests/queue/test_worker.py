"""The worker's loop in the test's process: which jobs it runs, when, and how it stops."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import procrastinate
import psycopg
import pytest

from evalqueue import (
    Checkpoint,
    Client,
    Handlers,
    ItemWork,
    Job,
    JobContext,
    JobFailed,
    JobParams,
    JobStatus,
    Settings,
    TryAgain,
    register_job_handler,
    update_job_progress,
)
from evalqueue.handlers import registered
from evalqueue.postgres import schema
from evalqueue.postgres.database import Database
from evalqueue.testing import run_jobs
from evalqueue.worker.app import ProcrastinateApp
from evalqueue.worker.attempt import RECORD_PATIENCE
from evalqueue.worker.loop import Worker

PATIENCE = 20.0  # seconds


class Work(JobParams, job_type="work"):
    steps: int = 3
    fail: str | None = None


@asynccontextmanager
async def working(dsn: str, handlers: Handlers, **options: Any) -> AsyncGenerator[Client]:
    """Run a worker, and a client."""
    settings = Settings(lease_seconds=2)
    app = ProcrastinateApp(address=lambda: dsn, handlers=lambda: handlers, settings=settings)
    options = {"install_signal_handlers": False, "shutdown_graceful_timeout": 0.5} | options
    async with Client(dsn) as client, app.open_async():
        # No polling: in these tests jobs are found by notifications and timers only.
        running = asyncio.create_task(
            app.run_worker_async(fetch_job_polling_interval=3600.0, **options)
        )
        try:
            yield client
        finally:
            running.cancel()
            await asyncio.wait({running})


def steps() -> Handlers:
    handlers = Handlers()

    @handlers.handles(Work)
    async def work(context: JobContext, params: Work) -> dict[str, Any]:
        for step in range(1, params.steps + 1):
            context.progress(step, params.steps, f"step {step}", colour="blue")
            await asyncio.sleep(0)
        return {"steps": params.steps}

    return handlers


async def over(client: Client, job: Job) -> Job:
    return await client.wait(job.id, timeout=PATIENCE)


async def test_a_job_runs_and_its_last_progress_stays(dsn: str):
    async with working(dsn, steps()) as client:
        job = await over(client, await client.submit(Work()))

    assert job.status is JobStatus.COMPLETED
    assert job.result == {"steps": 3}
    assert job.progress.as_json() == {
        "current": 3, "total": 3, "message": "step 3", "colour": "blue",
    }  # fmt: skip


async def test_everything_works_in_a_schema_of_its_own(empty_dsn: str):
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA evals")
    dsn = f"{empty_dsn}&options=-csearch_path%3Devals"
    database = Database(dsn)
    await database.open()
    await schema.migrate(database)
    await database.close()

    async with working(dsn, steps()) as client:
        job = await over(client, await client.submit(Work()))
        with psycopg.connect(empty_dsn, autocommit=True) as stranger:
            row = stranger.execute("SELECT evals.evalqueue_submit_job('work')").fetchone()
        assert row is not None
        other = await client.wait(row[0], timeout=PATIENCE)

    assert job.status is other.status is JobStatus.COMPLETED


async def test_watching_yields_the_job_until_it_is_over(dsn: str):
    async with working(dsn, steps()) as client:
        job = await client.submit(Work())
        seen = [change.status async for change in client.watch(job.id)]

    assert seen[-1] is JobStatus.COMPLETED
    assert all(not status.is_over for status in seen[:-1])


async def test_what_a_handler_raises_becomes_the_job_s_reason(dsn: str):
    handlers = Handlers()
    errors: dict[str, Callable[[], Exception]] = {
        "bug": lambda: KeyError("colour"),
        "mute": ValueError,
        "own": partial(JobFailed, "no such bot", result={"partial": True}),
    }

    @handlers.handles(Work)
    async def work(_context: JobContext, params: Work) -> None:
        raise errors[params.fail or ""]()

    async with working(dsn, handlers) as client:
        jobs = {kind: await over(client, await client.submit(Work(fail=kind))) for kind in errors}

    assert {job.status for job in jobs.values()} == {JobStatus.FAILED}
    assert jobs["bug"].error_message == "KeyError: 'colour'"
    assert jobs["mute"].error_message == "ValueError"
    assert jobs["own"].error_message == "no such bot"
    assert jobs["own"].result == {"partial": True}


async def test_a_result_or_progress_that_is_no_json_fails_the_job_and_says_so(dsn: str):
    handlers = Handlers()

    @handlers.handles(Work)
    async def work(context: JobContext, params: Work) -> dict[str, Any]:
        if params.fail == "progress":
            context.progress(1, 2, when=datetime.now(UTC))
        return {"when": datetime.now(UTC)}

    async with working(dsn, handlers) as client:
        for fail, says in [("result", "not JSON"), ("progress", "not JSON serializable")]:
            job = await over(client, await client.submit(Work(fail=fail)))
            assert (job.status, job.failed_attempts) == (JobStatus.FAILED, 1)
            assert says in str(job.error_message)


async def test_a_worker_that_is_cancelled_inside_its_program_releases_its_jobs(dsn: str):
    handlers = Handlers()
    begun = asyncio.Event()

    @handlers.handles(Work)
    async def work(_context: JobContext, _params: Work) -> None:
        begun.set()
        await asyncio.sleep(3600)

    async with Client(dsn) as client:
        job = await client.submit(Work())
        async with working(dsn, handlers):
            await begun.wait()
        job = await client.get(job.id)

    assert (job.status, job.failed_attempts) == (JobStatus.QUEUED, 0)


async def test_params_that_no_longer_fit_fail_the_job_and_name_the_field(dsn: str, database: Any):
    async with database.connection() as connection:
        await connection.execute("SELECT evalqueue_submit_job('work', '{\"steps\": \"many\"}')")
    async with working(dsn, steps()) as client:
        (job,) = await client.list()
        job = await over(client, job)

    assert job.error_message is not None
    assert "steps" in job.error_message


async def test_params_that_do_not_fit_are_never_repeated_in_the_reason(dsn: str, database: Any):
    async with database.connection() as connection:
        await connection.execute("SELECT evalqueue_submit_job('work', '{\"token\": \"sk-1\"}')")
    async with working(dsn, steps()) as client:
        (job,) = await client.list()
        job = await over(client, job)

    assert "token" in str(job.error_message)
    assert "sk-1" not in str(job.error_message)


async def test_a_full_worker_still_sees_what_was_lost(dsn: str, database: Any):
    handlers = Handlers()
    begun = asyncio.Event()

    @handlers.handles(Work)
    async def work(_context: JobContext, _params: Work) -> None:
        begun.set()
        await asyncio.sleep(3600)

    async with working(dsn, handlers, concurrency=1) as client:
        await client.submit(Work())
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            lost = await client.submit(Work())
            async with database.connection() as connection:
                await connection.execute("SELECT procrastinate_fetch_job_v2(NULL, NULL)")
                await connection.execute(
                    "UPDATE jobs SET lease_expires_at = now() WHERE id = %s", [lost.id]
                )
            while not (await client.get(lost.id)).failed_attempts:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (JobFailed(""), "JobFailed"),
        (JobFailed("no", result={"when": datetime.now(UTC)}), "no"),
        (JobFailed("x" * 10_000), "xxx"),
    ],
)
async def test_a_failure_that_is_hard_to_write_down_is_written_all_the_same(
    dsn: str, error: JobFailed, says: str
):
    handlers = Handlers()

    @handlers.handles(Work)
    async def work(_context: JobContext, _params: Work) -> None:
        raise error

    async with working(dsn, handlers) as client:
        job = await over(client, await client.submit(Work()))

    assert (job.status, job.failed_attempts) == (JobStatus.FAILED, 1)
    assert str(job.error_message).startswith(says)


async def test_a_result_that_is_no_object_fails_the_job_and_says_so(dsn: str):
    handlers = Handlers()

    @handlers.handles(Work)
    async def work(_context: JobContext, _params: Work) -> Any:
        return 5

    async with working(dsn, handlers) as client:
        job = await over(client, await client.submit(Work()))

    assert job.error_message == "Its handler returned int, and a result is a JSON object"


async def test_a_worker_whose_record_was_removed_registers_again(dsn: str, database: Any):
    async with working(dsn, steps()) as client:
        await over(client, await client.submit(Work()))
        async with database.connection() as connection:
            await connection.execute("SELECT procrastinate_prune_stalled_workers_v1(0)")
        job = await over(client, await client.submit(Work()))

    assert job.status is JobStatus.COMPLETED


async def test_a_malformed_task_of_ours_stops_no_worker(dsn: str, database: Any):
    async with working(dsn, steps()) as client:
        async with database.connection() as connection:
            await connection.execute(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, args) "
                "VALUES ('evalqueue', 'evalqueue.run_job', '{\"job_id\": \"x\"}')"
            )
        job = await over(client, await client.submit(Work()))

    assert job.status is JobStatus.COMPLETED


async def test_running_dry_includes_what_was_lost(dsn: str, database: Any):
    async with Client(dsn) as client:
        job = await client.submit(Work())
        async with database.connection() as connection:
            await connection.execute("SELECT procrastinate_fetch_job_v2(NULL, NULL)")
            await connection.execute("UPDATE jobs SET lease_expires_at = now()")
        await run_jobs(dsn, steps())

        assert (await client.get(job.id)).status is JobStatus.COMPLETED


async def test_a_job_reclaimed_by_the_worker_that_lost_it_is_stopped_with_it(
    dsn: str, database: Any
):
    handlers = Handlers()
    begun: list[int] = []
    again = asyncio.Event()

    @handlers.handles(Work)
    async def work(context: JobContext, _params: Work) -> None:
        begun.append(context.job.attempt)
        if len(begun) == 2:
            again.set()
        try:
            await asyncio.sleep(3600)
        finally:
            if context.job.attempt == 1:  # ends slowly
                await asyncio.sleep(1)

    app = ProcrastinateApp(address=lambda: dsn, handlers=lambda: handlers, settings=Settings())
    async with Client(dsn) as client, app.open_async():
        job = await client.submit(Work())
        worker = app.worker(shutdown_graceful_timeout=0.1, install_signal_handlers=False)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(PATIENCE):
            while not begun:
                await asyncio.sleep(0.01)
            async with database.connection() as connection:
                async with connection.transaction():  # so that no heartbeat comes in between
                    await connection.execute("UPDATE jobs SET lease_expires_at = now()")
                    await connection.execute("SELECT evalqueue_recover_jobs()")
            await again.wait()
            worker.stop()
            await running
        attempts = await client.attempts(job.id)

    assert [attempt.outcome for attempt in attempts] == ["lost", "released"]


async def test_try_again_comes_back_by_itself_and_gives_up_in_the_end(dsn: str):
    handlers = Handlers()

    @handlers.handles(Work)
    async def work(_context: JobContext, _params: Work) -> None:
        raise TryAgain("the vendor is away", after=0.05)

    async with working(dsn, handlers) as client:
        job = await over(client, await client.submit(Work(), max_attempts=3))
        attempts = await client.attempts(job.id)

    assert job.error_message == "Gave up after 3 attempts. The last one: the vendor is away"
    assert [attempt.outcome for attempt in attempts] == ["retried", "retried", "failed"]


async def test_a_scheduled_job_starts_when_it_is_due_without_a_poll(dsn: str):
    async with working(dsn, steps()) as client:
        due = datetime.now(UTC) + timedelta(seconds=0.7)
        job = await over(client, await client.submit(Work(), scheduled_at=due))

    assert job.started_at is not None
    assert job.started_at >= due  # a poll would have come after an hour


async def test_a_running_job_that_is_cancelled_stops_where_it_waits(dsn: str):
    handlers = Handlers()
    begun, stopped = asyncio.Event(), asyncio.Event()

    @handlers.handles(Work)
    async def work(_context: JobContext, _params: Work) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()

    async with working(dsn, handlers) as client:
        job = await client.submit(Work())
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            await client.cancel(job.id)
            assert (await client.get(job.id)).status is JobStatus.CANCELLED
            await stopped.wait()


async def test_a_cancel_is_noticed_at_the_fence_without_a_notification(dsn: str):
    handlers = Handlers()
    begun, stopped = asyncio.Event(), asyncio.Event()

    @handlers.handles(Work)
    async def work(_context: JobContext, _params: Work) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()

    settings = Settings(lease_seconds=2)
    app = ProcrastinateApp(address=lambda: dsn, handlers=lambda: handlers, settings=settings)
    async with Client(dsn) as client, app.open_async():
        job = await client.submit(Work())
        deaf = asyncio.create_task(
            app.run_worker_async(listen_notify=False, install_signal_handlers=False)
        )
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            await client.cancel(job.id)
            await stopped.wait()
        deaf.cancel()
        await asyncio.wait({deaf})


async def test_an_unknown_job_type_waits_for_a_worker_that_knows_it(dsn: str):
    async with working(dsn, Handlers()) as client:
        job = await client.submit(Work())
        await run_jobs(dsn, Handlers())  # another worker, which must not claim it
        assert (await client.get(job.id)).attempt == 0
    async with working(dsn, steps()) as client:
        job = await over(client, job)

    assert job.status is JobStatus.COMPLETED
    assert job.attempt == 1


async def test_a_lost_worker_s_job_goes_on_elsewhere(dsn: str, database: Any):
    """Claim the next job as a worker that then disappears."""
    async with Client(dsn) as client:
        job = await client.submit(Work())
    async with database.connection() as connection:
        await connection.execute("SELECT procrastinate_fetch_job_v2(NULL, NULL)")
        await connection.execute("UPDATE jobs SET lease_expires_at = now() + interval '1 second'")
    async with working(dsn, steps()) as client:
        job = await over(client, job)

    assert job.status is JobStatus.COMPLETED
    assert (job.attempt, job.failed_attempts) == (2, 1)


async def test_a_connection_that_is_cut_is_made_anew_and_nothing_is_missed(dsn: str, database: Any):
    async with working(dsn, steps()) as client:
        await over(client, await client.submit(Work()))
        async with database.connection() as connection:
            await connection.execute(
                # Waited for: a connection that is just being cut can still be had from a pool.
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        with psycopg.connect(dsn, autocommit=True) as plain:
            plain.execute("SELECT evalqueue_submit_job('work')")
        async with asyncio.timeout(PATIENCE):
            while [job.status for job in await client.list()] != [JobStatus.COMPLETED] * 2:
                await asyncio.sleep(0.05)


async def test_stopping_past_the_grace_period_sends_the_job_back_uncounted(dsn: str):
    handlers = Handlers()
    begun = asyncio.Event()

    @handlers.handles(Work)
    async def work(_context: JobContext, _params: Work) -> None:
        begun.set()
        await asyncio.sleep(3600)

    settings = Settings()
    app = ProcrastinateApp(address=lambda: dsn, handlers=lambda: handlers, settings=settings)
    async with Client(dsn) as client, app.open_async():
        job = await client.submit(Work())
        worker = app.worker(shutdown_graceful_timeout=0.1, install_signal_handlers=False)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            worker.stop()
            await running
        job = await client.get(job.id)
        attempts = await client.attempts(job.id)

    assert job.status is JobStatus.QUEUED
    assert (job.attempt, job.failed_attempts) == (1, 0)
    assert [attempt.outcome for attempt in attempts] == ["released"]


async def test_no_more_jobs_run_at_once_than_the_worker_has_slots(dsn: str):
    handlers = Handlers()
    now = most = 0

    @handlers.handles(Work)
    async def work(_context: JobContext, _params: Work) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1

    async with Client(dsn) as client:
        for _ in range(12):
            await client.submit(Work())
        await run_jobs(dsn, handlers, concurrency=3)
        finished = await client.list(status=JobStatus.COMPLETED)

    assert most == 3
    assert len(finished) == 12


async def test_the_next_jobs_start_while_the_ends_of_the_last_ones_are_being_recorded(
    dsn: str, database: Database
):
    handlers, started, ending = Handlers(), list[int](), asyncio.Event()

    @handlers.handles(Work)
    async def work(_context: JobContext, params: Work) -> None:
        started.append(params.steps)
        await ending.wait()

    async def have_started(jobs: int) -> None:
        while len(started) < jobs:
            await asyncio.sleep(0.01)

    async with working(dsn, handlers, concurrency=2) as client, asyncio.timeout(PATIENCE):
        jobs = [await client.submit(Work(steps=number)) for number in range(5)]
        await have_started(2)
        async with database.transaction() as holder:
            # What is written about the end of the first two has to wait.
            await holder.execute(
                "SELECT 1 FROM procrastinate_jobs WHERE id IN (SELECT task_id FROM jobs "
                "WHERE id = ANY (%s) AND status = 'running') FOR UPDATE",
                [[job.id for job in jobs[:2]]],
            )
            ending.set()
            now = asyncio.get_running_loop().time()
            await have_started(5)
            assert asyncio.get_running_loop().time() - now < RECORD_PATIENCE
            assert [(await client.get(job.id)).status for job in jobs[:2]] == [
                JobStatus.RUNNING
            ] * 2
        for job in jobs:
            assert (await over(client, job)).status is JobStatus.COMPLETED
    assert started == [0, 1, 2, 3, 4]


async def test_the_checkpointed_map_works_only_on_what_is_missing(dsn: str):
    handlers = Handlers()
    worked: list[str] = []
    stored: list[str] = []

    @handlers.handles(Work)
    async def work(context: JobContext, _params: Work) -> None:
        class Doubling(ItemWork[str, str]):
            noun = "Thread"

            async def work(self, item: str, /) -> str:
                worked.append(item)
                return item * 2

            async def store(self, connection: Any, result: str, /) -> None:
                stored.append(result)

            def succeeded(self, result: str, /) -> bool:
                return result != "dd"

        await context.map(
            ["a", "b", "c", "d"],
            Doubling(),
            checkpoint=Checkpoint(succeeded={"a", "from an earlier choice"}, failed={"c"}),
            concurrency=2,
        )

    async with working(dsn, handlers) as client:
        job = await over(client, await client.submit(Work()))

    assert sorted(worked) == ["b", "d"]
    assert sorted(stored) == ["bb", "dd"]
    assert job.progress.message == "Thread 4/4 (2 ok, 2 failed)"


async def test_a_handler_registered_by_name_gets_its_id_and_a_dict(dsn: str):
    @register_job_handler("count-items")
    async def count(job_id: Any, params: dict[str, Any]) -> dict[str, Any]:
        total = params.get("total_items", 5)
        for item in range(total):
            await update_job_progress(
                job_id, item + 1, total, f"Processing item {item + 1}/{total}"
            )
        return {"total_processed": total}

    async with Client(dsn, job_types=registered.job_types.values()) as client:
        job = await client.submit_params("count-items", {"total_items": 4})
        await run_jobs(dsn, registered)
        job = await client.get(job.id)

    assert job.result == {"total_processed": 4}
    assert job.progress.message == "Processing item 4/4"


async def test_someone_else_s_task_in_our_queue_is_left_alone(dsn: str, database: Any):
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn))
    async with app.open_async():
        await app.configure_task("their.task", queue="evalqueue").defer_async(n=1)
    await run_jobs(dsn, steps())

    async with database.connection() as connection:
        cursor = await connection.execute("SELECT status::text, args FROM procrastinate_jobs")
        assert await cursor.fetchall() == [("todo", {"n": 1})]


@pytest.mark.parametrize(("condition", "left"), [("never", 1), ("successful", 0), ("always", 0)])
async def test_procrastinate_s_flag_to_delete_tasks_is_respected(
    dsn: str, database: Any, condition: str, left: int
):
    async with working(dsn, steps(), delete_jobs=condition) as client:
        job = await over(client, await client.submit(Work()))
        async with database.connection() as connection:
            cursor = await connection.execute("SELECT count(*) FROM procrastinate_jobs")
            assert await cursor.fetchone() == (left,)

    assert job.status is JobStatus.COMPLETED
    assert job.result == {"steps": 3}


async def test_a_worker_that_ends_for_an_error_sends_back_what_it_runs(
    dsn: str, monkeypatch: pytest.MonkeyPatch
):
    claim = Worker._claim  # pyright: ignore[reportPrivateUsage]
    broken = asyncio.Event()

    async def breaks(worker: Worker) -> float | None:
        if broken.is_set():
            raise RuntimeError("a bug")
        return await claim(worker)

    monkeypatch.setattr(Worker, "_claim", breaks)
    handlers = Handlers()
    begun = asyncio.Event()

    @handlers.handles(Work)
    async def waits(_context: JobContext, _params: Work) -> None:
        begun.set()
        await asyncio.sleep(3600)

    async with working(dsn, handlers) as client:
        job = await client.submit(Work())
        await begun.wait()
        broken.set()
        await client.submit(Work())  # wakes the worker
        async with asyncio.timeout(PATIENCE):
            while (found := await client.get(job.id)).status is not JobStatus.QUEUED:
                await asyncio.sleep(0.05)
        assert (found.attempt, found.failed_attempts) == (1, 0)
