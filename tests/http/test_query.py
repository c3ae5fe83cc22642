"""Parameters of the query: those that would have no effect are refused, on every route."""

import re
from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from tests.http.test_figures import get, submit, work

from evalqueue import Client
from evalqueue.evaluators import EvaluateBatch
from evalqueue.http.app import OPERATIONS
from evalqueue.http.operations import Operation
from evalqueue.http.server import serve
from evalqueue.postgres.database import Database
from evalqueue.settings import Settings

HEALTH = {"/healthz", "/readyz", "/metrics"}
"""What load balancers and scrapers ask for, who may add parameters of their own."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(port=0, home=tmp_path)


@pytest.fixture
async def api(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[httpx.AsyncClient]:
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    client = Client(job_types=[EvaluateBatch], settings=settings, database=database)
    async with (
        serve(client) as address,
        httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=30) as http,
    ):
        yield http


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: f"{each.method} {each.path}")
async def test_an_unknown_parameter_is_refused_with_those_there_are(
    api: httpx.AsyncClient, operation: Operation
) -> None:
    path = re.sub(r"\{[^}]*\}", str(uuid4()), operation.path)
    body = {} if operation.method == "GET" else {"json": {}}

    reply = await api.request(operation.method, path, params={"evalutor": "intent"}, **body)

    if operation.path in HEALTH:
        assert reply.status_code in {200, 503}
        return
    if operation.path == "/shared/{token}":  # mail programs add parameters to links
        assert reply.status_code == 404
        return
    assert reply.status_code == 422, reply.text
    (problem,) = reply.json()["detail"]
    assert (problem["loc"], problem["type"]) == (["query", "evalutor"], "extra_forbidden")
    named = re.findall(r"\w+", problem["msg"].partition("There are: ")[2])
    assert named == list(operation.query)
    assert named or problem["msg"] == "Unknown parameter. There are none here"


async def test_a_parameter_that_is_given_twice_is_refused(api: httpx.AsyncClient) -> None:
    reply = await api.get("/api/jobs?limit=1&limit=2")

    assert reply.status_code == 422
    assert [(each["loc"], each["msg"]) for each in reply.json()["detail"]] == [
        (["query", "limit"], "Given more than once")
    ]


@pytest.mark.parametrize("what", ["threads", "outcomes"])
async def test_an_evaluator_or_score_that_a_run_has_not_is_refused_with_those_it_has(
    api: httpx.AsyncClient, dsn: str, settings: Settings, what: str
) -> None:
    job = await submit(api, total_items=2)
    path = f"/api/eval-runs/{job['run_id']}/{what}"
    await get(api, path, evaluator="tone")  # which evaluators it has is not known yet
    await work(dsn, settings)

    for query, field, message in (
        (
            {"evaluator": "nonsense"},
            "evaluator",
            "the run has no evaluator nonsense. It has: intent, correctness, efficiency",
        ),
        (
            {"evaluator": "efficiency", "name": "corect"},
            "name",
            "efficiency has no score corect. It has: verdict",
        ),
        (
            {"name": "corect"},
            "name",
            "the run has no score corect. It has: accuracy, correct",
        ),
    ):
        reply = await api.get(path, params=query)
        assert reply.status_code == 422, reply.text
        (problem,) = reply.json()["detail"]
        assert problem["loc"] == ["query", field]
        assert problem["msg"].startswith(message), problem["msg"]
    assert (await get(api, path, evaluator="intent", name="correct"))["total"] >= 0
    nowhere = await get(api, f"/api/eval-runs/{UUID(int=7)}/{what}", evaluator="nonsense")
    assert nowhere["total"] == 0
