"""A conversation that is longer than the model's context: real workers, a real vendor over HTTP."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from tests.apps.conftest import TELECOM

from evalqueue import Client, Job, JobStatus
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.apps import documents
from evalqueue.evaluators.apps import store as apps
from evalqueue.evaluators.apps.documents import Notation
from evalqueue.evaluators.batch.economy.params import Mode
from evalqueue.postgres.database import Database
from evalqueue.testing import Behaviour, SimulatedServer

PATIENCE = 120.0  # seconds
PRICES = '{"simulated-judge": {"input": 1, "output": 2}, "other-judge": {"input": 1, "output": 2}}'
MANNERS = """
[[evaluators]]
name = "manners"
prompt = "Is the bot polite?"
long_conversations = "worst"
output = { kind = "category", labels = ["KIND", "RUDE"], good = ["KIND"], bad = ["RUDE"] }
"""
TURNS = 32
ROWS = "".join(f"t1,question {n},{'a word ' * 280}\n" for n in range(1, TURNS + 1))
PARTS = {1: "KIND", 8: "KIND", 15: "RUDE", 22: "KIND"}
"""By their first turns."""


def label(verdict: str) -> dict[str, Any]:
    return {"evidence": [], "reasoning": "so", "verdict": verdict}


GOLD = {"manners": {"t1": {
    **label("KIND"), "parts": {str(first): label(said) for first, said in PARTS.items()},
}}}  # fmt: skip
SHORT = Behaviour(context_tokens=6_200, gold=GOLD, only_gold=True, latency_ms=100)
"""Its model reads eleven turns at once."""


def batch(**params: Any) -> EvaluateBatch:
    return EvaluateBatch(
        csv_content=f"thread_id,question,answer\n{ROWS}",
        app_id="telecom",
        evaluators=["manners"],
        **params,
    )


@pytest.fixture(autouse=True)
async def stored(client: Client) -> None:
    """The app is stored."""
    app = documents.read(TELECOM + MANNERS, Notation.TOML, where="app.toml")
    async with (await client.database()).transaction() as connection:
        await apps.add(connection, app, owner="default")


async def query(database: Database, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    async with database.connection() as connection:
        cursor = await connection.execute(sql.encode(), arguments)
        return await cursor.fetchall()


async def finished(client: Client, job: Job) -> Job:
    job = await client.wait(job.id, timeout=PATIENCE)
    assert job.status is JobStatus.COMPLETED, job.error_message
    return job


async def is_judged_in_four_parts(database: Database, job: Job) -> bool:
    ((verdict, reasoning),) = await query(
        database,
        "SELECT value_text, reasoning FROM scores WHERE run_id = %s AND name = 'verdict'",
        job.run_id,
    )
    ((parts, counts),) = await query(
        database,
        "SELECT result #> '{manners_evaluation,0,parts}', result #> '{manners_evaluation,0,counts}'"
        " FROM thread_evaluations WHERE run_id = %s",
        job.run_id,
    )
    assert {each["first_turn"]: each["verdict"] for each in parts} == PARTS
    assert counts == "worst"
    assert "Judged in 4 parts: the worst one counts." in reasoning
    return verdict == "RUDE"


async def test_after_a_kill_the_parts_that_were_answered_are_not_asked_again(
    client: Client, database: Database, start_daemon: Any
):
    async with SimulatedServer(SHORT) as vendor:
        environment = {"EVALQUEUE_SIMULATED_URL": vendor.url, "EVALQUEUE_PRICES": PRICES}
        async with start_daemon(**environment) as victim:
            job = await client.submit(batch(concurrency=1))
            recorded = "SELECT count(*) FROM api_logs WHERE outcome = 'ok'"
            async with asyncio.timeout(PATIENCE):
                while await query(database, recorded) != [(2,)]:
                    await asyncio.sleep(0.02)
            await victim.kill()
            await victim.declare_lost()
        async with start_daemon(**environment):
            job = await finished(client, job)
        stats = vendor.simulation.stats

    assert await is_judged_in_four_parts(database, job)
    ((answered, cost),) = await query(
        database, "SELECT count(*), sum(cost_usd) FROM api_logs WHERE outcome = 'ok'"
    )
    # The kill may lose one answer on its way.
    assert answered == 4
    assert stats["by_status"]["200"] - answered == stats["duplicates"] <= 1
    ((tokens,),) = await query(
        database, "SELECT sum(tokens_in + 2 * tokens_out) FROM api_logs WHERE outcome = 'ok'"
    )
    assert cost == Decimal(tokens) / 1_000_000
    assert job.result is not None
    assert Decimal(job.result["cost_usd"]) == cost


async def test_in_economy_mode_one_batch_has_all_parts_of_a_length(
    client: Client, database: Database, start_daemon: Any
):
    async with SimulatedServer(SHORT) as vendor:
        async with start_daemon(EVALQUEUE_SIMULATED_URL=vendor.url):
            job = await finished(client, await client.submit(batch(mode=Mode.ECONOMY)))
        stats = vendor.simulation.stats

    assert await is_judged_in_four_parts(database, job)
    assert stats["requests"] == 3, "the first question of each round: whole, halves, quarters"
    assert (stats["batches"], stats["batched"]) == (2, 1 + 3)


async def test_a_panel_votes_on_parts_if_most_of_it_can_not_read_the_whole(
    client: Client, database: Database, start_daemon: Any, monkeypatch: pytest.MonkeyPatch
):
    async with (
        SimulatedServer(SHORT) as vendor,
        SimulatedServer(Behaviour(gold=GOLD, only_gold=True)) as roomy,
    ):
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        async with start_daemon(
            EVALQUEUE_SIMULATED_URL=vendor.url, OPENAI_BASE_URL=f"{roomy.url}/v1",
            EVALQUEUE_PRICES=PRICES,
        ):  # fmt: skip
            params = batch(panel={"openai/other-judge": 1}, votes={"manners": 2})
            job = await finished(client, await client.submit(params))

    assert await is_judged_in_four_parts(database, job)
    counted = dict(
        await query(
            database,
            "SELECT provider || ' ' || outcome, count(*) FROM api_logs GROUP BY 1 ORDER BY 1",
        )
    )
    assert counted == {
        "openai ok": 1 + 2 + 4,
        "simulated context_too_long": 2 * (1 + 2),
        "simulated ok": 2 * 4,
    }
    (paid,) = await query(database, "SELECT bool_and(cost_usd > 0) FROM api_logs WHERE"
                                    " outcome = 'ok'")  # fmt: skip
    assert paid == (True,)
