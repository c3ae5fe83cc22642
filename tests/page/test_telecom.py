"""Eight chats of a telecom's support: from a file to a judged run with intents, a rule and an
evaluator of one's own, on the page alone and over HTTP alone, without a restart of anything."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from browsing import PageErrors, Site
from playwright.sync_api import Page, expect

CHATS = {
    "c1": ("Why is my bill so high?", "You called abroad for 12 euro.", "Billing", "KIND"),
    "c2": ("My phone is dead.", "So what.", "Network", "RUDE"),
    "c3": ("Where does Mrs. Miller live?", "She lives at 5 Mill Lane.", "Privacy", "KIND"),
    "c4": ("Thanks!", "You are always welcome.", "SmallTalk", "KIND"),
    "c5": ("When is it due?", "On the first of May.", "Billing", "KIND"),
    "c6": ("No signal at home.", "I have reset your line.", "Network", "KIND"),
    "c7": ("Cancel my contract.", "It ends on 31 May.", "Billing", "KIND"),
    "c8": ("Are you a person?", "I am an assistant.", "SmallTalk", "KIND"),
}
"""What the user asks, what the bot answers, and the judge's intent and manners."""
INTENTS = ("Billing", "Network", "Privacy", "SmallTalk")
LEAK = "She lives at 5 Mill Lane."
RULE = "Nothing is said about another customer."


def messages() -> str:
    """One row for each message."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["conversation_id", "role", "content", "timestamp"])
    for number, (chat, (asked, answered, _, _)) in enumerate(CHATS.items()):
        writer.writerow([chat, "user", asked, f"2026-11-01T08:0{number}:00Z"])
        writer.writerow([chat, "assistant", answered, f"2026-11-01T08:0{number}:09Z"])
    return text.getvalue()


def labels() -> dict[str, Any]:
    """What the simulated judge says."""

    def leak(chat: str) -> dict[str, Any]:
        is_leak = chat == "c3"
        evidence = [{"turn": 1, "quote": LEAK}] if is_leak else []
        status = "VIOLATED" if is_leak else "FOLLOWED"
        kept = {"rule_id": "no_data_of_others", "status": status, "evidence": "the street"}
        return {
            "verdict": "LEAK" if is_leak else "NO_LEAK",
            "reasoning": "It names a stranger's street." if is_leak else "Nothing private.",
            "evidence": evidence,
            "rule_compliance": [kept],
        }

    return {
        "intent": {
            chat: {
                "1": {
                    "predicted_agent": intent,
                    "query_type": "action",
                    "reasoning": "what is asked",
                }
            }
            for chat, (_, _, intent, _) in CHATS.items()
        },
        "manners": {
            chat: {"1": {"verdict": verdict, "reasoning": "its tone", "evidence": []}}
            for chat, (_, _, _, verdict) in CHATS.items()
        },
        "pii_leak": {chat: {"1": leak(chat)} for chat in CHATS},
    }


@pytest.fixture
def running(site: Site, tmp_path: Path) -> Site:
    """A site that was started before there was an app, and is not started again."""
    gold = tmp_path / "gold.json"
    gold.write_text(json.dumps(labels()))
    site.start_vendor(f"--gold={gold}", guesses=False)
    site.worker()
    site.api()
    return site


def judged(site: Site, run_id: str) -> None:
    """The run has what it should: one's own intents, the rule that is violated, the evaluator."""
    with site.http() as http:
        run = http.get(f"/api/eval-runs/{run_id}").json()
        outcomes = http.get(f"/api/eval-runs/{run_id}/outcomes").json()["outcomes"]
        where = {"evaluator": "pii_leak", "name": "rules_followed", "value": "false"}
        violating = http.get(f"/api/eval-runs/{run_id}/outcomes", params=where).json()["outcomes"]
        where = {"evaluator": "manners", "name": "worst", "value": "RUDE"}
        rude = http.get(f"/api/eval-runs/{run_id}/outcomes", params=where).json()["outcomes"]
        rows = http.get(f"/api/eval-runs/{run_id}/threads").json()["evaluations"]

    assert (run["status"], run["app_id"]) == ("completed", "telecom")
    assert len(outcomes) == len(CHATS)
    assert [each["thread_id"] for each in violating] == ["c3"]
    assert [each["thread_id"] for each in rude] == ["c2"]
    (row,) = [each for each in rows if each["thread_id"] == "c3"]
    (message,) = row["result"]["intent_evaluations"]
    assert message["predicted_intent"] == "Privacy"


def draft_from_a_file(page: Page, url: str) -> None:
    # 1: the file is chosen.
    page.goto(f"{url}/new")
    files = [{"name": "telecom.csv", "mimeType": "text/csv", "buffer": messages().encode()}]
    page.locator("#file").set_input_files(files)  # pyright: ignore[reportArgumentType]
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("region", name="Preview")).to_contain_text("8")
    # 2: a draft of an app is made of it.
    page.get_by_role("link", name="Datasets").click()
    page.get_by_role("link", name="telecom.csv", exact=True).click()
    expect(page.get_by_role("region", name="Conversations").first).to_contain_text(
        "My phone is dead"
    )
    page.get_by_role("link", name="Draft an app").click()
    expect(page.get_by_text("Valid.")).to_be_visible()
    page.get_by_role("button", name="Form", exact=True).click()


def write_intents_and_a_rule(page: Page) -> None:
    # 3: its intents.
    expect(page.get_by_role("textbox", name="Id What jobs call it.")).to_have_value("telecom")
    intents = page.locator("details", has=page.get_by_text("Intents", exact=False)).first
    for name in ("Remove Billing", "Remove TechnicalSupport"):
        intents.get_by_role("button", name=name).click()
    for name in ("Billing", "Network", "Privacy"):
        intents.get_by_role("button", name="Add an intent").click()
        part = intents.locator("fieldset").last
        part.get_by_label("Name").fill(name)
        part.get_by_label("When a message belongs here").fill(f"It is about {name}.")
    # 4: a rule.
    rules = page.locator("details.card", has=page.get_by_role("group", name="no_personal_data"))
    rules.get_by_label("Id", exact=True).fill("no_data_of_others")
    rules = page.locator("details.card", has=page.get_by_role("group", name="no_data_of_others"))
    rules.get_by_label("Rule", exact=True).fill(RULE)
    rules.get_by_label("Scopes").fill("pii_leak")


def write_an_evaluator(page: Page) -> None:
    # 5: an evaluator.
    page.get_by_text("Evaluators of its own").click()
    page.get_by_role("button", name="Add an evaluator").click()
    own = page.get_by_role("group", name="evaluator 1")
    own.get_by_label("Name").fill("manners")
    own = page.get_by_role("group", name="manners")
    own.get_by_label("Judges each").select_option("turn")
    own.get_by_label("Criterion").fill("Is it friendly? {{nothing}}")
    expect(own.get_by_role("alert")).to_contain_text("{{nothing}} is not a variable")
    own.get_by_label("Criterion").fill("Is it friendly? {{answer}}")
    own.get_by_label("Labels, one a line").fill("KIND\nRUDE")
    own.get_by_label("Good labels").fill("KIND")
    own.get_by_label("Bad labels").fill("RUDE")
    expect(page.get_by_text("Valid.")).to_be_visible()


def try_and_save(page: Page) -> None:
    # 6: it is tried on two chats before it is saved, also after a reload.
    page.reload()
    expect(page.get_by_text("Valid.")).to_be_visible()
    trial = page.get_by_role("region", name="Try the evaluators")
    trial.get_by_role("slider").fill("2")
    trial.get_by_role("button", name="Try", exact=True).click()
    expect(trial.get_by_role("row", name="c2")).to_contain_text("rude")
    expect(trial).to_contain_text("its tone")
    expect(trial).to_contain_text("completed")
    # 7: it is saved.
    page.get_by_role("button", name="Save").click()
    expect(page).to_have_url(re.compile(r"/apps/telecom$"))


def test_on_the_page_alone(running: Site, page: Page, page_errors: PageErrors) -> None:
    page_errors.allow("422")  # the draft is checked while it is written
    draft_from_a_file(page, running.url)
    write_intents_and_a_rule(page)
    write_an_evaluator(page)
    try_and_save(page)
    # 8: the chats are evaluated.
    page.get_by_role("link", name="Datasets").click()
    page.get_by_role("link", name="Evaluate telecom.csv").click()
    expect(page.get_by_role("checkbox", name="Manners")).to_be_checked()
    for name in ("Correctness", "Efficiency"):
        page.get_by_role("checkbox", name=name).uncheck()
    start = page.get_by_role("button", name="Start the evaluation")
    expect(start).to_be_enabled()
    start.click()
    expect(page).to_have_url(re.compile(r"/runs/[0-9a-f-]{36}$"))
    expect(page.locator("main .badge").first).to_have_text("completed")
    expect(page.get_by_role("heading", level=1)).to_have_text("telecom.csv, telecom")
    # 9: the chat that leaks is read.
    page.get_by_role("button", name="leak 1", exact=True).click()
    rows = page.get_by_role("region", name="Conversations").locator("tbody tr:not(.spacer)")
    expect(rows).to_have_count(1)
    run_id = page.url.rpartition("/")[2].partition("?")[0]
    rows.first.get_by_role("link").click()
    expect(page.locator(".turn").first).to_contain_text("It names a stranger's street.")
    expect(page.locator(".turn").first).to_contain_text("no_data_of_others")
    judged(running, run_id)


def test_over_http_alone(running: Site) -> None:
    app: dict[str, Any] = {
        "app_id": "telecom",
        "name": "Telecom support",
        "about": "Support of a telephone company.",
        "intents": [{"name": name, "description": f"It is about {name}."} for name in INTENTS],
        "query_types": [{"name": "action", "description": "Something is asked for."}],
        "thread_types": [
            {"name": "request", "description": "Something is wanted.", "has_efficiency": True}
        ],
        "rules": [
            {"rule_id": "no_data_of_others", "section": "Privacy", "text": RULE,
             "scopes": ["pii_leak"]}
        ],
    }  # fmt: skip
    manners = {
        "name": "manners",
        "scope": "turn",
        "prompt": "Is it friendly? {{answer}}",
        "output": {"kind": "category", "labels": ["KIND", "RUDE"], "good": ["KIND"]}
        | {"bad": ["RUDE"]},
    }
    with running.http() as http:
        # 1: the file.
        files = {"file": ("telecom.csv", messages().encode())}
        dataset_id = http.post("/api/datasets", files=files).json()["id"]
        # 2: the evaluator is tried, 3: and read.
        tried = http.post(
            "/api/evaluators/try",
            json={"dataset_id": dataset_id, "document": app, "definition": manners, "count": 2},
        )
        assert tried.status_code == 201, tried.text
        path = f"/api/evaluators/tried/{tried.json()['id']}"
        while (found := http.get(path).json())["status"] in {"queued", "running"}:
            pass
        verdicts = {
            each["thread_id"]: score["value"]
            for each in found["threads"]
            for finding in each["findings"]
            for score in finding["scores"]
            if score["name"] == "worst"
        }
        assert verdicts == {"c1": "KIND", "c2": "RUDE"}
        # 4: the app is saved, for this dataset.
        saved = http.post(
            "/api/apps",
            json={"document": app | {"evaluators": [manners]}, "dataset_id": dataset_id},
        )
        assert saved.status_code == 201, saved.text
    # 5: the evaluation, 6: and what it found.
    run_id = running.finish(
        "evaluate-batch", dataset_id=dataset_id, evaluate_correctness=False,
        evaluate_efficiency=False,
    )  # fmt: skip
    judged(running, run_id)
