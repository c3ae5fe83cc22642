"""Evaluators with a model of their own, the second model, which is asked where votes differ, and
panels of models."""

import json
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from costing import Judged, billed, price_list, run_of
from psycopg.rows import dict_row
from pydantic import ValidationError
from tests.apps.conftest import TELECOM

from evalqueue import Client
from evalqueue.errors import InvalidParams
from evalqueue.evaluators import EvaluateBatch
from evalqueue.evaluators.apps import documents
from evalqueue.evaluators.apps import store as apps
from evalqueue.evaluators.apps.documents import Notation
from evalqueue.evaluators.judging import registry
from evalqueue.evaluators.judging.plan import EvaluationPlan
from evalqueue.jobs import Job, JobStatus
from evalqueue.testing import Behaviour, SimulatedServer

APP = (
    TELECOM.replace("telecom", "{name}", 1)
    + """
[[evaluators]]
name = "manners"
prompt = "Is the bot friendly?"
output = {{ kind = "category", labels = ["KIND", "RUDE"], good = ["KIND"], bad = ["RUDE"] }}
parameters = {{ {parameters} }}
"""
)
OTHER = "openai/other-judge"


@pytest.fixture
async def other(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[SimulatedServer]:
    """The vendor of another model, with a key and a price of its own."""
    async with SimulatedServer(Behaviour()) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        yield server


async def store_app(client: Client, name: str, parameters: str) -> None:
    text = APP.format(name=name, parameters=parameters)
    app = documents.read(text, Notation.TOML, where="app.toml")
    async with (await client.database()).transaction() as connection:
        await apps.add(connection, app, owner="default")


def calls(dsn: str, job: Job) -> list[dict[str, Any]]:
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        found = connection.execute(
            "SELECT evaluator, provider, outcome, cost_usd, thread_id FROM api_logs"
            " WHERE run_id = %s", [run_of(job)],
        )  # fmt: skip
        return found.fetchall()


def verdicts(dsn: str, job: Job) -> dict[str, str]:
    """The verdict on the efficiency of each conversation that has one."""
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "SELECT thread_id, efficiency_verdict FROM thread_evaluations"
            " WHERE run_id = %s AND efficiency_verdict IS NOT NULL", [run_of(job)],
        )  # fmt: skip
        return dict(found.fetchall())


def estimate(dsn: str, job: Job) -> dict[str, Any]:
    with psycopg.connect(dsn) as connection:
        ((found,),) = connection.execute(
            "SELECT config -> 'estimate' FROM eval_runs WHERE id = %s", [run_of(job)]
        )
    return found


async def test_an_evaluator_asks_a_model_of_its_own(
    client: Client, judge: Judged, dsn: str, vendor: SimulatedServer, other: SimulatedServer
):
    await store_app(client, "own", f'model = "{OTHER}", temperature = 0')

    job = await judge(total_items=6, app_id="own", evaluators=["manners", "resolution"])

    assert job.status is JobStatus.COMPLETED, job.error_message
    asked = {(each["evaluator"], each["provider"]) for each in calls(dsn, job)}
    assert asked == {("manners", "openai"), ("resolution", "simulated")}
    assert other.simulation.stats["requests"] == vendor.simulation.stats["requests"] == 6


async def test_the_calls_of_another_model_cost_and_count_against_the_cap(
    client: Client,
    judge: Judged,
    dsn: str,
    other: SimulatedServer,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("EVALQUEUE_PRICES", price_list())
    await store_app(client, "own", f'model = "{OTHER}"')

    whole = await judge(app_id="own", evaluators=["manners"])
    capped = await judge(app_id="own", evaluators=["manners"], max_tokens=20_000, concurrency=1)

    stats = other.simulation.stats
    rows = calls(dsn, whole) + calls(dsn, capped)
    assert sum(each["cost_usd"] for each in rows) == billed(stats)
    assert whole.status is JobStatus.COMPLETED, whole.error_message
    assert capped.status is JobStatus.FAILED
    assert str(capped.error_message).startswith("The cap of 20,000 tokens is reached")
    assert 0 < len(calls(dsn, capped)) < 48


async def test_a_second_model_votes_only_where_votes_differ(
    client: Client, judge: Judged, dsn: str, other: SimulatedServer, monkeypatch: pytest.MonkeyPatch
):
    async with SimulatedServer(Behaviour(flip_rate=0.3)) as wavering:
        monkeypatch.setenv("EVALQUEUE_SIMULATED_URL", wavering.url)
        params = {"votes": {"efficiency": 2}, "evaluators": ["efficiency"]}
        job = await judge(**params, second_model=OTHER)

    made = calls(dsn, job)
    by_provider = [each["provider"] for each in made]
    with psycopg.connect(dsn) as connection:
        flips = connection.execute(
            "SELECT thread_id, value_number FROM scores"
            " WHERE run_id = %s AND name = 'vote_flip_rate'", [run_of(job)],
        ).fetchall()  # fmt: skip
    split = {thread_id for thread_id, rate in flips if rate}
    assert by_provider.count("simulated") == 96
    assert {each["thread_id"] for each in made if each["provider"] == "openai"} == split
    assert by_provider.count("openai") == len(split) == other.simulation.stats["requests"]
    assert 0 < len(split) < 48


async def test_a_panel_asks_every_model_once_and_what_weighs_more_decides(
    client: Client,
    judge: Judged,
    dsn: str,
    vendor: SimulatedServer,
    monkeypatch: pytest.MonkeyPatch,
):
    """The job's model is right, `OTHER` is wrong, and a third one fails."""
    params = {"evaluators": ["efficiency"], "total_items": 12}
    alone = verdicts(dsn, await judge(**params))
    async with SimulatedServer(Behaviour(error_rate=1)) as erring:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{erring.url}/v1")

        async def judged(**weights: float) -> Job:
            named = {name.replace("__", "/").replace("_", "-"): w for name, w in weights.items()}
            return await judge(**params, panel=named)

        wrong = verdicts(dsn, await judge(**params, llm_provider="openai", llm_model="other-judge"))
        outvoted = await judged(openai__other_judge=1.5, openai__always_refusal=0.2)
        right = await judged(openai__other_judge=0.5, openai__always_refusal=0.2)
        tied = await judged(openai__other_judge=1)
        failed = await judged(openai__other_judge=1, openai__always_refusal=2)
        whole = await judge(
            **params, panel={OTHER: 1.5, "simulated/simulated-judge": 1.6}, votes={"efficiency": 2}
        )

    models = Counter((each["provider"], each["outcome"]) for each in calls(dsn, right))
    assert models == {
        ("simulated", "ok"): 12,
        ("openai", "ok"): 12,
        ("openai", "judge_refused"): 12,
    }
    assert len(alone) == 12
    assert alone != wrong
    assert verdicts(dsn, right) == verdicts(dsn, whole) == alone
    assert verdicts(dsn, outvoted) == wrong
    assert not verdicts(dsn, tied)
    assert not verdicts(dsn, failed)
    assert right.status is whole.status is JobStatus.COMPLETED
    assert right.result["scores"][0]["vote_flip_rate"] == 1
    assert tied.result["failures"] == {"undecided": 12}
    assert failed.result["failures"] == {"judge_refused": 12}
    assert Counter(each["provider"] for each in calls(dsn, whole)) == {
        "simulated": 24,
        "openai": 12,
    }


async def test_the_calls_of_a_panel_are_estimated_and_capped_at_their_own_prices(
    client: Client, judge: Judged, dsn: str, other: SimulatedServer, monkeypatch: pytest.MonkeyPatch
):
    prices = {
        "simulated-judge": {"input": "1", "output": "1"},
        "other-judge": {"input": "100", "output": "100"},
    }
    monkeypatch.setenv("EVALQUEUE_PRICES", json.dumps(prices))
    params = {"evaluators": ["efficiency"], "panel": {OTHER: 1}}

    alone = estimate(dsn, await judge(evaluators=["efficiency"]))
    whole = await judge(**params, votes={"efficiency": 2})
    capped = await judge(**params, max_cost="0.5", concurrency=1)

    expected, made = estimate(dsn, whole), calls(dsn, whole)
    assert expected["calls"] == len(made) == 3 * alone["calls"] == 144
    dollars = Decimal(alone["cost_usd"]["expected"])
    assert Decimal(expected["cost_usd"]["expected"]) == pytest.approx(
        102 * dollars, rel=Decimal("0.01")
    )
    assert capped.status is JobStatus.FAILED
    assert "The cap of $0.50" in str(capped.error_message)
    assert {each["provider"] for each in calls(dsn, capped)} <= {"simulated"}


async def test_recorded_answers_of_both_models_are_replayed_and_reused(
    client: Client, judge: Judged, vendor: SimulatedServer, other: SimulatedServer
):
    await store_app(client, "own", f'model = "{OTHER}", votes = 2')
    params = {"app_id": "own", "evaluators": ["manners", "resolution"], "total_items": 6}

    await judge(**params)
    before = other.simulation.stats["requests"], vendor.simulation.stats["requests"]
    again = await judge(**params, reuse=True)

    assert before == (12, 6)
    assert (other.simulation.stats["requests"], vendor.simulation.stats["requests"]) == before
    assert again.result["reused_llm_calls"] == 18


async def test_what_can_not_be_asked_is_refused(
    client: Client, judge: Judged, other: SimulatedServer, monkeypatch: pytest.MonkeyPatch
):
    await store_app(client, "own", f'model = "{OTHER}"')
    await store_app(client, "nowhere", 'model = "nowhere/gpt"')
    votes = {"votes": {"efficiency": 2}}

    async def refused(**params: Any) -> str:
        with pytest.raises((InvalidParams, ValidationError)) as error:
            await client.submit(EvaluateBatch(total_items=1, **params))
        return str(error.value)

    assert "There is no provider 'nowhere'" in await refused(app_id="nowhere")
    assert "Batches are of one model: evaluator manners asks" in await refused(
        app_id="own", mode="economy"
    )
    assert "set votes" in await refused(second_model=OTHER)
    panel = {OTHER: 1}
    assert "leave out second_model" in await refused(second_model=OTHER, panel=panel, **votes)
    assert "Batches are of one model: panel asks" in await refused(panel=panel, mode="economy")
    assert "the job's own model only" in await refused(panel={"simulated/simulated-judge": 2})
    assert "No votes are asked by checks" in await refused(panel=panel, evaluators=["checks"])
    assert "There is no provider 'nowhere'" in await refused(panel={"nowhere/gpt": 1})
    for bad in ({OTHER: 0}, {OTHER: -1}, {OTHER: "NaN"}, {OTHER: 0.1234567}, {"gpt": 1}):
        assert f"panel.{next(iter(bad))}" in await refused(panel=bad)
    assert "at most 7 items" in await refused(panel={f"openai/{n}": 1 for n in range(8)})
    judged = await judge(total_items=1, panel=panel, evaluators=["efficiency"])
    assert "leave out panel" in await refused(replay=run_of(judged), panel=panel)
    assert "A panel judged it" in await refused(replay=run_of(judged))
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "params.evaluators: evaluator manners asks openai/other-judge" in await refused(
        app_id="own"
    )
    assert "params.second_model: second_model asks" in await refused(second_model=OTHER, **votes)
    assert "params.panel: panel asks" in await refused(panel=panel)


def test_the_model_is_part_of_the_version():
    versions: set[str] = set()
    for parameters in ("", f'model = "{OTHER}"', 'model = "openai/another"', "temperature = 0"):
        text = APP.format(name="own", parameters=parameters)
        app = documents.read(text, Notation.TOML, where="app.toml")
        plan = EvaluationPlan(app=app, evaluators=("manners",))
        voted = [replace(plan, votes={"manners": 2}, second_model=each) for each in (None, OTHER)]
        versions |= {registry.make(each)[0].version for each in (plan, *voted)}

    assert len(versions) == 12
