"""Evaluators with a model of their own, and the second model, which is asked where votes differ."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from costing import Judged, billed, price_list, run_of
from psycopg.rows import dict_row
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
        with pytest.raises(InvalidParams) as error:
            await client.submit(EvaluateBatch(total_items=1, **params))
        return str(error.value)

    assert "There is no provider 'nowhere'" in await refused(app_id="nowhere")
    assert "Batches are of one model: evaluator manners asks" in await refused(
        app_id="own", mode="economy"
    )
    assert "set votes" in await refused(second_model=OTHER)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "params.evaluators: evaluator manners asks openai/other-judge" in await refused(
        app_id="own"
    )
    assert "params.second_model: second_model asks" in await refused(second_model=OTHER, **votes)


def test_the_model_is_part_of_the_version():
    versions: set[str] = set()
    for parameters in ("", f'model = "{OTHER}"', 'model = "openai/another"', "temperature = 0"):
        text = APP.format(name="own", parameters=parameters)
        app = documents.read(text, Notation.TOML, where="app.toml")
        plan = EvaluationPlan(app=app, evaluators=("manners",))
        voted = [replace(plan, votes={"manners": 2}, second_model=each) for each in (None, OTHER)]
        versions |= {registry.make(each)[0].version for each in (plan, *voted)}

    assert len(versions) == 12
