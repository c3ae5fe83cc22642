"""Evaluators that are tried over HTTP: with a worker, before an app is saved, and without a run."""

from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.apps.conftest import TELECOM
from tests.cli.test_evaluators import CSV, MANNERS, label
from tests.http.test_figures import get, work

from evalqueue import Client
from evalqueue.evaluators.trying.job_type import CALLS_MAX
from evalqueue.http.server import serve
from evalqueue.postgres.database import Database
from evalqueue.settings import Settings
from evalqueue.testing import Behaviour

TRY = "/api/evaluators/try"
RUDE = {"manners": {"t1": label("RUDE", "So what."), "t2": label("FINE", "made up")}}
DEFINITION = {
    "name": "manners",
    "scope": "turn",
    "prompt": "Is it friendly? {{answer}}",
    "output": {"kind": "category", "labels": ["KIND", "RUDE"], "good": ["KIND"], "bad": ["RUDE"]},
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(port=0, home=tmp_path)


@pytest.fixture
async def api(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[httpx.AsyncClient]:
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    client = Client(settings=settings, database=database)
    async with (
        serve(client) as address,
        httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=30) as http,
    ):
        yield http


@pytest.fixture
async def dataset_id(api: httpx.AsyncClient) -> str:
    return await add_dataset(api, CSV)


async def add_dataset(api: httpx.AsyncClient, text: str) -> str:
    reply = await api.post("/api/datasets", files={"file": ("calls.csv", text.encode())})
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


async def tried(
    api: httpx.AsyncClient, dsn: str, settings: Settings, behaviour: Behaviour, **body: Any
) -> Any:
    """Submit a trial, let a worker do it, and return what it found."""
    reply = await api.post(TRY, json=body)
    assert reply.status_code == 201, reply.text
    assert reply.json()["run_id"] is None
    await work(dsn, settings, behaviour)
    return await get(api, f"/api/evaluators/tried/{reply.json()['id']}")


async def refused(api: httpx.AsyncClient, **body: Any) -> list[tuple[str, str]]:
    reply = await api.post(TRY, json=body)
    assert reply.status_code == 422, reply.text
    return [(".".join(map(str, each["loc"])), each["msg"]) for each in reply.json()["detail"]]


async def test_the_evaluator_of_an_app_that_is_not_saved_is_tried(
    api: httpx.AsyncClient, dsn: str, settings: Settings, dataset_id: str
) -> None:
    found = await tried(
        api, dsn, settings, Behaviour(gold=RUDE, only_gold=True),
        dataset_id=dataset_id, text=TELECOM + MANNERS,
    )  # fmt: skip
    job = await get(api, f"/api/jobs/{found['job_id']}")
    runs, apps = await get(api, "/api/eval-runs"), await get(api, "/api/apps")

    assert (found["status"], found["evaluators"]) == ("completed", ["manners"])
    assert found["thread_ids"] == ["t1", "t2"]
    assert {each["thread_id"] for each in found["threads"]} == {"t1", "t2"}
    first, second = sorted(found["threads"], key=lambda each: each["thread_id"])
    (manners,) = first["findings"]
    of_turn = next(each for each in manners["scores"] if each["turn"] == 1)
    assert (of_turn["value"], of_turn["reasoning"]) == ("RUDE", "simulated: its tone")
    assert of_turn["evidence"][0]["quote"] == "So what."
    assert of_turn["evidence"][0]["in_transcript"] is True
    assert (manners["calls"], manners["failures"]) == (1, [])
    (other,) = second["findings"]
    assert (other["calls"], other["failures"][0]["reason"]) == (2, "schema_invalid")
    assert runs == []
    assert "telecom" not in [each["app_id"] for each in apps]
    assert "text" not in job["params"]
    assert job["result"]["usage"]["manners"]["calls"] == 3


async def test_a_definition_is_tried_beside_others_in_a_shipped_app(
    api: httpx.AsyncClient, dsn: str, settings: Settings, dataset_id: str
) -> None:
    found = await tried(
        api, dsn, settings, Behaviour(gold=RUDE),
        dataset_id=dataset_id, app_id="kaira-bot", definition=DEFINITION,
        evaluators=["manners", "efficiency"], thread_ids=["t1"],
    )  # fmt: skip

    (thread,) = found["threads"]
    assert {each["evaluator"] for each in thread["findings"]} == {"manners", "efficiency"}
    shipped = await get(api, "/api/apps/kaira-bot")
    assert "evaluators" not in shipped["document"]


async def test_what_it_cost_is_counted_and_its_calls_are_deleted_with_the_job(
    api: httpx.AsyncClient, dsn: str, settings: Settings, dataset_id: str, database: Database
) -> None:
    found = await tried(
        api, dsn, settings, Behaviour(gold=RUDE),
        dataset_id=dataset_id, text=TELECOM + MANNERS, thread_ids=["t1"],
    )  # fmt: skip
    async with database.connection() as connection:
        await connection.execute("UPDATE llm_usage SET cost_usd = 0.25")
    costs = await get(api, "/api/costs", by="run")
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT (evalqueue_lock_cap('month x', 'default', gen_random_uuid(),"
            " gen_random_uuid())).used_usd"
        )
        (used,) = await cursor.fetchone() or ()
        await connection.execute(
            "UPDATE jobs SET completed_at = completed_at - interval '1 hour',"
            " started_at = started_at - interval '1 hour',"
            " created_at = created_at - interval '1 hour'"
        )
        for _ in range(3):
            await connection.execute("SELECT evalqueue_prune('1 minute', NULL, NULL)")
        cursor = await connection.execute(
            "SELECT (SELECT count(*) FROM api_logs), (SELECT count(*) FROM tried_conversations)"
        )
        left = await cursor.fetchone()

    assert await get(api, "/api/costs", by="run") == costs
    assert found["threads"]
    assert [(each["name"], each["calls"]) for each in costs["costs"]] == [("no run", 1)]
    assert Decimal(costs["costs"][0]["cost_usd"]) == used == Decimal("0.25")
    assert left == (0, 0)


async def test_what_earlier_attempts_bought_is_not_bought_again(
    api: httpx.AsyncClient, dsn: str, settings: Settings, dataset_id: str, database: Database
) -> None:
    body = {"dataset_id": dataset_id, "text": TELECOM + MANNERS, "thread_ids": ["t1"]}
    first = await tried(api, dsn, settings, Behaviour(gold=RUDE), **body)
    second = (await api.post(TRY, json=body)).json()["id"]
    async with database.connection() as connection:
        # As if a worker had been lost after the call, before the result was stored.
        await connection.execute("UPDATE api_logs SET job_id = %s", [second])
    await work(dsn, settings, Behaviour(gold=RUDE))
    found = await get(api, f"/api/evaluators/tried/{second}")
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM api_logs")
        bought = await cursor.fetchone()

    assert (
        found["threads"][0]["findings"][0]["scores"]
        == (first["threads"][0]["findings"][0]["scores"])
    )
    assert bought == (1,)


async def test_a_trial_that_waits_is_cancelled_as_every_job(
    api: httpx.AsyncClient, dsn: str, settings: Settings, dataset_id: str
) -> None:
    job = (await api.post(TRY, json={"dataset_id": dataset_id, "evaluators": ["intent"]})).json()
    cancelled = await api.post(f"/api/jobs/{job['id']}/cancel")
    await work(dsn, settings)
    found = await get(api, f"/api/evaluators/tried/{job['id']}")
    other = await api.post("/api/jobs", json={"job_type": "try-evaluators"})

    assert cancelled.json()["status"] == found["status"] == "cancelled"
    assert found["threads"] == []
    assert other.status_code == 422  # this API was not told of the job type


async def test_what_can_not_be_tried_is_refused_with_its_place(
    api: httpx.AsyncClient, dataset_id: str
) -> None:
    bad = DEFINITION | {"prompt": "Is {{nothing}} friendly?"}
    long = "".join(
        f"t{n // 30},u1,hello {n},yes,2025-11-01T08:{n // 60:02}:{n % 60:02}Z\n" for n in range(300)
    )
    many = await add_dataset(api, CSV.splitlines()[0] + "\n" + long)
    own = {"dataset_id": dataset_id, "text": TELECOM}

    assert (await refused(api, **own))[0][0] == "body.evaluators"
    ((place, _),) = await refused(api, dataset_id=dataset_id, definition=bad)
    assert place == "body.definition.prompt"
    twice = await refused(api, dataset_id=dataset_id, text=TELECOM + MANNERS + MANNERS)
    assert {place for place, _ in twice} == {
        "body.text.evaluators.0.name", "body.text.evaluators.1.name",
    }  # fmt: skip
    shipped = TELECOM.replace('app_id = "telecom"', 'app_id = "kaira-bot"') + MANNERS
    assert await refused(api, dataset_id=dataset_id, text=shipped) == [
        ("body.text.app_id", "kaira-bot is shipped and can't be changed: choose another app_id")
    ]
    taken = DEFINITION | {"name": "intent"}
    assert (await refused(api, dataset_id=dataset_id, definition=taken))[0][0] == (
        "body.definition.name"
    )
    assert await refused(api, **own, evaluators=["intent"], thread_ids=["t1", "t9"]) == [
        ("body.thread_ids", "Not in the data: t9")
    ]
    assert (await refused(api, **own, evaluators=["nobody"]))[0][0] == "body.evaluators"
    ((_, msg),) = await refused(api, dataset_id=many, count=10, evaluators=["intent"])
    assert msg.startswith(f"It may take 300 LLM calls, and {CALLS_MAX} are allowed")
    assert (await refused(api, **own, evaluators=["intent"], max_cost="1"))[0][0] == "body.max_cost"
    nowhere = f"sha256:{'0' * 64}"
    assert (await refused(api, dataset_id=nowhere, evaluators=["intent"]))[0][0] == (
        "body.dataset_id"
    )
