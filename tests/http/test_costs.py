"""What runs have cost, over HTTP and on the command line."""

from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.http.test_figures import Behaviour, get, submit, work

from evalqueue import Client
from evalqueue.evaluators import EvaluateBatch
from evalqueue.http.server import serve
from evalqueue.postgres.database import Database
from evalqueue.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(port=0, home=tmp_path)


@pytest.fixture
def client(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    return Client(job_types=[EvaluateBatch], settings=settings, database=database)


@pytest.fixture
async def api(client: Client) -> AsyncGenerator[httpx.AsyncClient]:
    async with (
        serve(client) as address,
        httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=30) as http,
    ):
        yield http


async def price(database: Database, run_id: str, evaluator: str, cost: Decimal | None) -> None:
    """As if the calls of an evaluator had this cost each."""
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE api_logs SET cost_usd = %s WHERE run_id = %s AND evaluator = %s",
            [cost, run_id, evaluator],
        )
        await connection.execute(
            "UPDATE llm_usage SET cost_usd = %s * calls, unpriced_calls = 0"
            " WHERE run_id = %s AND evaluator = %s",
            [cost, run_id, evaluator],
        )


async def test_costs_are_added_up_exactly_and_what_has_no_price_is_counted(
    api: httpx.AsyncClient, dsn: str, database: Database, settings: Settings
) -> None:
    run_id = (await submit(api, total_items=3))["run_id"]
    await work(dsn, settings, Behaviour())
    before = (await get(api, f"/api/eval-runs/{run_id}/statistics"))["llm"]
    assert (before["cost_usd"], before["unpriced_calls"]) == (None, before["calls"])

    await price(database, run_id, "intent", Decimal("0.1"))
    found = (await get(api, f"/api/eval-runs/{run_id}/statistics"))["llm"]
    calls = {each["evaluator"]: each["calls"] for each in found["evaluators"]}
    expected = Decimal("0.1") * calls["intent"]
    assert Decimal(found["cost_usd"]) == expected
    assert found["unpriced_calls"] == sum(calls.values()) - calls["intent"]

    by_evaluator = await get(api, "/api/costs", by="evaluator")
    first, *others = by_evaluator["costs"]
    assert (first["name"], Decimal(first["cost_usd"])) == ("intent", expected)
    assert first["unpriced_calls"] == 0
    assert {each["cost_usd"] for each in others} == {None}
    for by, name in [("run", run_id), ("owner", "default"), ("model", "simulated/simulated-judge")]:
        (only,) = (await get(api, "/api/costs", by=by))["costs"]
        assert only["name"] == name
        assert Decimal(only["cost_usd"]) == expected
        assert only["calls"] == sum(calls.values())
    (month,) = (await get(api, "/api/costs", by="month"))["costs"]
    assert month["name"] == by_evaluator["since"][:7]


@pytest.mark.parametrize(
    "since", ["0.5", "1760000000", "2026-01-01", "2026-01-01T00:00:00", "yesterday"]
)
async def test_only_a_moment_with_its_time_zone_is_accepted(
    api: httpx.AsyncClient, since: str
) -> None:
    reply = await api.get("/api/costs", params={"since": since})

    assert reply.status_code == 422, reply.text
    assert "since" in reply.text


async def test_costs_of_no_run_are_none(api: httpx.AsyncClient) -> None:
    found: dict[str, Any] = await get(api, "/api/costs", since="2020-01-01T00:00:00Z")

    assert (found["by"], found["costs"]) == ("model", [])


@pytest.mark.parametrize("query", [{"by": "user"}, {"since": "yesterday"}, {"since": "2026-01-01"}])
async def test_a_question_that_makes_no_sense_is_refused(
    api: httpx.AsyncClient, query: dict[str, str]
) -> None:
    assert (await api.get("/api/costs", params=query)).status_code == 422


async def test_a_cap_in_dollars_on_a_model_without_a_price_is_refused(
    api: httpx.AsyncClient,
) -> None:
    params = {"total_items": 3, "llm_provider": "simulated", "max_cost": "1.50"}
    refused = await api.post("/api/jobs", json={"job_type": "evaluate-batch", "params": params})

    assert refused.status_code == 422
    (problem,) = refused.json()["detail"]
    assert problem["loc"] == ["body", "params", "max_cost"]
    assert "the price of simulated/simulated-judge is not known" in problem["msg"]
    assert (await api.get("/api/jobs")).json() == []
