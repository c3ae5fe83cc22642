"""An evaluator of an installed third-party package."""

import re
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from browsing import Site
from playwright.sync_api import Page, expect
from third_party import install, program

from evalqueue.evaluators.statistics.intervals import wilson

LABELS = ["POLITE", "CURT", "RUDE"]


@pytest.fixture
def api(site: Site, tmp_path: Path) -> Generator[httpx.Client]:
    """A site whose worker and API have the package installed."""
    site.start_vendor()
    environment = site.environment | {"PYTHONPATH": str(install(tmp_path / "site-packages"))}
    with (
        program(" is ready: ", "worker", environment=environment, folder=tmp_path),
        program(
            r"API on (http://\S+)", "serve", "--port=0", environment=environment, folder=tmp_path
        ) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=30) as http,
    ):
        yield http


def evaluate(api: httpx.Client, **params: Any) -> str:
    """Evaluate ten conversations; returns the run's id."""
    params = {"total_items": 10, **params}
    reply = api.post("/api/jobs", json={"job_type": "evaluate-batch", "params": params})
    assert reply.status_code == 201, reply.text
    job = reply.json()
    while api.get(f"/api/jobs/{job['id']}").json()["status"] in {"queued", "running"}:
        time.sleep(0.1)
    return job["run_id"]


def test_it_has_distribution_interval_and_filter_in_api_and_page(
    api: httpx.Client, page: Page
) -> None:
    choices = api.get("/api/evaluators").json()
    known = [each["name"] for each in choices if each["origin"] == "installed"]
    run_id = evaluate(api)
    path = f"/api/eval-runs/{run_id}"
    run = api.get(path).json()
    batch = api.get(f"{path}/statistics").json()["batch"]
    outcomes = api.get(f"{path}/outcomes").json()["outcomes"]

    assert known == ["intent", "correctness", "efficiency", "politeness"]
    assert run["status"] == "completed"
    assert [each["name"] for each in run["config"]["evaluators"]] == known
    (found,) = (each for each in batch["evaluators"] if each["declaration"]["name"] == "politeness")
    scores = {each["name"]: each for each in found["scores"]}
    counted = Counter(each["scores"]["politeness.manner"] for each in outcomes)
    assert {each["version"] for each in found["scores"]} == {"politeness/1"}
    assert [each["label"] for each in scores["manner"]["shares"]] == LABELS
    for each in scores["manner"]["shares"]:
        assert each["count"] == counted[each["label"]]
        assert (each["low"], each["high"]) == pytest.approx(wilson(each["count"] / 10, 10))
    mean = scores["words"]["mean"]
    assert mean["lowest"] < mean["low"] < mean["mean"] < mean["high"] < mean["highest"]
    asking = scores["has_question"]["shares"][0]
    assert 0 < asking["low"] < asking["share"] < asking["high"] < 1
    most, times = counted.most_common(1)[0]
    for what, rows in (("outcomes", "outcomes"), ("threads", "evaluations")):
        query = {"evaluator": "politeness", "name": "manner", "value": most}
        filtered = api.get(f"{path}/{what}", params=query).json()
        assert filtered["total"] == len(filtered[rows]) == times
    (half,) = api.get(f"{path}/threads?limit=1").json()["evaluations"]
    assert half["result"]["politeness_evaluation"]["manner"] in LABELS

    page.goto(f"{api.base_url}/runs/{run_id}")
    card = page.locator("section.card", has=page.get_by_role("heading", name="Politeness"))
    expect(card).to_contain_text(re.compile(rf"{most.lower()}\s+{times}"))
    expect(card).to_contain_text("95 % interval")
    expect(page.locator(".figure", has_text="Words of an answer")).to_contain_text(" to ")
    rows = page.get_by_role("region", name="Conversations").locator("tbody tr:not(.spacer)")
    expect(rows).to_have_count(10)
    page.get_by_role("button", name=f"{most.lower()} {times}").click()
    expect(rows).to_have_count(times)
    expect(page).to_have_url(re.compile(rf"only=politeness\.{most}"))
    rows.first.get_by_role("link").click()
    verdicts = page.get_by_role("complementary", name="Verdicts")
    expect(verdicts).to_contain_text("words in an answer")
    expect(page.locator(".turn").first).to_contain_text("Answers that ask back")


def test_a_job_may_name_it_alone(api: httpx.Client, page: Page) -> None:
    run_id = evaluate(api, evaluators=["politeness"])
    run = api.get(f"/api/eval-runs/{run_id}").json()

    assert run["summary"]["llm_calls"] == 0
    assert [each["evaluator"] for each in run["summary"]["scores"]] == ["politeness"]
    page.goto(f"{api.base_url}/new")
    page.get_by_role("button", name="Take the bundled ones").click()
    expect(page.get_by_text("Does the bot answer politely?")).to_be_visible()


def test_a_job_that_names_one_that_is_not_installed_is_refused(up: Site) -> None:
    with up.http() as http:
        body = {"total_items": 1, "evaluators": ["politeness"]}
        reply = http.post("/api/jobs", json={"job_type": "evaluate-batch", "params": body})

    assert reply.status_code == 422
    (problem,) = reply.json()["detail"]
    assert problem["loc"] == ["body", "params", "evaluators"]
    assert problem["msg"].startswith("Not installed: evaluator politeness. There are: intent")
