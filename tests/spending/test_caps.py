"""Caps: never exceeded, whatever happens to the workers; and a retry goes on."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from costing import Judged, billed, price_list, query, repeated, run_of, work
from forking import fork_worker

from evalqueue import Client, JobStatus
from evalqueue.errors import InvalidParams, NotRetryable
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.proposing.job_type import ProposeApp
from evalqueue.evaluators.trying.job_type import TryEvaluators
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour, SimulatedServer

PATIENCE = 90.0  # seconds
Start = Callable[..., AbstractAsyncContextManager[BaseProcess]]


@pytest.fixture
def start_worker(dsn: str, tmp_path: Path) -> Start:
    """A worker process of its own, which is killed at the end."""

    @asynccontextmanager
    async def start(**environment: str) -> AsyncGenerator[BaseProcess]:
        log = tmp_path / f"worker-{len(list(tmp_path.iterdir()))}.log"
        log.touch()
        settings = os.environ | {
            "DATABASE_URL": dsn,
            "EVALQUEUE_LLM_PROVIDER": "simulated",
            "EVALQUEUE_LLM_LIMITS": "*=rpm:60000",  # the pace does not have to be found
        }
        process = fork_worker((), settings | environment, log)
        try:
            yield process
        finally:
            process.kill()
            await asyncio.to_thread(process.join)

    return start


async def spent(database: Database) -> Decimal:
    ((cost,),) = await query(database, "SELECT COALESCE(sum(cost_usd), 0) FROM api_logs")
    return cost


async def judged(database: Database) -> int:
    ((count,),) = await query(database, "SELECT count(*) FROM thread_evaluations")
    return count


async def test_two_workers_with_64_calls_in_flight_never_exceed_a_cap(
    client: Client, database: Database, start_worker: Start, monkeypatch: pytest.MonkeyPatch
):
    prices = Decimal(10), Decimal("0.5")  # so that many reservations fit below the cap
    monkeypatch.setenv("EVALQUEUE_PRICES", price_list(*prices))
    text, gold = repeated(3)
    cap = Decimal(10)
    async with SimulatedServer(Behaviour(gold=gold, latency_ms=400, latency_sigma=0.3)) as vendor:
        settings = {"EVALQUEUE_SIMULATED_URL": vendor.url}
        async with start_worker(**settings), start_worker(**settings):
            job = await client.submit(EvaluateBatch(csv_content=text, concurrency=64, max_cost=cap))
            async with asyncio.timeout(PATIENCE):
                while not (await client.get(job.id)).status.is_over:
                    assert billed(vendor.simulation.stats, *prices) <= cap
                    await asyncio.sleep(0.05)
            await vendor.simulation.until(lambda stats: stats["in_flight"] == 0)
            stats = vendor.simulation.stats
    job = await client.get(job.id)
    done = await judged(database)
    assert job.status is JobStatus.FAILED
    assert job.error_message == (
        f"The cap of $10.00 is reached: {done} of 144 conversations are judged"
    )
    cost = billed(stats, *prices)
    assert cap - Decimal("0.5") < cost <= cap, "it is used up, but for one call at most"
    assert await spent(database) == cost
    assert stats["max_in_flight"] > 64, "both workers called"
    assert done > 20, "what was judged is kept"


@pytest.mark.usefixtures("priced")
async def test_what_a_killed_worker_reserved_counts_as_used(
    client: Client, database: Database, start_worker: Start
):
    cap = Decimal("2.5")
    async with SimulatedServer(Behaviour(latency_ms=300)) as vendor:
        url = {"EVALQUEUE_SIMULATED_URL": vendor.url, "EVALQUEUE_LEASE_SECONDS": "2"}
        job = await client.submit(EvaluateBatch(total_items=48, concurrency=16, max_cost=cap))
        async with start_worker(**url) as worker, asyncio.timeout(PATIENCE):
            await vendor.simulation.until(
                lambda stats: stats["requests"] >= 40 and stats["in_flight"] >= 8
            )
            worker.kill()
        async with start_worker(**url), asyncio.timeout(PATIENCE):
            job = await client.wait(job.id, timeout=PATIENCE)
        stats = vendor.simulation.stats
    assert job.attempt >= 2
    assert job.status in {JobStatus.COMPLETED, JobStatus.FAILED}
    assert billed(stats) <= cap
    ((lost,),) = await query(database, "SELECT used_usd FROM llm_caps")
    assert lost > 0, "the first attempt's account, with its calls in flight, is closed"
    ((used,),) = await query(
        database, "SELECT used_usd + (SELECT sum(held_usd) FROM llm_cap_holders) FROM llm_caps"
    )
    assert billed(stats) <= used <= cap


@pytest.mark.usefixtures("priced")
async def test_a_retry_goes_on_with_as_much_again(
    judge: Judged, client: Client, database: Database, vendor: SimulatedServer, dsn: str
):
    job = await judge(max_cost=Decimal("0.3"))
    assert job.status is JobStatus.FAILED
    assert job.error_message.startswith("The cap of $0.30 is reached: ")
    assert billed(vendor.simulation.stats) <= Decimal("0.3")
    first = await judged(database)
    assert 0 < first < 48
    for _ in range(8):
        if job.status is JobStatus.COMPLETED:
            break
        job = await client.retry(job.id)
        await work(dsn)
        job = await client.get(job.id)
    assert job.status is JobStatus.COMPLETED
    assert vendor.simulation.stats["requests"] == 262, "no call is made twice"
    assert job.result is not None
    assert Decimal(job.result["cost_usd"]) == billed(vendor.simulation.stats)
    assert len(await query(database, "SELECT FROM llm_caps")) > 1


async def test_a_cap_of_tokens_needs_no_price(judge: Judged, vendor: SimulatedServer):
    job = await judge(max_tokens=60_000)
    assert job.status is JobStatus.FAILED
    assert job.error_message.startswith("The cap of 60,000 tokens is reached: ")
    stats: dict[str, Any] = vendor.simulation.stats
    assert 0 < stats["tokens_in"] + stats["tokens_out"] <= 60_000


async def test_few_statements_reserve_for_many_calls(judge: Judged, database: Database):
    counted = (
        "SELECT n_tup_ins + n_tup_upd FROM pg_stat_user_tables WHERE relname = 'llm_cap_holders'"
    )
    ((before,),) = await query(database, counted)
    job = await judge(max_tokens=1_000_000_000)
    assert job.status is JobStatus.COMPLETED
    ((after,),) = await query(database, counted)
    assert after - before < 262 / 4
    ((used,),) = await query(database, "SELECT held_tokens FROM llm_cap_holders WHERE NOT is_open")
    ((recorded,),) = await query(database, "SELECT sum(tokens_in + tokens_out) FROM api_logs")
    assert used == recorded, "after the attempt no more is held than was used"


@pytest.mark.usefixtures("priced")
async def test_a_monthly_cap_holds_for_all_jobs_of_an_owner(
    judge: Judged, client: Client, vendor: SimulatedServer, dsn: str,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    before = await judge(owner="anna", total_items=3)
    assert before.status is JobStatus.COMPLETED
    monkeypatch.setenv("EVALQUEUE_MONTHLY_CAPS", '{"anna": "0.35"}')
    jobs = [
        await client.submit(EvaluateBatch(total_items=48, concurrency=32), owner="anna")
        for _ in range(3)
    ]
    await work(dsn)
    found = [await client.get(job.id) for job in jobs]
    assert {job.status for job in found} == {JobStatus.FAILED}
    assert all(
        job.error_message.startswith("The monthly cap of $0.35 for anna is reached: ")
        for job in found
    )
    assert Decimal("0.2") < billed(vendor.simulation.stats) <= Decimal("0.35")
    other = await judge(owner="bert", total_items=5)
    assert other.status is JobStatus.COMPLETED


@pytest.mark.usefixtures("priced")
async def test_a_job_is_refused_once_its_owner_has_used_up_the_month(
    judge: Judged, client: Client, dsn: str, monkeypatch: pytest.MonkeyPatch
):
    before = await judge(owner="anna", total_items=3)
    stopped = await client.submit(EvaluateBatch(total_items=3), owner="anna")
    await client.cancel(stopped.id)
    monkeypatch.setenv("EVALQUEUE_MONTHLY_CAPS", '{"anna": "0.001", "*": "5"}')
    for params in (
        EvaluateBatch(total_items=3),
        EvaluateAdversarial(),
        TryEvaluators(dataset_id=str(before.params["dataset_id"])),
        ProposeApp(dataset_id=str(before.params["dataset_id"])),
    ):
        with pytest.raises(InvalidParams, match=r"The monthly cap of \$0\.001 for anna is used up"):
            await client.submit(params, owner="anna")

    with pytest.raises(NotRetryable, match="would end at once again: The monthly cap of "):
        await client.retry(stopped.id)
    monkeypatch.setenv("EVALQUEUE_MONTHLY_CAPS", '{"*": "5"}')
    again = await client.retry(stopped.id)
    monkeypatch.setenv("EVALQUEUE_MONTHLY_CAPS", '{"anna": "0.001", "*": "5"}')
    assert (await client.retry(stopped.id)).id == again.id
    await client.cancel(again.id)

    next_month = datetime.now(UTC) + timedelta(days=32)
    await client.submit(EvaluateBatch(total_items=3), owner="anna", scheduled_at=next_month)
    replay = EvaluateBatch(total_items=3, replay=run_of(before))
    replayed = await client.submit(replay, owner="anna")
    others = await client.submit(EvaluateBatch(total_items=3), owner="bert")
    await work(dsn)
    for job in (replayed, others):
        assert (await client.get(job.id)).status is JobStatus.COMPLETED
    # Of a month that the worker has counted, what is held by no call in flight counts, too.
    monkeypatch.setenv("EVALQUEUE_MONTHLY_CAPS", '{"bert": "0.001"}')
    with pytest.raises(InvalidParams, match="for bert is used up"):
        await client.submit(EvaluateBatch(total_items=3), owner="bert")


async def test_a_cap_in_dollars_needs_a_price(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch, dsn: str
):
    with pytest.raises(InvalidParams, match="the price of simulated/simulated-judge is not known"):
        await client.submit(EvaluateBatch(total_items=3, max_cost=Decimal(1)))
    monkeypatch.setenv("EVALQUEUE_MONTHLY_CAPS", '{"*": 5}')
    with pytest.raises(InvalidParams, match=r"The monthly cap of \$5\.00 for default"):
        await client.submit(EvaluateBatch(total_items=3))
    assert await query(database, "SELECT FROM jobs") == []

    monkeypatch.setenv("EVALQUEUE_PRICES", price_list())
    job = await client.submit(EvaluateBatch(total_items=3))
    monkeypatch.delenv("EVALQUEUE_PRICES")  # where the worker runs, the price is not known
    await work(dsn)
    job = await client.get(job.id)
    assert job.status is JobStatus.FAILED
    assert "EVALQUEUE_PRICES" in (job.error_message or "")


def test_caps_are_decimal_text():
    params = EvaluateBatch.model_validate({"total_items": 3, "max_cost": "0.1"})
    assert params.stored()["max_cost"] == "0.1"
    assert EvaluateBatch.model_validate({"total_items": 3, "max_cost": 0.1}) == params
    for wrong in ("0", "-1", "NaN", "Infinity", "much"):
        with pytest.raises(ValueError, match="max_cost"):
            EvaluateBatch.model_validate({"total_items": 3, "max_cost": wrong})
