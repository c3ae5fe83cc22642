"""A run that goes on: what is on record, what is done, and what replaces what. On real Postgres."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from evalqueue.evaluators.judging.threads import ThreadResult
from evalqueue.evaluators.metrics import EvaluationMetrics
from evalqueue.evaluators.prices.price_list import PriceList
from evalqueue.evaluators.providers.errors import CallOutcome
from evalqueue.evaluators.providers.provider import Usage
from evalqueue.evaluators.providers.recorder import CallRecord, CallSite
from evalqueue.evaluators.runs import store
from evalqueue.evaluators.runs.call_log import CallLog
from evalqueue.metrics.registry import Metrics
from evalqueue.postgres.database import Database

REFUSED = {"evaluator": "intent", "reason": "judge_refused", "message": "no", "turn": 2}
TIMED_OUT = {"evaluator": "efficiency", "reason": "timeout", "message": "late", "turn": None}


async def query(database: Database, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        cursor = await connection.execute(sql.encode(), arguments)
        return await cursor.fetchall()


async def submitted(database: Database) -> tuple[UUID, UUID]:
    """A new job, and its run."""
    ((job_id, run_id),) = await query(
        database,
        "SELECT id, (progress ->> 'run_id')::uuid"
        " FROM evalqueue_submit_job_row('evaluate-batch', '{\"name\": \"first\"}')",
    )
    return job_id, run_id


async def another(database: Database, **columns: UUID) -> tuple[UUID, UUID]:
    """A job beside those submitted, a retry (`retry_of`) or a helper (`parent_id`); and its run."""
    ((job_id, run_id),) = await query(
        database,
        "WITH task AS (INSERT INTO procrastinate_jobs (queue_name, task_name)"
        " VALUES ('evalqueue', 'evalqueue.run_job') RETURNING id)"
        f" INSERT INTO jobs (job_type, task_id, {', '.join(columns)})"
        f" SELECT 'evaluate-batch', id, {', '.join('%s' for _ in columns)} FROM task"
        " RETURNING id, (progress ->> 'run_id')::uuid",
        *columns.values(),
    )
    return job_id, run_id


async def end(database: Database, job_id: UUID, status: str = "succeeded") -> None:
    """Let a job run and end like its task."""
    for each in ("doing", status):
        await query(
            database,
            "UPDATE procrastinate_jobs SET status = %s::procrastinate_job_status"
            " WHERE id = (SELECT task_id FROM jobs WHERE id = %s) RETURNING id",
            each, job_id,
        )  # fmt: skip


def found(thread_id: str, *failures: dict[str, Any], error: str | None = None) -> ThreadResult:
    return ThreadResult(
        thread_id=thread_id,
        columns={} if error else {"intent_accuracy": 1.0},
        success_status=None,
        result={"failures": list(failures)},
        error=error,
    )


@pytest.fixture
def keep(database: Database) -> Callable[..., Any]:
    async def keep(run_id: UUID, job_id: UUID, result: ThreadResult) -> None:
        kept = store.EvaluatedThread(
            run_id=run_id, job_id=job_id, attempt=1, data_file_hash="", duration_ms=1.0,
            found=result,
        )  # fmt: skip
        async with database.connection() as connection:
            await store.keep(connection, kept)

    return keep


@asynccontextmanager
async def calls_of(database: Database, run_id: UUID, job_id: UUID) -> AsyncGenerator[CallLog]:
    async with CallLog(
        database,
        run_id=run_id,
        job_id=job_id,
        attempt=1,
        prices=PriceList(None, {}),
        metrics=EvaluationMetrics(Metrics()),
        at_once=4,
    ) as calls:
        yield calls


def call(response: str, *, evaluator: str = "intent", turn: int | None = 1) -> CallRecord:
    """A record of an answer, whose hash is what it says."""
    return CallRecord(
        site=CallSite(evaluator=evaluator, thread_id="t1", turn=turn),
        provider="openai", model="as-named", method="generate_json", outcome=CallOutcome.OK,
        try_number=1, prompt="?", system_prompt="", response=response, error=None,
        started_at=datetime.now(UTC), duration_ms=12.5, request_id="r-1",
        usage=Usage(input_tokens=3, output_tokens=2, cached_tokens=1, reasoning_tokens=0),
        request_hash=response.encode(errors="replace").ljust(32),
    )  # fmt: skip


async def replayable(database: Database, run_id: UUID, job_id: UUID) -> list[str]:
    """What would be replayed for thread t1."""
    async with database.connection() as connection:
        found = await store.recorded(connection, run_id=run_id, job_id=job_id, thread_ids=["t1"])
        records = found["t1"]
    return [each.completion.text for each in records]


# Records.


async def test_an_answer_is_on_record_soon_without_anyone_asking_for_it(database: Database):
    job_id, run_id = await submitted(database)
    async with calls_of(database, run_id, job_id) as calls, asyncio.timeout(20):
        for number in range(1, 31):  # a write each second would be too slow
            calls.record(call(f"answer {number}"))
            while len(await replayable(database, run_id, job_id)) < number:
                await asyncio.sleep(0.005)


async def test_a_record_that_is_written_again_because_nobody_knew_is_one_purchase(
    database: Database,
):
    job_id, run_id = await submitted(database)
    once = call("once")
    async with calls_of(database, run_id, job_id) as calls:
        calls.record(once)
        await calls.flush()
        calls.record(once)
        calls.record(call("another"))

    assert await query(database, "SELECT count(*) FROM api_logs") == [(2,)]


async def test_a_replayed_answer_has_all_that_its_record_has(database: Database):
    job_id, run_id = await submitted(database)
    async with calls_of(database, run_id, job_id) as calls:
        calls.record(call("yes"))

    async with database.connection() as connection:
        found = await store.recorded(connection, run_id=run_id, job_id=job_id, thread_ids=["t1"])
        (one,) = found["t1"]

    assert one.request_hash == b"yes".ljust(32)
    assert (one.completion.text, one.completion.model) == ("yes", "as-named")
    assert (one.completion.request_id, one.completion.latency_ms) == ("r-1", 12.5)
    assert one.completion.usage == Usage(
        input_tokens=3, output_tokens=2, cached_tokens=1, reasoning_tokens=0
    )


async def test_a_call_does_not_wait_for_records_that_nobody_writes_any_more(database: Database):
    """The table refuses them: the next flush says so."""
    job_id, run_id = await submitted(database)
    async with database.connection() as connection:
        await connection.execute("ALTER TABLE api_logs RENAME TO taken_away")
    with pytest.raises(psycopg.errors.UndefinedTable):
        async with calls_of(database, run_id, job_id) as calls:
            for number in range(8):
                calls.record(call(f"answer {number}"))
            async with asyncio.timeout(10):
                await calls.ready()


@pytest.mark.parametrize("altered", ["a NUL \x00", "half an emoji \ud83d"])
async def test_an_answer_that_could_not_be_stored_as_it_came_is_not_replayed(
    database: Database, altered: str
):
    job_id, run_id = await submitted(database)
    async with calls_of(database, run_id, job_id) as calls:
        calls.record(call(altered))
        calls.record(call("as it came"))

    assert await replayable(database, run_id, job_id) == ["as it came"]
    assert await query(database, "SELECT count(*) FROM api_logs") == [(2,)]


async def test_only_answers_can_be_replayed(database: Database):
    _, run_id = await submitted(database)
    with pytest.raises(psycopg.errors.CheckViolation, match="only_answers_are_replayed"):
        await query(
            database,
            "INSERT INTO api_logs (run_id, evaluator, provider, model, method, outcome, try_number,"
            " prompt, response, duration_ms, request_hash, attempt, started_at) VALUES"
            " (%s, 'intent', 'p', 'm', 'generate_json', 'truncated', 1, '', '{', 1,"
            " sha256(''), 1, now())",
            run_id,
        )


async def test_what_led_to_a_failure_is_bought_anew_once_and_all_else_is_replayed(
    database: Database, keep: Any
):
    first, run_id = await submitted(database)
    async with calls_of(database, run_id, first) as calls:
        for turn in (1, 2, 3):
            calls.record(call(f"intent {turn}", turn=turn))
        calls.record(call("efficiency", evaluator="efficiency", turn=None))
        calls.record(call("correctness", evaluator="correctness", turn=2))
    everything = {"intent 1", "intent 2", "intent 3", "efficiency", "correctness"}
    assert set(await replayable(database, run_id, first)) == everything

    await keep(run_id, first, found("t1", REFUSED, TIMED_OUT))
    await end(database, first)
    second, _ = await another(database, retry_of=first)
    assert set(await replayable(database, run_id, second)) == everything - {
        "intent 2",
        "efficiency",
    }

    async with calls_of(database, run_id, second) as calls:
        calls.record(call("intent 2 again", turn=2))
    assert (await replayable(database, run_id, second))[0] == "intent 2 again", "newest first"
    assert "intent 2" not in await replayable(database, run_id, second)


# What is done.


async def test_a_job_has_nothing_more_to_do_for_what_is_complete_or_its_own(
    database: Database, keep: Any
):
    first, run_id = await submitted(database)
    await keep(run_id, first, found("complete"))
    await keep(run_id, first, found("gaps", REFUSED))
    await keep(run_id, first, found("nothing", TIMED_OUT, error="efficiency: late"))
    await end(database, first)
    second, _ = await another(database, retry_of=first)
    await keep(run_id, second, found("own gaps", REFUSED))

    async with database.connection() as connection:
        of_first = await store.checkpoint(connection, run_id, first)
        of_second = await store.checkpoint(connection, run_id, second)

    assert of_first.succeeded == {"complete", "gaps"}
    assert of_first.failed == {"nothing"}
    assert of_second.succeeded == {"complete", "own gaps"}
    assert of_second.failed == frozenset()


@pytest.mark.parametrize(
    ("before", "after", "replaced"),
    [
        ([REFUSED], [], True),
        ([REFUSED, TIMED_OUT], [TIMED_OUT], True),
        ([REFUSED], [TIMED_OUT], True),
        ([REFUSED], [REFUSED, TIMED_OUT], False),
        ([], [], False),
        ([], [REFUSED], False),
    ],
)
async def test_a_result_replaces_another_job_s_when_no_fewer_verdicts_are_in_it(
    database: Database,
    keep: Any,
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    replaced: bool,
):
    first, run_id = await submitted(database)
    await keep(run_id, first, found("t1", *before))
    await end(database, first)
    second, _ = await another(database, retry_of=first)

    await keep(run_id, second, found("t1", *after))

    assert await query(
        database, "SELECT job_id, result -> 'failures', missing_verdicts FROM thread_evaluations"
    ) == [(second, after, len(after)) if replaced else (first, before, len(before))]


async def test_a_result_that_measured_nothing_never_replaces_one_that_measured_something(
    database: Database, keep: Any
):
    first, run_id = await submitted(database)
    await keep(run_id, first, found("t1", REFUSED))
    await end(database, first)
    second, _ = await another(database, retry_of=first)

    await keep(run_id, second, found("t1", REFUSED, TIMED_OUT, error="nothing"))

    assert await query(database, "SELECT job_id, error FROM thread_evaluations") == [(first, None)]


async def test_where_every_call_failed_a_verdict_that_needed_none_is_not_kept(
    database: Database, keep: Any
):
    job_id, run_id = await submitted(database)
    failed = replace(
        found("t", REFUSED, error="all"), columns={"worst_correctness": "NOT APPLICABLE"}
    )
    await keep(run_id, job_id, failed)

    assert await query(database, "SELECT worst_correctness, error FROM thread_evaluations") == [
        (None, "all")
    ]


async def test_the_same_job_s_first_word_on_a_thread_stands(database: Database, keep: Any):
    job_id, run_id = await submitted(database)
    await keep(run_id, job_id, found("t1", REFUSED))
    await keep(run_id, job_id, found("t1"))

    assert await query(database, "SELECT missing_verdicts FROM thread_evaluations") == [(1,)]


# The run and the jobs that work on it.


@pytest.mark.parametrize("status", ["succeeded", "failed", "aborted"])
async def test_a_retry_takes_the_run_along_and_takes_back_how_it_ended(
    database: Database, status: str
):
    first, run_id = await submitted(database)
    await end(database, first, status)
    ((started_at,),) = await query(database, "SELECT started_at FROM eval_runs")

    second, its_run = await another(database, retry_of=first)

    assert its_run == run_id
    assert await query(
        database,
        "SELECT job_id, status, completed_at, duration_seconds, error_message, summary, name"
        " FROM eval_runs",
    ) == [(second, "pending", None, None, None, None, "first")]
    assert await query(database, "SELECT started_at FROM eval_runs") == [(started_at,)]


async def test_a_run_that_is_not_over_is_not_taken_away(database: Database):
    first, _ = await submitted(database)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is not over"):
        await another(database, retry_of=first)
    await end(database, first)
    second, _ = await another(database, retry_of=first)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is not over"):
        await another(database, retry_of=second)

    assert await query(database, "SELECT job_id FROM eval_runs") == [(second,)]


async def test_a_deleted_run_is_opened_anew_for_a_retry(database: Database):
    first, run_id = await submitted(database)
    await end(database, first)
    await query(database, "DELETE FROM eval_runs RETURNING id")

    second, _ = await another(database, retry_of=first)

    assert await query(database, "SELECT id, job_id, status FROM eval_runs") == [
        (run_id, second, "pending")
    ]


async def test_a_hand_shares_its_parent_s_run_and_never_moves_it(database: Database):
    parent, run_id = await submitted(database)
    hand, its_run = await another(database, parent_id=parent)
    assert its_run == run_id

    await query(
        database,
        "UPDATE jobs SET status = 'cancelled', completed_at = now() WHERE id = %s RETURNING id",
        hand,
    )

    assert await query(database, "SELECT job_id, status FROM eval_runs") == [(parent, "pending")]
