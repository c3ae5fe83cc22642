"""Economy mode: a vendor's batches, whatever dies meanwhile.

Real workers, a real vendor over HTTP.
"""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from evalqueue import Client, Job, JobStatus
from evalqueue.errors import InvalidParams
from evalqueue.evaluators import EvaluateAdversarial, EvaluateBatch
from evalqueue.evaluators.batch.economy.params import Fallback, Mode
from evalqueue.jobtypes import JobTypes
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour, SimulatedServer

PATIENCE = 120.0  # seconds
THREADS = 16
LIVE = EvaluateBatch(total_items=THREADS, concurrency=16)
ECONOMY = LIVE.model_copy(update={"mode": Mode.ECONOMY})
QUIRKS = Behaviour(rate_malformed=0.1, rate_refusal=0.03)
"""Answers that need a repair or have none: the same ones live and in a batch."""


async def query(database: Database, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        cursor = await connection.execute(sql.encode(), arguments)
        return await cursor.fetchall()


def stats_of(vendor: SimulatedServer) -> dict[str, Any]:
    return dict(vendor.simulation.stats)


async def scores(database: Database, job: Job) -> list[tuple[Any, ...]]:
    return await query(
        database,
        "SELECT thread_id, turn, evaluator, version, name, value_text, value_number, value_boolean,"
        " expected, evidence, reasoning, failure FROM scores WHERE run_id = %s ORDER BY 1, 2, 3, 5",
        job.run_id,
    )


async def finished(client: Client, params: EvaluateBatch) -> Job:
    job = await client.submit(params)
    async with asyncio.timeout(PATIENCE):
        return await client.wait(job.id)


async def until(database: Database, sql: str, *arguments: object) -> None:
    async with asyncio.timeout(PATIENCE):
        while await query(database, sql, *arguments) != [(True,)]:
            await asyncio.sleep(0.05)


HANDED_IN = "SELECT count(*) > 0 FROM llm_batches WHERE vendor_id IS NOT NULL"


async def live_run(client: Client, start_daemon: Any, behaviour: Behaviour) -> Job:
    async with SimulatedServer(behaviour) as vendor:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=vendor.url):
            return await finished(client, LIVE)


async def test_the_scores_are_those_of_live_calls_at_half_the_price(
    client: Client, database: Database, start_daemon: Any
):
    prices = '{"simulated-judge": {"input": 1, "output": 2}}'
    live = await live_run(client, start_daemon, QUIRKS)
    async with SimulatedServer(replace(QUIRKS, batch_delay_seconds=1.0)) as vendor:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=vendor.url, EVALQUEUE_PRICES=prices):
            job = await client.submit(ECONOMY)
            messages = [change.progress.message async for change in client.watch(job.id)]
            job = await client.get(job.id)
        stats = stats_of(vendor)

    assert job.status is JobStatus.COMPLETED, job.error_message
    assert await scores(database, job) == await scores(database, live)
    assert stats["duplicates"] == 0
    assert stats["batches"] >= 2, "repairs make a second round"
    assert stats["requests"] <= 3, "the first question of each round"
    assert any(each.startswith("waiting for simulated batch: ") for each in messages)
    rows = await query(
        database,
        "SELECT batched, sum(cost_usd), sum(tokens_in + 2 * tokens_out) / 1000000.0 FROM api_logs"
        " WHERE run_id = %s GROUP BY 1 ORDER BY 1",
        job.run_id,
    )
    assert [(batched, cost * (2 if batched else 1)) for batched, cost, _ in rows] == [
        (batched, Decimal(full)) for batched, _, full in rows
    ]
    assert job.result is not None
    assert job.result["batched_llm_calls"] == stats["batched"]


@pytest.mark.parametrize(
    ("provider", "names"),
    [
        (
            "azure_openai",
            {
                "AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_BATCH_DEPLOYMENT": "m",
                "AZURE_OPENAI_ENDPOINT": "",
            },
        ),
        ("gemini", {"GEMINI_API_KEY": "k", "GOOGLE_GEMINI_BASE_URL": ""}),
    ],
)  # fmt: skip
async def test_every_vendor_with_batches_gives_the_scores_of_its_live_calls(
    client: Client,
    database: Database,
    start_daemon: Any,
    monkeypatch: pytest.MonkeyPatch,
    provider: str,
    names: dict[str, str],
):
    behaviour = replace(QUIRKS, batch_delay_seconds=0.5, batch_failed_rate=0.05)
    async with SimulatedServer(behaviour) as vendor:
        options = {name: value or vendor.url for name, value in names.items()}
        for name, value in options.items():
            monkeypatch.setenv(name, value)
        chosen = {"llm_provider": provider, "llm_model": "m"}
        async with start_daemon(**options):
            economy = await finished(client, ECONOMY.model_copy(update=chosen))
        stats = stats_of(vendor)
    async with SimulatedServer(QUIRKS) as vendor:
        options = {name: value or vendor.url for name, value in names.items()}
        async with start_daemon(**options):
            live = await finished(client, LIVE.model_copy(update=chosen))

    assert economy.status is JobStatus.COMPLETED, economy.error_message
    assert await scores(database, economy) == await scores(database, live)
    assert (stats["duplicates"], stats["batched"] > 50) == (0, True)


async def test_a_killed_worker_an_expired_batch_and_failed_questions_change_no_score(
    client: Client, database: Database, start_daemon: Any
):
    """A worker is killed while it waits, and one while it may be handing in."""
    live = await live_run(client, start_daemon, QUIRKS)
    behaviour = replace(
        QUIRKS, batch_delay_seconds=3.0, batch_failed_rate=0.05, batches_expiring=1
    )  # fmt: skip
    async with SimulatedServer(behaviour) as vendor:
        options = {"EVALQUEUE_SIMULATED_URL": vendor.url, "EVALQUEUE_BATCH_QUESTIONS": "40"}
        async with start_daemon(**options) as first:
            job = await client.submit(ECONOMY)
            await until(database, HANDED_IN)
            await first.kill()
            await first.declare_lost()
        async with start_daemon(**options) as second:
            await until(database, "SELECT count(*) > 1 FROM llm_batches WHERE ended_at IS NOT NULL")
            await second.kill()
            await second.declare_lost()
        async with start_daemon(**options):
            async with asyncio.timeout(PATIENCE):
                job = await client.wait(job.id)
        stats = stats_of(vendor)

    assert job.status is JobStatus.COMPLETED, job.error_message
    assert await scores(database, job) == await scores(database, live)
    assert stats["duplicates"] == 0
    assert stats["batches"] == len(await query(database, "SELECT 1 FROM llm_batches"))
    ends = await query(database, "SELECT outcome, count(*) FROM llm_batches GROUP BY 1")
    assert dict(ends)["expired"] == 1
    assert await query(
        database,
        "SELECT count(*) > 0 FROM api_logs WHERE run_id = %s AND batched AND outcome = 'transient'",
        job.run_id,
    ) == [(True,)], "some questions failed"


async def test_without_the_fallback_what_a_batch_did_not_answer_is_missing(
    client: Client, database: Database, start_daemon: Any
):
    behaviour = Behaviour(batch_delay_seconds=0.5, batches_expiring=1)
    async with SimulatedServer(behaviour) as vendor:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=vendor.url):
            job = await finished(client, ECONOMY.model_copy(update={"fallback": Fallback.FAIL}))
            calls = vendor.simulation.stats["requests"]
            again = await client.retry(job.id)
            async with asyncio.timeout(PATIENCE):
                again = await client.wait(again.id)
        stats = stats_of(vendor)

    assert job.status is JobStatus.COMPLETED
    assert job.result is not None
    assert job.result["run_status"] == "completed_with_errors"
    assert calls == 1
    assert again.result is not None
    assert again.result["run_status"] == "completed", "a retry asks for what is missing"
    assert stats["duplicates"] == 0


async def test_a_cancelled_job_ends_its_batches_and_keeps_what_they_answered(
    client: Client, database: Database, start_daemon: Any
):
    async with SimulatedServer(Behaviour(batch_delay_seconds=10.0)) as vendor:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=vendor.url):
            job = await client.submit(ECONOMY)
            await until(database, HANDED_IN)
            await until(database, "SELECT done > 5 FROM llm_batches")
            await until(database, "SELECT status = 'queued' FROM jobs WHERE id = %s", job.id)
            await client.cancel(job.id)
            await until(database, "SELECT count(*) = 0 FROM llm_batches WHERE ended_at IS NULL")
            stats = stats_of(vendor)
            answered = await query(
                database, "SELECT count(*) FROM api_logs WHERE batched AND outcome = 'ok'"
            )
            again = await client.retry(job.id)
            async with asyncio.timeout(PATIENCE):
                again = await client.wait(again.id)

        assert stats["batches_running"] == 0
        assert answered == [(stats["batched"],)]
        assert stats["batched"] > 5
        assert again.status is JobStatus.COMPLETED
        assert stats_of(vendor)["duplicates"] == 0, "a retry asks for the rest"


async def test_a_batch_whose_id_was_not_written_down_is_found_and_not_made_twice(
    client: Client, database: Database, start_daemon: Any
):
    """As after a crash between its creation and the answer."""
    async with SimulatedServer(Behaviour(batch_delay_seconds=2.0)) as vendor:
        options = {"EVALQUEUE_SIMULATED_URL": vendor.url}
        async with start_daemon(**options) as first:
            job = await client.submit(ECONOMY)
            await until(database, HANDED_IN)
            await first.kill()
            await first.declare_lost()
        await query(database, "UPDATE llm_batches SET vendor_id = NULL RETURNING 1")
        async with start_daemon(**options):
            async with asyncio.timeout(PATIENCE):
                job = await client.wait(job.id)
        stats = stats_of(vendor)

    assert job.status is JobStatus.COMPLETED
    assert (stats["batches"], stats["duplicates"]) == (1, 0)


async def test_no_slot_is_held_and_no_try_is_counted_while_a_batch_runs(
    client: Client, database: Database, start_daemon: Any
):
    async with SimulatedServer(Behaviour(batch_delay_seconds=8.0)) as vendor:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=vendor.url):
            job = await client.submit(ECONOMY)
            await until(database, HANDED_IN)
            await until(database, "SELECT status = 'queued' FROM jobs WHERE id = %s", job.id)
            async with asyncio.timeout(PATIENCE):
                await client.wait(job.id)

    attempts = await query(
        database,
        "SELECT outcome, count(*), max(ended_at - started_at) < interval '3 s'"
        " FROM job_attempts WHERE job_id = %s AND attempt > 1 GROUP BY 1 ORDER BY 1",
        job.id,
    )
    assert [(outcome, short) for outcome, _, short in attempts] == [
        ("completed", True),
        ("postponed", True),
    ]
    assert await query(database, "SELECT failed_attempts FROM jobs WHERE id = %s", job.id) == [(0,)]


async def test_every_session_may_end_while_questions_are_handed_in_and_a_batch_runs(
    client: Client, database: Database, start_daemon: Any
):
    """As when Postgres restarts."""
    terminate = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name LIKE 'worker-%%'"
    )
    ended = 0
    async with SimulatedServer(Behaviour(batch_delay_seconds=6.0)) as vendor:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=vendor.url, EVALQUEUE_BATCH_QUESTIONS="20"):
            job = await client.submit(ECONOMY)
            await until(database, "SELECT count(*) > 0 FROM llm_questions")
            for pause in (0.3, 0.6, 2.0, 4.0):
                ended += len(await query(database, terminate))
                await asyncio.sleep(pause)
            async with asyncio.timeout(PATIENCE):
                job = await client.wait(job.id)
        stats = stats_of(vendor)

    assert ended >= 4
    assert job.status is JobStatus.COMPLETED, job.error_message
    assert stats["duplicates"] == 0
    assert stats["batches"] == len(await query(database, "SELECT 1 FROM llm_batches"))
    assert await query(database, "SELECT sum(missing_verdicts) FROM thread_evaluations") == [(0,)]
    assert await query(database, "SELECT failed_attempts FROM jobs WHERE id = %s", job.id) == [(0,)]


PRICES = '{"simulated-judge": {"input": 1, "output": 2}}'


@pytest.mark.parametrize(("cap", "is_enough"), [("5.00", True), ("0.30", True), ("0.02", False)])
async def test_a_cap_counts_what_a_batch_may_use_and_then_what_it_used(
    client: Client,
    database: Database,
    start_daemon: Any,
    monkeypatch: pytest.MonkeyPatch,
    cap: str,
    is_enough: bool,
):
    """Where not all questions fit, the next ones are handed in when the first ones are over."""
    monkeypatch.setenv("EVALQUEUE_PRICES", PRICES)
    async with SimulatedServer(Behaviour(batch_delay_seconds=0.3)) as vendor:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=vendor.url, EVALQUEUE_PRICES=PRICES):
            params = ECONOMY.model_copy(update={"max_cost": Decimal(cap)})
            job = await finished(client, params)
        stats = stats_of(vendor)

    assert (job.status is JobStatus.COMPLETED) == is_enough, job.error_message
    assert stats["duplicates"] == 0
    ((used,),) = await query(
        database,
        "SELECT used_usd + COALESCE((SELECT sum(held_usd) FROM llm_cap_holders AS holder"
        " WHERE holder.scope = llm_caps.scope), 0) FROM llm_caps",
    )
    ((cost,),) = await query(database, "SELECT sum(cost_usd) FROM api_logs")
    assert used == cost <= Decimal(cap)
    if not is_enough:
        assert "is reached" in str(job.error_message)


async def test_an_endpoint_without_batches_fails_the_job_at_once(client: Client, start_daemon: Any):
    async with SimulatedServer(Behaviour(without_batches=True)) as vendor:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=vendor.url):
            job = await finished(client, ECONOMY)

    assert job.status is JobStatus.FAILED
    assert job.error_message is not None
    assert "this endpoint has no batches" in job.error_message


async def test_the_in_process_simulation_is_refused_at_the_door(
    client: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("EVALQUEUE_SIMULATED_URL")
    with pytest.raises(InvalidParams, match=r"params\.mode: .*EVALQUEUE_SIMULATED_URL"):
        await client.submit(ECONOMY)


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        (
            {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "http://127.0.0.1:9"},
            "AZURE_OPENAI_BATCH_DEPLOYMENT",
        ),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "/somewhere.json"}, "Vertex AI"),
    ],
)
async def test_a_provider_that_is_known_to_have_no_batches_is_refused_at_the_door(
    client: Client, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], reason: str
):
    monkeypatch.delenv("EVALQUEUE_LLM_PROVIDER")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidParams, match=f"params.mode: .*{reason}"):
        await client.submit(ECONOMY.model_copy(update={"llm_model": "m"}))


def test_only_batches_of_conversations_have_an_economy_mode():
    types = JobTypes([EvaluateAdversarial, EvaluateBatch])
    with pytest.raises(InvalidParams, match=r"params\.mode: economy is for evaluate-batch only"):
        types.decode("evaluate-adversarial", {"mode": "economy"})
    with pytest.raises(InvalidParams, match="fallback is for mode: economy only"):
        types.decode("evaluate-batch", {"total_items": 1, "fallback": "live"})
