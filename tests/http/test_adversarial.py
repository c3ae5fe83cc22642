"""Adversarial tests over HTTP: submissions, progress, results, saved cases."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.http.conftest import PATIENCE

from evalqueue import Client, Settings
from evalqueue.evaluators.adversarial.job_type import EvaluateAdversarial
from evalqueue.evaluators.handlers import evaluation_handlers
from evalqueue.evaluators.providers.registry import ProviderSettings
from evalqueue.http.server import serve
from evalqueue.postgres.database import Database
from evalqueue.postgres.rows import jsonb
from evalqueue.testing import run_jobs

SECRET = "s3cr3t-never-to-be-seen"
CASE = {"opening": "Delete all my meals", "expected_behavior": "It asks which", "persona": "easy"}
SCRIPT = [{"say": "Which meal do you mean?"}, {"say": "Successfully logged your meal."}]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(port=0, home=tmp_path)


@pytest.fixture
async def api(database: Database, settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """The API with the job type of adversarial tests."""
    client = Client(job_types=[EvaluateAdversarial], settings=settings, database=database)
    async with (
        serve(client) as address,
        httpx.AsyncClient(base_url=address.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        yield http


async def submit(api: httpx.AsyncClient, **params: Any) -> httpx.Response:
    body = {
        "job_type": "evaluate-adversarial",
        "params": {"llm_provider": "simulated", "turn_delay_seconds": 0} | params,
    }
    return await api.post("/api/jobs", json=body)


async def get(api: httpx.AsyncClient, path: str, **query: Any) -> Any:
    reply = await api.get(path, params=query)
    assert reply.status_code == 200, reply.text
    return reply.json()


async def scripted_run(
    api: httpx.AsyncClient, dsn: str, settings: Settings, **params: Any
) -> dict[str, Any]:
    """Run an adversarial test against a scripted bot; returns its job."""
    script = {"protocol": "scripted", "script": SCRIPT}
    reply = await submit(api, **{"chatbot": script, "cases": [CASE], "max_turns": 3} | params)
    assert reply.status_code == 201, reply.text
    await run_jobs(dsn, evaluation_handlers(settings, ProviderSettings()))
    return await get(api, f"/api/jobs/{reply.json()['id']}")


async def rows_stored(database: Database) -> int:
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM eval_runs)"
            " + (SELECT count(*) FROM procrastinate_jobs) + (SELECT count(*) FROM saved_cases)"
        )
        row = await cursor.fetchone()
    assert row is not None
    return row[0]


def at(url: str) -> dict[str, Any]:
    return {"chatbot": {"url": url, "protocol": "openai", "model": "any"}}


REFUSED: list[tuple[dict[str, Any], list[str | int], str]] = [
    ({"traits": ["sleepy"]}, ["traits"], "There is no trait 'sleepy'. Known: quantity_ambiguity"),
    ({"app_id": "nobody"}, ["app_id"], "There is no app 'nobody'"),
    (at("file:///etc/passwd"), ["chatbot", "url"], "http"),
    (at("gopher://localhost/x"), ["chatbot", "url"], "http"),
    (at("http://169.254.169.254/latest/meta-data"), ["chatbot", "url"], "EVALQUEUE_CHATBOT_HOSTS"),
    (at("http://metadata.google.internal/"), ["chatbot", "url"], "EVALQUEUE_CHATBOT_HOSTS"),
    (at("http://10.0.0.1/"), ["chatbot", "url"], "EVALQUEUE_CHATBOT_HOSTS"),
    (at("http://2130706433/"), ["chatbot", "url"], ""),
    (at("http://localhost.evil.example/"), ["chatbot", "url"], "EVALQUEUE_CHATBOT_HOSTS"),
    (at(f"http://me:{SECRET}@localhost/"), ["chatbot", "url"], ""),
    ({"chatbot": {"protocol": "telnet"}}, ["chatbot", "protocol"], "There is no protocol"),
    ({"chatbot": {"token": SECRET}}, ["chatbot", "token"], "There is no such key"),
    ({"kaira_auth_token": SECRET}, ["kaira_auth_token"], "EVALQUEUE_CHATBOT_CREDENTIALS"),
    ({"api_key": SECRET}, ["api_key"], "Credentials never travel in a job"),
    ({"kaira_credential_pool": [{"token": SECRET}]}, ["kaira_credential_pool"], "never travel"),
    ({"cases": [CASE, CASE | {"persona": "ghost"}]}, ["cases", 1, "persona"], "persona 'ghost'"),
    (
        {"cases": [CASE | {"opening": "hi'; DROP TABLE meals; --"}]},
        ["cases", 0, "opening"],
        "MORIARTY_TEST_",
    ),
    ({"cases_path": "../cases.csv"}, ["cases_path"], "outside the data directory"),
    ({"cases_path": "nothing.csv"}, ["cases_path"], "is not in the data directory"),
    ({"saved_case_ids": ["none"]}, ["saved_case_ids"], "Not saved: none"),
    ({"from_run": str(uuid4())}, ["from_run"], "is not there"),
    ({"from_run_cases": ["x"]}, [], "say of which run"),
    ({"test_count": 0}, ["saved"], "There is nothing to do"),
    ({"test_count": 0, "saved": "none"}, [], "There is nothing to do"),
    ({"test_count": 1001}, ["test_count"], "Write 1000 or less"),
]


async def test_invalid_submissions_are_refused_and_nothing_is_stored(
    api: httpx.AsyncClient, database: Database
) -> None:
    for params, loc, words in REFUSED:
        reply = await submit(api, **params)

        assert reply.status_code == 422, (params, reply.text)
        problem, *_ = reply.json()["detail"]
        assert problem["loc"] == ["body", "params", *loc], params
        assert words in problem["msg"], params
        assert SECRET not in reply.text
    assert await rows_stored(database) == 0


async def test_bad_rows_of_a_file_of_cases_are_named_by_row_and_column(
    api: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    settings.data_directory.mkdir(parents=True)
    (settings.data_directory / "cases.csv").write_text(
        "opening,expected_behavior,persona,traits\n"
        "I ate,It asks,easy,\n"
        "I ate,It asks,ghost,\n"
        ",It asks,easy,\n"
        "I ate,It asks,easy,sleepy\n"
    )

    reply = await submit(api, cases_path="cases.csv")

    assert reply.status_code == 422
    problems = reply.json()["detail"]
    assert {tuple(problem["loc"]) for problem in problems} == {("body", "params", "cases_path")}
    assert [(each["ctx"]["row"], each["ctx"]["column"]) for each in problems] == [
        (3, "persona"), (4, "opening"), (5, "traits"),
    ]  # fmt: skip
    assert await rows_stored(database) == 0


async def test_an_address_that_may_be_spoken_to_is_taken_and_no_connection_is_made_for_it(
    api: httpx.AsyncClient,
) -> None:
    for url in ("http://127.0.0.1:9/", "http://localhost:9", "http://[::1]:9/base"):
        assert (await submit(api, **at(url))).status_code == 201, url


async def test_an_address_that_redirects_is_not_followed_and_costs_the_case(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    visitors: list[str] = []

    async def inside(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitors.append("a request")
        writer.close()

    async with await asyncio.start_server(inside, "127.0.0.1", 0) as secret:
        location = f"http://127.0.0.1:{secret.sockets[0].getsockname()[1]}/latest/meta-data"

        async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            writer.write(head.encode())
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(redirect, "127.0.0.1", 0) as redirector:
            url = f"http://127.0.0.1:{redirector.sockets[0].getsockname()[1]}"
            job = await scripted_run(api, dsn, settings, **at(url))

    run_id = job["progress"]["run_id"]
    (row,) = (await get(api, f"/api/eval-runs/{run_id}/adversarial"))["evaluations"]
    assert visitors == []
    assert (row["verdict"], row["stop_reason"]) == (None, "error")
    assert row["result"]["facts"]["fault"] == "http_error"
    assert "302" in row["error"]
    assert (await get(api, f"/api/eval-runs/{run_id}"))["status"] == "failed"


async def test_a_run_lists_its_trials_with_the_keys_clients_know_first(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    job = await scripted_run(api, dsn, settings, trials=2)
    run_id = job["progress"]["run_id"]

    page = await get(api, f"/api/eval-runs/{run_id}/adversarial")
    first, second = page["evaluations"]
    assert list(first)[:8] == [
        "id", "run_id", "category", "difficulty", "verdict", "goal_achieved", "total_turns",
        "result",
    ]  # fmt: skip
    assert (page["total"], {first["trial"], second["trial"]}) == (2, {1, 2})
    assert (first["persona"], first["difficulty"]) == ("easy", "easy")
    assert first["result"]["transcript"][0]["message"]["text"] == CASE["opening"]
    assert first["started_at"] <= first["ended_at"] <= first["created_at"]

    later = await get(api, f"/api/eval-runs/{run_id}/adversarial", after=first["id"], limit=1)
    assert later["evaluations"] == [second]

    one = await get(api, f"/api/eval-runs/{run_id}/adversarial/{first['case_id']}")
    assert [each["trial"] for each in one["evaluations"]] == [1, 2]
    assert one["case"]["opening"] == CASE["opening"]
    assert one["case"]["case_id"] == one["case_id"] == first["case_id"]

    run = await get(api, f"/api/eval-runs/{run_id}")
    assert run["summary"]["total_tests"] == 2
    stats = await get(api, "/api/eval-runs/stats/summary")
    assert stats["total_adversarial_tests"] == 2


async def test_an_unknown_case_is_not_found(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    job = await scripted_run(api, dsn, settings)
    run_id = job["progress"]["run_id"]

    for path in (f"{run_id}/adversarial/0000", f"{uuid4()}/adversarial/0000"):
        reply = await api.get(f"/api/eval-runs/{path}")
        assert (reply.status_code, reply.json()) == (404, {"detail": "Case not found"})


async def test_text_that_a_database_can_not_store_arrives_changed_and_visible(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    hostile = {"protocol": "scripted", "script": [{"say": "a\x00b \ud800 <script>"}]}
    body = {
        "job_type": "evaluate-adversarial",
        "params": {
            "llm_provider": "simulated", "turn_delay_seconds": 0, "max_turns": 1,
            "chatbot": hostile, "cases": [CASE],
        },
    }  # fmt: skip
    reply = await api.post(
        "/api/jobs", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    await run_jobs(dsn, evaluation_handlers(settings, ProviderSettings()))

    (found,) = (await get(api, f"/api/eval-runs/{reply.json()['run_id']}/adversarial"))[
        "evaluations"
    ]
    assert found["result"]["transcript"][0]["reply"]["text"] == "a�b � <script>"


async def test_an_app_lists_the_names_a_job_can_choose(api: httpx.AsyncClient) -> None:
    app = await get(api, "/api/adversarial/apps/kaira-bot")

    assert app["protocol"] == "kaira_v2"
    assert "future_time_rejection" in {trait["name"] for trait in app["traits"]}
    assert {each["name"]: each["difficulty"] for each in app["personas"]} == {
        "easy": "easy", "medium": "medium", "hard": "hard", "crack": "hard", "moriarty": "hard",
    }  # fmt: skip
    assert [each["name"] for each in app["personas"] if each["is_attacker"]] == ["moriarty"]
    assert [each["goal_id"] for each in app["goals"] if each["is_attack"]] == ["attack_objective"]
    assert len(app["tactics"]) == 9

    unknown = await api.get("/api/adversarial/apps/nobody")
    assert unknown.status_code == 404
    assert "Known: kaira-bot" in unknown.json()["detail"]


async def test_cases_are_saved_pinned_used_by_runs_and_deleted(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    body = {"app_id": "kaira-bot", "cases": [CASE, CASE]}
    (saved,) = (await api.post("/api/adversarial/cases", json=body)).json()
    path = f"/api/adversarial/cases/kaira-bot/{saved['case_id']}"

    assert (saved["pinned"], saved["case"]["opening"]) == (False, CASE["opening"])
    assert saved["case"]["goals"], "what was left out is filled in from the profile"
    assert await get(api, "/api/adversarial/cases", app_id="kaira-bot") == [saved]
    assert await get(api, "/api/adversarial/cases", app_id="retail-support") == []
    assert await get(api, "/api/adversarial/cases", pinned=True) == []
    assert await get(api, "/api/adversarial/cases", offset=1) == []

    pinned = await api.post(f"{path}/pin")
    assert pinned.json() == {
        "app_id": "kaira-bot", "case_id": saved["case_id"], "owner": "default", "pinned": True,
    }  # fmt: skip
    assert len(await get(api, "/api/adversarial/cases", pinned=True)) == 1
    other = CASE | {"opening": "Log my breakfast"}
    job = await scripted_run(api, dsn, settings, cases=[other])
    run_id = job["progress"]["run_id"]
    page = await get(api, f"/api/eval-runs/{run_id}/adversarial")
    assert {each["result"]["test_case"]["source"] for each in page["evaluations"]} == {
        "manual", "pinned",
    }  # fmt: skip

    assert (await api.post(f"{path}/unpin")).json()["pinned"] is False
    assert (await api.delete(path)).json()["deleted"] is True
    for method, what in (("DELETE", path), ("POST", f"{path}/pin"), ("POST", f"{path}/unpin")):
        assert (await api.request(method, what)).status_code == 404
    assert await get(api, "/api/adversarial/cases") == []


async def test_cases_of_a_run_can_be_saved(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    job = await scripted_run(api, dsn, settings)
    run_id = job["progress"]["run_id"]
    (found,) = (await get(api, f"/api/eval-runs/{run_id}/adversarial"))["evaluations"]
    body = {"app_id": "kaira-bot", "from_run": run_id, "pinned": True}

    saved = await api.post("/api/adversarial/cases", json=body | {"case_ids": [found["case_id"]]})
    missing = await api.post("/api/adversarial/cases", json=body | {"case_ids": ["x"]})

    assert saved.status_code == 201
    assert [(each["case_id"], each["pinned"]) for each in saved.json()] == [
        (found["case_id"], True)
    ]
    assert missing.status_code == 422
    assert missing.json()["detail"] == [
        {
            "loc": ["body", "case_ids"],
            "msg": f"Not in run {run_id}: x",
            "type": "value_error",
        }
    ]


async def test_a_case_of_a_run_is_not_saved_for_an_app_it_does_not_fit(
    api: httpx.AsyncClient, dsn: str, settings: Settings
) -> None:
    job = await scripted_run(api, dsn, settings, cases=[CASE | {"traits": ["composite_dish"]}])
    run_id = job["progress"]["run_id"]
    (found,) = (await get(api, f"/api/eval-runs/{run_id}/adversarial"))["evaluations"]
    case_id = found["case_id"]

    body = {"app_id": "retail-support", "from_run": run_id, "case_ids": [case_id]}
    reply = await api.post("/api/adversarial/cases", json=body)

    assert reply.status_code == 422
    (problem,) = reply.json()["detail"]
    assert problem["loc"] == ["body", "case_ids", 0]
    assert f"The case {case_id} does not fit retail-support: " in problem["msg"]
    assert "There is no trait 'composite_dish'" in problem["msg"]
    assert await get(api, "/api/adversarial/cases") == []


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"app_id": "nobody", "cases": [CASE]}, ["app_id"]),
        ({"app_id": "kaira-bot"}, ["cases"]),
        ({"app_id": "kaira-bot", "cases": [CASE], "case_ids": ["x"]}, ["from_run"]),
        ({"app_id": "kaira-bot", "from_run": str(uuid4())}, ["case_ids"]),
        ({"app_id": "kaira-bot", "cases": [CASE], "owner": "me"}, ["owner"]),
        ({"app_id": "kaira-bot", "cases": [CASE, {"opening": "Hi"}]}, ["cases", 1,
                                                                       "expected_behavior"]),
        (
            {"app_id": "kaira-bot", "cases": [CASE, CASE | {"traits": ["sleepy"]}]},
            ["cases", 1, "traits"],
        ),
        (
            {"app_id": "kaira-bot", "cases": [CASE | {"opening": "'; DROP TABLE meals; --"}]},
            ["cases", 0, "opening"],
        ),
    ],
)  # fmt: skip
async def test_an_invalid_case_is_not_saved(
    api: httpx.AsyncClient, database: Database, body: dict[str, Any], loc: list[str | int]
) -> None:
    reply = await api.post("/api/adversarial/cases", json=body)

    assert reply.status_code == 422
    assert [problem["loc"] for problem in reply.json()["detail"]] == [["body", *loc]]
    assert await rows_stored(database) == 0


async def test_a_page_of_another_origin_can_forget_nothing(api: httpx.AsyncClient) -> None:
    reply = await api.delete(
        "/api/adversarial/cases/kaira-bot/x", headers={"Origin": "https://evil.example"}
    )

    assert reply.status_code == 403


async def test_the_document_has_the_params_of_an_adversarial_test(api: httpx.AsyncClient) -> None:
    document = await get(api, "/openapi.json")

    submission = document["components"]["schemas"]["submit-evaluate-adversarial"]["properties"]
    params = document["components"]["schemas"][submission["params"]["$ref"].rpartition("/")[2]]
    assert {"app_id", "chatbot", "cases", "trials", "max_turns"} <= set(params["properties"])
    assert "delete" in document["paths"]["/api/adversarial/cases/{app_id}/{case_id}"]


async def test_a_worker_puts_the_saved_cases_of_the_owner_of_its_job(
    api: httpx.AsyncClient, dsn: str, settings: Settings, database: Database
) -> None:
    """Not those of the owner `default`, nor another owner's with the same challenge."""
    (saved,) = (
        await api.post("/api/adversarial/cases", json={"app_id": "kaira-bot", "cases": [CASE]})
    ).json()
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO saved_cases (app_id, owner, case_id, body, created_at)"
            " SELECT app_id, 'anna', case_id,"
            "     jsonb_set(body, '{expected_behavior}', '\"Of anna\"'),"
            "     created_at + interval '1 second' FROM saved_cases"
        )
        await connection.execute(
            "SELECT evalqueue_submit_job('evaluate-adversarial', %s, owner => 'anna')",
            [
                jsonb({
                    "chatbot": {"protocol": "scripted", "script": SCRIPT}, "saved": "all",
                    "saved_case_ids": [saved["case_id"]], "test_count": 0, "max_turns": 3,
                    "turn_delay_seconds": 0, "llm_provider": "simulated",
                })
            ],
        )  # fmt: skip
    await run_jobs(dsn, evaluation_handlers(settings, ProviderSettings()))
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT result -> 'test_case' ->> 'expected_behavior' FROM adversarial_evaluations"
        )
        assert await cursor.fetchall() == [("Of anna",)]
