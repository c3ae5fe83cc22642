"""An app of one's own with knowledge and checks: judged, counted, filtered and shown."""

import json

from browsing import Site
from playwright.sync_api import Page, expect
from tests.apps.conftest import TELECOM

APP = f"""{TELECOM}
[[knowledge]]
name = "Prices"
text = "The basic plan is 20 euro."

[[checks]]
name = "no_leak"
kind = "personal_data"

[[checks]]
name = "invoice_number"
kind = "regex"
pattern = "INV-[0-9]+"
scope = "conversation"
"""
FINE = {
    "id": "fine",
    "messages": [
        {"role": "user", "content": "My invoice?"},
        {"role": "assistant", "content": "INV-7 is 20 euro.", "expected": "20 euro."},
    ],
}
LEAKING = {
    "id": "leaking",
    "messages": [
        {"role": "user", "content": "Where does my neighbour live?"},
        {"role": "assistant", "content": "Write to bob@example.org."},
    ],
}


def test_an_app_of_ones_own_is_judged_by_its_knowledge_and_its_checks(up: Site, page: Page) -> None:
    file = "\n".join(map(json.dumps, (FINE, LEAKING))).encode()
    with up.http() as http:
        http.post("/api/apps", json={"text": APP}).raise_for_status()
        dataset = http.post("/api/datasets", files={"file": ("a.jsonl", file)}).json()
    run_id = up.finish("evaluate-batch", dataset_id=dataset["id"], app_id="telecom")
    with up.http() as http:
        run = http.get(f"/api/eval-runs/{run_id}").json()
        batch = http.get(f"/api/eval-runs/{run_id}/statistics").json()["batch"]
        outcomes = http.get(f"/api/eval-runs/{run_id}/outcomes").json()["outcomes"]
        rows = http.get(f"/api/eval-runs/{run_id}/threads").json()["evaluations"]
        logs = http.get(f"/api/eval-runs/{run_id}/logs").json()["logs"]

    assert [each["name"] for each in run["config"]["evaluators"]] == [
        "intent", "correctness", "efficiency", "checks",
    ]  # fmt: skip
    (found,) = (each for each in batch["evaluators"] if each["declaration"]["name"] == "checks")
    assert [each["name"] for each in found["scores"]] == ["passed", "no_leak", "invoice_number"]
    by_thread = {each["thread_id"]: each for each in outcomes}
    assert by_thread["fine"]["scores"]["checks.passed"] is True
    assert by_thread["leaking"]["scores"]["checks.passed"] is False
    judged = {each["thread_id"]: each["result"]["correctness_evaluations"] for each in rows}
    assert judged["fine"][0]["references"]["compared_with"] == ["knowledge", "expected_answer"]
    assert judged["leaking"][0]["references"]["compared_with"] == ["knowledge"]
    assert {each["worst_correctness"] for each in rows} == {"PASS"}
    assert len(logs) == 6, "the checks ask no judge"

    page.goto(f"{up.url}/runs/{run_id}")
    expect(page.get_by_text("Conversations that pass all checks").first).to_be_visible()
    page.goto(f"{up.url}/runs/{run_id}/threads/{by_thread['leaking']['id']}")
    turn = page.locator(".turn").first
    expect(turn.get_by_text("bob@example.org").first).to_be_visible()
    expect(turn.get_by_text("1 found")).to_be_visible()
    expect(page.get_by_text("It does not match INV-[0-9]+")).to_be_visible()
