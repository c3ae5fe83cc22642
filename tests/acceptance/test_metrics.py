"""The metrics of real worker processes say what the tables say."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest
from scraping import PATIENCE, Figures, address_in, scrape, summed, value

from evalqueue import Client
from evalqueue.evaluators import EvaluateBatch
from evalqueue.http.server import serve
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour, SimulatedServer

TROUBLED = Behaviour(
    latency_ms=20, latency_sigma=0.3, rate_429=0.02, retry_after_seconds=0.05, rate_500=0.03,
    rate_malformed=0.1, rate_refusal=0.05,
)  # fmt: skip
CALLS = """
    SELECT provider, model, outcome, count(*), COALESCE(sum(tokens_in), 0),
        COALESCE(sum(tokens_out), 0), COALESCE(sum(cost_usd), 0)::float
    FROM api_logs GROUP BY 1, 2, 3"""
MISSING = "SELECT evalqueue_submit_job('evaluate-batch', '{\"data_path\": \"missing.csv\"}')"
"""Params are not checked in SQL: this job fails."""
VERDICTS = """
    SELECT evaluator, COALESCE(failure, CASE
        WHEN num_nonnulls(value_text, value_number, value_boolean) > 0 THEN 'scored'
        ELSE 'not_applicable' END), count(*)
    FROM scores GROUP BY 1, 2"""
ATTEMPTS = """
    SELECT queue, job_type, outcome, count(*) FROM job_attempts JOIN jobs ON jobs.id = job_id
    WHERE outcome IS NOT NULL GROUP BY 1, 2, 3"""


async def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        cursor = await connection.execute(statement.encode())
        return await cursor.fetchall()


async def test_two_workers_count_what_the_tables_hold(
    client: Client, database: Database, start_daemon: Any, monkeypatch: pytest.MonkeyPatch
):
    async with SimulatedServer(TROUBLED) as vendor, AsyncExitStack() as workers:
        environment = {
            "EVALQUEUE_SIMULATED_URL": vendor.url,
            "EVALQUEUE_METRICS_PORT": "0",
            "EVALQUEUE_PRICES": '{"simulated-judge": {"input": 1.5, "output": 6, "cached": 0.75}}',
        }
        daemons = [await workers.enter_async_context(start_daemon(**environment)) for _ in "ab"]
        urls = [await address_in(daemon.log) for daemon in daemons]
        jobs = [
            await client.submit(EvaluateBatch(total_items=20, concurrency=8)),
            await client.submit(EvaluateBatch(total_items=6, concurrency=4)),
        ]
        await rows(database, MISSING)
        for job in jobs:
            await client.wait(job.id, timeout=PATIENCE)
        stuck = await client.submit(EvaluateBatch(total_items=48, concurrency=1))
        await _until_running(client, stuck.id)
        await client.cancel(stuck.id)
        attempts = await _until_counted(database, urls)
        scrapes = [await scrape(url) for url in urls]

    calls = await rows(database, CALLS)
    verdicts = await rows(database, VERDICTS)

    def total(name: str, *labels: str) -> Counter[tuple[str, ...]]:
        return summed(scrapes, name, *labels)

    assert {outcome for *_, outcome, _, _, _, _ in calls} >= {"ok", "rate_limited", "transient"}
    assert total("evalqueue_llm_calls_total", "provider", "model", "outcome") == {
        (provider, model, outcome): count for provider, model, outcome, count, *_ in calls
    }
    assert total("evalqueue_llm_input_tokens_total") == {(): sum(each[4] for each in calls)}
    assert total("evalqueue_llm_output_tokens_total") == {(): sum(each[5] for each in calls)}
    cost = sum(each[6] for each in calls)
    assert cost > 0
    assert total("evalqueue_llm_cost_usd_total")[()] == pytest.approx(cost, rel=1e-9)
    assert total("evalqueue_llm_call_seconds_count") == {(): sum(each[3] for each in calls)}
    assert total("evalqueue_scores_total", "evaluator", "outcome") == {
        (evaluator, outcome): count for evaluator, outcome, count in verdicts
    }
    assert {outcome for _, outcome, _ in verdicts} > {"scored"}
    assert {outcome for *_, outcome, _ in attempts} >= {"completed", "failed", "cancelled"}
    claimed = sum(each[3] for each in attempts)
    assert sum(total("evalqueue_claims_total").values()) == claimed
    assert sum(total("evalqueue_run_seconds_count").values()) == claimed
    assert 0 < sum(total("evalqueue_pickup_seconds_count").values()) <= claimed
    assert sum(total("evalqueue_is_leader").values()) == 1
    assert total("evalqueue_notifications_connected") == {(): 2}
    assert total("evalqueue_running_attempts") == {(): 0}
    assert all(_lag_count(figures) > 0 for figures in scrapes)
    assert total("evalqueue_llm_wait_seconds_count")[()] >= claimed


async def test_the_api_says_what_waits_and_who_works(
    client: Client, database: Database, start_daemon: Any
):
    async with serve(client, port=0) as address:
        url = f"{address.url}/metrics"
        await client.submit_many([EvaluateBatch(total_items=1, concurrency=1)] * 3)
        alone = await scrape(url)
        async with start_daemon("--concurrency=2"):
            async with asyncio.timeout(PATIENCE):
                while value(figures := await scrape(url), "evalqueue_leaders") != 1:
                    await asyncio.sleep(0.1)

    of = {"queue": "evalqueue", "job_type": "evaluate-batch"}
    assert value(alone, "evalqueue_database_up") == 1
    assert value(alone, "evalqueue_queue_due_jobs", **of) == 3
    assert (value(alone, "evalqueue_queue_oldest_due_age_seconds", **of) or 0) > 0
    assert value(alone, "evalqueue_workers") == 0
    assert value(alone, "evalqueue_leaders") == 0
    assert value(figures, "evalqueue_workers") == 1
    assert value(figures, "evalqueue_worker_slots") == 2


def _lag_count(figures: Figures) -> float:
    return value(figures, "evalqueue_event_loop_lag_seconds_count") or 0


async def _until_running(client: Client, job_id: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await client.get(job_id)).progress.current == 0:
            await asyncio.sleep(0.02)


async def _until_counted(database: Database, urls: list[str]) -> list[tuple[Any, ...]]:
    """Wait until workers have counted the attempts that are over. Returns these."""
    async with asyncio.timeout(PATIENCE):
        while True:
            attempts = await rows(database, ATTEMPTS)
            counted = summed(
                [await scrape(url) for url in urls],
                "evalqueue_attempts_total", "queue", "job_type", "outcome",
            )  # fmt: skip
            if counted == {(queue, kind, how): number for queue, kind, how, number in attempts}:
                return attempts
            await asyncio.sleep(0.05)
