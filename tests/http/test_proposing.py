"""`propose-app`: an app is drafted over HTTP, with a worker and what a judge proposes."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.cli.test_proposing import CSV, GOOD, MARK, ROGUE, Vendor, vendor
from tests.http.test_figures import get, work
from tests.http.test_trying import add_dataset

from evalqueue import Client
from evalqueue.errors import InvalidParams
from evalqueue.evaluators import apps
from evalqueue.evaluators.proposing.job_type import ProposeApp
from evalqueue.evaluators.runs import usage
from evalqueue.http.server import serve
from evalqueue.postgres.database import Database
from evalqueue.settings import Settings

__all__ = ["vendor"]  # a fixture


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(port=0, home=tmp_path)


@pytest.fixture
async def api(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[httpx.AsyncClient]:
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    client = Client(settings=settings, database=database, job_types=[ProposeApp])
    async with (
        serve(client) as address,
        httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=30) as http,
    ):
        yield http


@pytest.fixture
async def dataset_id(api: httpx.AsyncClient) -> str:
    return await add_dataset(api, CSV)


@pytest.fixture
def judged(vendor: Vendor, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> Vendor:
    """The vendor that this process is configured for."""
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "openai")
    for name, value in vendor.environment.items():
        monkeypatch.setenv(name, value)
    return vendor


async def proposed(api: httpx.AsyncClient, dsn: str, settings: Settings, **params: Any) -> Any:
    reply = await api.post("/api/jobs", json={"job_type": "propose-app", "params": params})
    assert reply.status_code == 201, reply.text
    assert reply.json()["run_id"] is None
    await work(dsn, settings)
    return await get(api, f"/api/jobs/{reply.json()['id']}")


async def test_a_job_drafts_an_app_and_stores_none(
    api: httpx.AsyncClient, dsn: str, settings: Settings, judged: Vendor, dataset_id: str,
    database: Database,
) -> None:  # fmt: skip
    judged.says = json.dumps(GOOD)
    job = await proposed(api, dsn, settings, dataset_id=dataset_id, app_id="my-bot")
    judged.says = json.dumps(ROGUE)
    hostile = await proposed(api, dsn, settings, dataset_id=dataset_id)
    stored = await get(api, "/api/apps")
    costs = await get(api, "/api/costs", by="run")
    async with database.connection() as connection:
        replayable = await usage.recorded(connection, UUID(job["id"]))

    found = job["result"]
    assert (job["status"], found["app_id"]) == ("completed", "my-bot"), job
    assert apps.parse(found["text"], where="draft").about == GOOD["about"]
    assert (found["text"].count(MARK), found["proposed"][0]) == (6, "about")
    assert (found["used"]["calls"], found["used"]["cost_usd"]) == (1, "0.0035")
    assert hostile["status"] == "completed"
    assert apps.parse(hostile["result"]["text"], where="draft").app_id == "calls"
    assert "about" in [each["what"] for each in hostile["result"]["dropped"]]
    assert "0.007" in json.dumps(costs)
    assert [each.completion.text for each in replayable] == [json.dumps(GOOD)]
    assert {each["app_id"] for each in stored} == {*apps.known()}


async def test_a_job_without_an_answer_fails_with_the_draft_of_the_columns(
    api: httpx.AsyncClient, dsn: str, settings: Settings, judged: Vendor, dataset_id: str
) -> None:
    judged.status = 401
    job = await proposed(api, dsn, settings, dataset_id=dataset_id)

    assert job["status"] == "failed"
    assert job["error_message"].startswith("The judge gave no answer: auth: ")
    assert 'name = "Billing"' in job["result"]["text"]
    assert job["result"]["proposed"] == []


async def test_the_simulated_judge_proposes_nothing(
    api: httpx.AsyncClient, dsn: str, settings: Settings, dataset_id: str
) -> None:
    job = await proposed(api, dsn, settings, dataset_id=dataset_id)

    assert job["status"] == "completed"
    assert job["result"]["note"].startswith("no key is set")
    assert 'name = "Billing"' in job["result"]["text"]


async def test_other_owners_datasets_and_wrong_names_are_refused(
    database: Database, settings: Settings, dataset_id: str
) -> None:
    client = Client(settings=settings, database=database, job_types=[ProposeApp])
    with pytest.raises(InvalidParams, match="There is no dataset"):
        await client.submit(ProposeApp(dataset_id=dataset_id), owner="bert")
    with pytest.raises(InvalidParams, match="use small letters"):
        await client.submit(ProposeApp(dataset_id=dataset_id, app_id="My Bot"), owner="default")
