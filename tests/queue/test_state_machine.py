"""The state machine in SQL: one writer of status, the fence, races of cancel, recovery."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import psycopg
import pytest

from evalqueue.jobs import TRANSITIONS, Ended, Job, JobStatus
from evalqueue.postgres import fleet, store
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.fleet import Capabilities
from evalqueue.postgres.store import Submission

LEASE = 30.0  # seconds


async def submitted(database: Database, *, max_attempts: int = 3) -> Job:
    async with database.connection() as connection:
        submission = Submission(job_type="evaluate-it", params={}, max_attempts=max_attempts)
        return await store.submit(connection, submission)


async def claimed(connection: Connection, *, lease_seconds: float = LEASE) -> Job:
    """Claim the next job with a new worker."""
    (job,) = await claims(connection, lease_seconds=lease_seconds)
    return job


async def claims(connection: Connection, *, slots: int = 1, lease_seconds: float = LEASE):
    capabilities = Capabilities(queues=None, job_types=["evaluate-it"])
    worker = await fleet.register(
        connection, name="w", version="1", capabilities=capabilities, slots=slots
    )
    return await fleet.claim(
        connection, worker, capabilities, slots=slots, lease_seconds=lease_seconds
    )


async def reaped(connection: Connection) -> int:
    cursor = await connection.execute("SELECT evalqueue_recover_jobs()")
    (number,) = await one(cursor)
    assert isinstance(number, int)
    return number


async def one(cursor: psycopg.AsyncCursor[tuple[object, ...]]) -> tuple[object, ...]:
    row = await cursor.fetchone()
    assert row is not None
    return row


async def status_of(database: Database, job: Job) -> tuple[str, str, str]:
    """The statuses of the job, its task and its run."""
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT j.status, t.status::text, r.status FROM jobs j "
            "LEFT JOIN procrastinate_jobs t ON t.id = j.task_id "
            "LEFT JOIN eval_runs r ON r.job_id = j.id WHERE j.id = %s",
            [job.id],
        )
        return await one(cursor)  # pyright: ignore[reportReturnType]


async def finish(connection: Connection, job: Job, outcome: Ended) -> JobStatus | None:
    return await store.finish(
        connection, job_id=job.id, attempt=job.attempt, ended=outcome, delete_task=False
    )


async def attempts_of(database: Database, job_id: UUID) -> list[tuple[int, str | None]]:
    async with database.connection() as connection:
        return [(each.attempt, each.outcome) for each in await store.attempts(connection, job_id)]


@pytest.mark.parametrize(
    ("outcome", "job", "task", "run"),
    [
        (
            Ended.completed({"incomplete": True}),
            "completed", "succeeded", "completed_with_errors",
        ),
        (Ended.completed({}), "completed", "succeeded", "completed"),
        (Ended.failed("no"), "failed", "failed", "failed"),
        (Ended.retry("later", delay_seconds=60), "queued", "todo", "pending"),
        (Ended.released(), "queued", "todo", "pending"),
        (Ended.yielded(), "queued", "todo", "pending"),
    ],
)  # fmt: skip
async def test_an_outcome_moves_the_task_and_the_job_and_its_run_follow(
    database: Database, outcome: Ended, job: str, task: str, run: str
):
    await submitted(database)
    async with database.connection() as connection:
        begun = await claimed(connection)
        assert await status_of(database, begun) == ("running", "doing", "running")
        assert await finish(connection, begun, outcome) == job

    assert await status_of(database, begun) == (job, task, run)


async def test_whoever_moves_the_task_moves_the_job(database: Database):
    """As procrastinate's shell, its Django admin or a user of psql does."""
    for move, expected in [
        ("SELECT procrastinate_cancel_job_v1(task_id, false, false) FROM jobs", "cancelled"),
        ("SELECT procrastinate_finish_job_v1(task_id, 'failed', false) FROM jobs", "cancelled"),
        ("SELECT procrastinate_finish_job_v1(task_id, 'succeeded', false) FROM jobs", "cancelled"),
        ("UPDATE procrastinate_jobs SET status = 'aborted'", "cancelled"),
        ("DELETE FROM procrastinate_jobs", "cancelled"),
    ]:
        job = await submitted(database)
        async with database.connection() as connection:
            await connection.execute(move.encode())
            assert (await status_of(database, job))[0] == expected
            await connection.execute("DELETE FROM jobs")
            await connection.execute("DELETE FROM procrastinate_jobs")


@pytest.mark.parametrize(("end", "expected"), [("succeeded", "completed"), ("failed", "failed")])
async def test_whoever_ends_a_running_task_ends_the_job(
    database: Database, end: str, expected: str
):
    await submitted(database)
    async with database.connection() as connection:
        job = await claimed(connection)
        await connection.execute(
            "SELECT procrastinate_finish_job_v1(task_id, %s, false) FROM jobs", [end]
        )

    assert await status_of(database, job) == (expected, end, expected)
    assert await attempts_of(database, job.id) == [(1, expected)]


async def test_procrastinate_s_own_abort_of_a_running_job_is_final_at_once(database: Database):
    await submitted(database)
    async with database.connection() as connection:
        job = await claimed(connection)
        await connection.execute(
            "SELECT procrastinate_cancel_job_v1(task_id, true, false) FROM jobs"
        )

    assert await status_of(database, job) == ("cancelled", "aborted", "cancelled")
    assert await attempts_of(database, job.id) == [(1, "cancelled")]


@pytest.mark.parametrize("over", [Ended.completed({}), Ended.failed("no"), None])
async def test_terminal_is_for_ever(database: Database, over: Ended | None):
    await submitted(database)
    async with database.connection() as connection:
        job = await claimed(connection)
        if over is None:
            assert await store.cancel(connection, job.id) is True
        else:
            await finish(connection, job, over)
        before = await store.get(connection, job.id)

        assert await store.cancel(connection, job.id) is False
        assert await finish(connection, job, Ended.completed({"late": True})) is None
        assert await finish(connection, job, Ended.retry("late", delay_seconds=0)) is None
        assert not await store.flush(
            connection,
            job_id=job.id,
            attempt=job.attempt,
            progress={"current": 9},
            lease_seconds=LEASE,
        )
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="for ever"):
            await connection.execute(
                "UPDATE procrastinate_jobs SET status = 'todo', abort_requested = false"
            )

        assert await store.get(connection, job.id) == before


async def test_a_zombie_can_change_nothing_once_another_attempt_has_begun(database: Database):
    await submitted(database)
    async with database.connection() as connection:
        zombie = await claimed(connection, lease_seconds=0)
        assert await reaped(connection) == 1
        heir = await claimed(connection)
        assert (zombie.attempt, heir.attempt) == (1, 2)

        assert await finish(connection, zombie, Ended.completed({"by": "zombie"})) is None
        assert not await store.hold(connection, job_id=zombie.id, attempt=zombie.attempt)
        assert not await store.flush(
            connection, job_id=zombie.id, attempt=1, progress={"current": 99}, lease_seconds=LEASE
        )
        assert await store.hold(connection, job_id=heir.id, attempt=heir.attempt)
        assert await finish(connection, heir, Ended.completed({"by": "heir"})) == "completed"
        job = await store.get(connection, heir.id)

    assert job is not None
    assert job.result == {"by": "heir"}
    assert job.progress.current == 0
    assert await attempts_of(database, job.id) == [(1, "lost"), (2, "completed")]


async def test_a_job_that_keeps_losing_its_worker_is_failed_with_that_reason(database: Database):
    job = await submitted(database, max_attempts=2)
    async with database.connection() as connection:
        for _ in range(2):
            await claimed(connection, lease_seconds=0)
            assert await reaped(connection) == 1
        over = await store.get(connection, job.id)

    assert over is not None
    assert over.status is JobStatus.FAILED
    assert over.error_message is not None
    assert over.error_message.startswith("Quarantined: workers lost to it: 2 (w@")


async def test_released_and_yielded_attempts_are_not_counted_and_reuse_no_fence(database: Database):
    job = await submitted(database, max_attempts=1)
    async with database.connection() as connection:
        for number in (1, 2, 3):
            begun = await claimed(connection)
            assert begun.attempt == number
            assert await finish(connection, begun, Ended.released()) == "queued"
        begun = await claimed(connection)
        assert await finish(connection, begun, Ended.yielded()) == "queued"
        begun = await claimed(connection)
        assert await finish(connection, begun, Ended.retry("boom", delay_seconds=0)) == "failed"

    assert [outcome for _, outcome in await attempts_of(database, job.id)] == [
        "released", "released", "released", "yielded", "failed",
    ]  # fmt: skip


async def test_progress_is_merged_and_never_goes_backwards(database: Database):
    await submitted(database)
    async with database.connection() as connection:
        job = await claimed(connection)
        run_id = job.progress.details["run_id"]
        for current, message in [(3, "three"), (1, "one, late")]:
            await store.flush(
                connection,
                job_id=job.id,
                attempt=1,
                progress={"current": current, "total": 5, "message": message},
                lease_seconds=LEASE,
            )
        seen = await store.get(connection, job.id)

    assert seen is not None
    assert (seen.progress.current, seen.progress.total) == (3, 5)
    assert seen.progress.details == {"run_id": run_id}


async def test_cancel_against_finish_has_one_winner_every_time(database: Database):
    """The first commit wins; the other statement gets an error, and the three rows agree."""
    wins = {"cancelled": 0, "completed": 0}
    for _ in range(1_000):
        await submitted(database)
        async with database.connection() as one_side, database.connection() as other_side:
            job = await claimed(one_side)
            cancelled, finished = await asyncio.gather(
                store.cancel(other_side, job.id),
                finish(one_side, job, Ended.completed({})),
            )
        status, task, run = await status_of(database, job)
        assert (cancelled, finished) in [(True, None), (False, JobStatus.COMPLETED)]
        assert status == ("cancelled" if cancelled else "completed") == run
        assert task == ("aborted" if cancelled else "succeeded")
        wins[status] += 1
    assert sum(wins.values()) == 1_000


async def test_cancel_against_claim_never_deadlocks_and_never_runs_a_cancelled_job(
    database: Database,
):
    for _ in range(100):
        job = await submitted(database)
        async with database.connection() as one_side, database.connection() as other_side:
            await asyncio.gather(
                store.cancel(other_side, job.id),
                claims(one_side),
            )
        status, task, run = await status_of(database, job)
        assert (status, run) == ("cancelled", "cancelled")
        assert task in ("cancelled", "aborted")


async def test_a_worker_frozen_in_the_middle_of_keeping_holds_up_no_other(database: Database):
    """It locks the row of its job, so recovery skips it."""
    await submitted(database)
    async with database.connection() as frozen, database.connection() as other:
        job = await claimed(frozen, lease_seconds=0)
        async with frozen.transaction():
            assert await store.hold(frozen, job_id=job.id, attempt=job.attempt)
            async with asyncio.timeout(30):
                assert await reaped(other) == 0
        assert await reaped(other) == 1


async def test_a_claim_that_was_lost_before_it_began_is_in_the_attempts(database: Database):
    job = await submitted(database)
    async with database.connection() as connection:
        await connection.execute("SELECT procrastinate_fetch_job_v2(NULL, NULL)")
        await connection.execute("UPDATE jobs SET lease_expires_at = now()")
        await reaped(connection)

    assert await attempts_of(database, job.id) == [(1, "lost")]


async def test_cancelling_what_is_not_there_says_so(database: Database):
    async with database.connection() as connection:
        assert await store.cancel(connection, UUID(int=7)) is None


async def test_a_cancelled_run_says_how_far_it_came(database: Database):
    job = await submitted(database)
    async with database.connection() as connection:
        await claimed(connection)
        await connection.execute("UPDATE eval_runs SET total_items = 20")
        await connection.execute(
            "INSERT INTO thread_evaluations (run_id, thread_id, result, attempt, duration_ms) "
            "SELECT id, 't' || n, '{}', 1, 1 FROM eval_runs, generate_series(1, 7) AS n"
        )
        await store.cancel(connection, job.id)
        cursor = await connection.execute("SELECT summary FROM eval_runs")
        (summary,) = await one(cursor)

    assert summary == {"total_threads": 20, "processed": 7, "cancelled": True}


async def stored(connection: Connection, job: Job, numbers: Sequence[int]) -> None:
    """Threads of a run are stored by its job, one of them without a verdict."""
    await connection.execute(
        "INSERT INTO thread_evaluations (run_id, job_id, thread_id, result, error, attempt, "
        "duration_ms) SELECT id, %s, 't' || n, '{}', CASE n WHEN 1 THEN 'no answer' END, 1, 1 "
        "FROM eval_runs, unnest(%s::int[]) AS n",
        [job.id, list(numbers)],
    )


async def cancels(connection: Connection, job: Job) -> None:
    await store.cancel(connection, job.id)


async def fails(connection: Connection, job: Job) -> None:
    await finish(connection, job, Ended.failed("no"))


async def loses_its_worker(connection: Connection, _job: Job) -> None:
    await connection.execute("UPDATE jobs SET lease_expires_at = now() - interval '1 second'")
    assert await reaped(connection) == 1


@pytest.mark.parametrize("ends", [cancels, fails, loses_its_worker])
@pytest.mark.parametrize("shown", [(0, 0, ""), (5, 20, "Thread 5/20 (5 ok, 0 failed); it waits")])
async def test_what_was_stored_before_the_end_is_in_the_progress(
    database: Database,
    ends: Callable[[Connection, Job], Awaitable[None]],
    shown: tuple[int, int, str],
):
    submission = await submitted(database)
    async with database.connection() as connection:
        job = await claimed(connection)
        current, total, message = shown
        noted = {"current": current, "total": total, "message": message}
        await store.flush(connection, job_id=job.id, attempt=1, progress=noted, lease_seconds=LEASE)
        await connection.execute("UPDATE eval_runs SET total_items = 20")
        await stored(connection, job, range(1, 8))
        await ends(connection, job)
        found = await store.get(connection, submission.id)

    assert found is not None
    progress = found.progress
    assert (progress.current, progress.total) == (7, 20)
    assert progress.message == "Thread 7/20 (6 ok, 1 failed)"
    assert progress.details == {"run_id": str(found.run_id)}


async def test_what_a_helper_is_storing_at_a_cancel_is_counted(database: Database):
    submission = await submitted(database)
    async with database.connection() as connection, database.connection() as other:
        job = await claimed(connection)
        await store.start_helpers(connection, job_id=job.id, attempt=1, wanted=1)
        helper = await claimed(connection)
        async with other.transaction():
            assert await store.hold(other, job_id=helper.id, attempt=1)
            await stored(other, job, range(1, 8))
            cancelling = asyncio.create_task(store.cancel(connection, submission.id))
            while True:
                cursor = await other.execute(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                )
                if await cursor.fetchone() is not None:
                    break
        assert await cancelling
        found = await store.get(connection, submission.id)
        cursor = await connection.execute("SELECT summary ->> 'processed' FROM eval_runs")

        assert found is not None
        assert found.progress.current == 7
        assert await one(cursor) == ("7",)


async def test_a_retry_is_as_far_as_the_results_that_it_keeps(database: Database):
    first = await submitted(database)
    async with database.connection() as connection:
        job = await claimed(connection)
        await connection.execute("UPDATE eval_runs SET total_items = 7")
        await stored(connection, job, range(1, 8))
        await store.cancel(connection, first.id)
        second = await store.retry(connection, first.id)
        assert second is not None
        await claimed(connection)
        await store.cancel(connection, second.id)
        found = await store.get(connection, second.id)

    assert found is not None
    assert found.progress.message == "Thread 6/7 (6 ok, 0 failed)"


@pytest.mark.parametrize(
    "change",
    [
        "status = 'completed'",
        "status = 'failed', completed_at = now()",
        "status = 'running'",
        "completed_at = now()",
        "status = 'nearly done'",
        "task_id = NULL",
        "attempt = -1",
        "error_message = ''",
        "progress = '[]'",
        """progress = progress || '{"current": "x"}'""",
    ],
)
async def test_impossible_rows_are_refused(database: Database, change: str):
    await submitted(database)
    async with database.connection() as connection:
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute(f"UPDATE jobs SET {change}".encode())


async def test_a_job_without_a_task_is_refused(database: Database):
    """No worker would ever see it."""
    async with database.connection() as connection:
        with pytest.raises(psycopg.errors.CheckViolation, match="jobs_have_a_task"):
            await connection.execute("INSERT INTO jobs (job_type) VALUES ('evaluate-it')")


def test_the_states_that_lead_nowhere_are_the_terminal_ones():
    assert {state for state, arrows in TRANSITIONS.items() if not arrows} == {
        JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED,
    }  # fmt: skip
