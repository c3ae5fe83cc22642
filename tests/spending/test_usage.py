"""What calls have used is added up once, and outlasts the calls and the runs."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from costing import Judged, query
from psycopg.types.json import Json

from evalqueue import JobStatus
from evalqueue.evaluators.prices.costs import Cost, CostGroup, costs
from evalqueue.evaluators.runs.store import QUERIES
from evalqueue.postgres.database import Database

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADDED_UP = (
    "SELECT count(*), count(*) FILTER (WHERE batched), sum(tokens_in), sum(tokens_out),"
    " sum(cost_usd), count(*) FILTER (WHERE cost_usd IS NULL AND tokens_in IS NOT NULL)"
    " FROM api_logs WHERE outcome <> 'reused'"
)
USED = (
    "SELECT sum(calls), sum(batched_calls), sum(tokens_in), sum(tokens_out), sum(cost_usd),"
    " sum(unpriced_calls) FROM llm_usage"
)


async def found(database: Database, by: CostGroup, **more: Any) -> dict[str, Cost]:
    async with database.connection() as connection:
        groups = await costs(connection, by, **{"since": EPOCH} | more)
    return {each.name: each for each in groups}


async def run_of(database: Database, owner: str) -> UUID:
    run_id = uuid4()
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO eval_runs (id, command, status, owner, completed_at)"
            " VALUES (%s, 'evaluate-batch', 'completed', %s, now())",
            [run_id, owner],
        )
    return run_id


def call(run_id: UUID, **more: Any) -> dict[str, Any]:
    return {
        "run_id": str(run_id), "call_id": str(uuid4()), "evaluator": "intent", "provider": "openai",
        "model": "m", "method": "x", "outcome": "ok", "try_number": 1, "prompt": "",
        "duration_ms": 1, "attempt": 1, "started_at": NOON.isoformat(), "batched": False,
    } | more  # fmt: skip


async def log(database: Database, *calls: dict[str, Any]) -> None:
    async with database.connection() as connection:
        await connection.execute(QUERIES["log"], {"calls": Json(list(calls))})


@pytest.mark.usefixtures("priced")
async def test_the_usage_of_a_run_is_the_sum_of_its_calls(
    judge: Judged, database: Database
) -> None:
    first = await judge(total_items=6)
    again = await judge(total_items=6, reuse=True)  # its answers are those of the first run

    assert {first.status, again.status} == {JobStatus.COMPLETED}
    assert await query(database, USED) == await query(database, ADDED_UP)
    by_run = await found(database, CostGroup.RUN)
    assert list(by_run) == [str(first.progress.details["run_id"])]


async def test_a_call_is_added_once_however_often_it_is_logged(database: Database) -> None:
    run_id = await run_of(database, "ann")
    once, other = call(run_id, tokens_in=3, cost_usd=0.1), call(run_id, evaluator="efficiency")

    await log(database, once)
    await log(database, once, other)
    await log(database, call(run_id, tokens_in=4, tokens_out=1, cost_usd=0.2), once)

    by_evaluator = await found(database, CostGroup.EVALUATOR)
    used, nothing = by_evaluator["intent"], by_evaluator["efficiency"]
    assert (used.calls, used.tokens_in, used.tokens_out) == (2, 7, 1)
    assert used.cost_usd == Decimal("0.3")
    assert (nothing.calls, nothing.tokens_in, nothing.cost_usd) == (1, None, None)


async def test_costs_outlast_the_calls_and_the_runs(database: Database) -> None:
    runs = [await run_of(database, "ann") for _ in range(2)]
    for run_id in runs:
        await log(database, call(run_id, tokens_in=3, cost_usd=0.1))
    before = await found(database, CostGroup.OWNER)

    async with database.connection() as connection:
        await connection.execute("SELECT evalqueue_prune(NULL, NULL, interval '0')")
    assert await query(database, "SELECT FROM api_logs") == []
    assert (await found(database, CostGroup.RUN)).keys() == {str(each) for each in runs}

    async with database.connection() as connection:
        await connection.execute("DELETE FROM eval_runs WHERE id = %s", [runs[0]])
    by_run = await found(database, CostGroup.RUN)
    assert {name: each.calls for name, each in by_run.items()} == {"no run": 1, str(runs[1]): 1}
    async with database.connection() as connection:
        await connection.execute("DELETE FROM eval_runs")
    assert (await found(database, CostGroup.RUN))["no run"].calls == 2

    assert await found(database, CostGroup.OWNER) == before
    assert len(await query(database, "SELECT FROM llm_usage")) == 1


async def test_only_calls_since_an_hour_and_of_an_owner_count(database: Database) -> None:
    ann, bob = await run_of(database, "ann"), await run_of(database, "bob")
    before = (NOON - timedelta(seconds=1)).isoformat()
    await log(database, call(ann, started_at=before), call(ann), call(bob, model="other"))

    later = NOON + timedelta(minutes=59)
    assert {
        each.calls for each in (await found(database, CostGroup.OWNER, since=later)).values()
    } == {1}
    assert (await found(database, CostGroup.OWNER, since=later)).keys() == {"ann", "bob"}
    assert (await found(database, CostGroup.MODEL, owner="ann")).keys() == {"openai/m"}
    assert (await found(database, CostGroup.MODEL, owner="ann"))["openai/m"].calls == 2
    assert await found(database, CostGroup.OWNER, since=NOON + timedelta(hours=1)) == {}


async def test_workers_that_log_at_once_neither_deadlock_nor_lose_a_call(
    database: Database,
) -> None:
    runs = [await run_of(database, "ann") for _ in range(3)]
    evaluators = ["intent", "correctness", "efficiency"]

    async def log_often(turn: int) -> None:
        for number in range(20):
            order = 1 if (turn + number) % 2 else -1
            await log(
                database,
                *(
                    call(run, evaluator=name)
                    for run in runs[::order]
                    for name in evaluators[::order]
                ),
            )

    await asyncio.gather(*(log_often(turn) for turn in range(4)))

    assert await query(database, USED) == await query(database, ADDED_UP)
    assert {each.calls for each in (await found(database, CostGroup.RUN)).values()} == {240}
