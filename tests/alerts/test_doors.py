"""Alerts by the command line and by the API: the same rules, and no address is shown again."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.alerts.conftest import SECRET, receiving
from tests.cli.conftest import Shell
from tests.http.conftest import ENTRIES, TOKENS, bearer

ServeApi = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
HIDDEN = "/services/T0/s3cret?key=s3cret"


async def test_an_alert_is_added_listed_tested_and_removed_by_commands(shell: Shell) -> None:
    none = await shell.run("alerts")
    async with receiving(500) as receiver:
        added = await shell.run(
            "alerts", "add", "judge", "--watches", "drift", "--webhook",
            f"{receiver.url}{HIDDEN}", "--json",
        )  # fmt: skip
        again = await shell.run("alerts", "add", "judge", "--watches", "drift")
        listed = await shell.run("alerts", "list", "--json")
        table = await shell.run("alerts")
        sent = await shell.run("alerts", "test", "judge", "--json")
        environment = {"EVALQUEUE_WEBHOOK_SECRET": SECRET}
        while len(receiver.received) < 2:
            await shell.run("worker", "--one-shot", **environment)
            await asyncio.sleep(0.2)
    job = await shell.run("status", sent.json["job_id"], "--json")
    removed = await shell.run("alerts", "remove", "judge")
    gone = await shell.run("alerts", "remove", "judge")

    assert "No alerts" in none.err
    assert added.json["webhook_origin"] == receiver.url
    assert again.exit_code == 2
    assert "There is an alert 'judge' already" in again.err
    assert [each["name"] for each in listed.json] == ["judge"]
    assert "judge" in table.out
    first, second = receiver.received
    assert first.is_signed
    assert second.is_signed
    assert first.target == HIDDEN
    assert first.message["type"] == "alert.test"
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert job.json["status"] == "completed"
    assert removed.exit_code == 0
    assert gone.exit_code == 4
    shown = "".join(e.out + e.err for e in (added, again, listed, table, sent, job, removed))
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--watches", "rate"), "requirements: an alert that watches rate needs it"),
        (("--watches", "nothing"), "watches: Choose 'rate', 'coverage', 'drift' or 'failed'"),
        (
            ("--watches", "drift", "--webhook", "http://169.254.169.254/s3cret"),
            "webhook_url: The host 169.254.169.254 with port 80",
        ),
    ],
)
async def test_what_can_not_be_watched_is_refused_by_commands(
    shell: Shell, arguments: tuple[str, ...], reason: str
) -> None:
    refused = await shell.run("alerts", "add", "judge", *arguments)
    assert refused.exit_code == 2
    assert reason in refused.err
    assert "s3cret" not in refused.err
    assert (await shell.run("alerts", "list", "--json")).json == []


async def test_alerts_of_the_api_are_those_of_its_caller(serve_api: ServeApi) -> None:
    async with serve_api(api_tokens=ENTRIES) as http:
        body: dict[str, Any] = {"name": "judge", "watches": "drift"}
        sam, ada = bearer(TOKENS["sam"]), bearer(TOKENS["ada"])
        added = await http.post("/api/alerts", json=body, headers=sam)
        again = await http.post("/api/alerts", json=body, headers=sam)
        await http.post("/api/alerts", json=body, headers=ada)
        own = (await http.get("/api/alerts", headers=sam)).json()["alerts"]
        every = (await http.get("/api/alerts", headers=ada)).json()["alerts"]
        firing = (await http.get("/api/alerts?firing=true", headers=sam)).json()["alerts"]
        alert_id = added.json()["id"]
        untold = await http.post(f"/api/alerts/{alert_id}/test", headers=sam)
        removed = await http.delete(f"/api/alerts/{alert_id}", headers=sam)
        missing = await http.delete(f"/api/alerts/{uuid4()}", headers=sam)

    assert (added.status_code, again.status_code) == (201, 409)
    assert [each["owner"] for each in own] == ["sam"]
    assert {each["owner"] for each in every} == {"sam", "ada"}
    assert firing == []
    assert untold.status_code == 409
    assert removed.json() == {"id": alert_id, "name": "judge"}
    assert missing.status_code == 404


async def test_with_tokens_no_webhook_is_allowed_unless_its_host_is_listed(
    serve_api: ServeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALQUEUE_API_TOKENS", ENTRIES)
    body = {"name": "judge", "watches": "drift", "webhook_url": "http://localhost:8721/s3cret"}
    async with serve_api(api_tokens=ENTRIES) as http:
        refused = await http.post("/api/alerts", json=body, headers=bearer(TOKENS["sam"]))

    assert refused.status_code == 422
    (problem,) = refused.json()["detail"]
    assert problem["loc"] == ["body", "webhook_url"]
    assert "EVALQUEUE_WEBHOOK_HOSTS" in problem["msg"]
    assert "s3cret" not in refused.text
