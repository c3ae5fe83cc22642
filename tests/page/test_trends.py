"""How the results of an app change from run to run."""

import json
import re

from browsing import Site
from playwright.sync_api import Page, expect

ACCURACIES = [0.81, 0.9, 0.72]
VERSIONS = ["intent/1:old", "intent/1:new", "intent/1:new"]


def test_the_list_of_runs_shows_the_trend_of_an_app(up: Site, page: Page) -> None:
    run = up.finish("evaluate-batch", total_items=1)
    up.execute("UPDATE eval_runs SET created_at = now() - interval '1 day' WHERE id = %s", run)
    for number, (accuracy, version) in enumerate(zip(ACCURACIES, VERSIONS, strict=True), start=1):
        scores = [
            {"evaluator": "intent", "version": version, "mean": accuracy, "measured": 40},
            {
                "evaluator": "correctness", "version": "correctness/1:a", "measured": 10,
                "counts": {"PASS": 5 + number, "HARD FAIL": 5 - number, "NOT APPLICABLE": 30},
            },
        ]  # fmt: skip
        up.execute(
            "INSERT INTO eval_runs (id, command, app_id, name, config, status, summary,"
            " created_at, completed_at)"
            " SELECT gen_random_uuid(), command, app_id, %s, config, status, %s,"
            " now() + %s * interval '1 minute', now() FROM eval_runs WHERE id = %s",
            f"night {number}", json.dumps({"scores": scores}), number, run,
        )  # fmt: skip
    up.execute(
        "INSERT INTO eval_runs (id, command, app_id) VALUES (gen_random_uuid(), 'evaluate-batch',"
        " 'bank')"
    )
    up.execute(  # one that was cancelled before it began
        "INSERT INTO eval_runs (id, command, app_id, status, summary, created_at, completed_at)"
        " VALUES (gen_random_uuid(), 'evaluate-batch', 'kaira-bot', 'cancelled', '{}',"
        " now() + interval '1 hour', now())"
    )

    page.goto(f"{up.url}/runs")
    rows = page.get_by_role("region", name="Runs").locator("tbody tr")
    expect(rows).to_have_count(6)
    trends = page.get_by_role("region", name="From run to run")
    expect(trends).to_have_count(0)
    page.get_by_label("App").select_option("kaira-bot")
    expect(page).to_have_url(re.compile(r"/runs\?app=kaira-bot$"))
    expect(rows).to_have_count(5)
    intent = trends.locator(".figure").filter(has_text="Intent accuracy")
    expect(intent.locator("b")).to_have_text("72%")
    expect(intent).to_contain_text("90% in the run before")
    line = intent.get_by_role("img", name=re.compile(r"Oldest to newest: .*81%, 90%, 72%$"))
    expect(line.locator("line")).to_have_count(1)  # it breaks where the version changed
    expect(line.locator("circle").last).to_have_text(re.compile(r"^72% of 40: night 3, "))
    correctness = trends.locator(".figure").filter(has_text="pass")
    expect(correctness.locator("b")).to_have_text("80%")
    expect(correctness).to_contain_text("70% in the run before")

    up.execute("UPDATE eval_runs SET llm_model = 'another' WHERE name = 'night 3'")
    page.reload()
    expect(intent).to_contain_text("90% in the run before, by another judge")
    expect(line.locator("line")).to_have_count(0)
    expect(page.get_by_label("App")).to_have_value("kaira-bot")
    expect(rows).to_have_count(5)
    page.get_by_label("App").select_option("bank")
    expect(rows).to_have_count(1)
    expect(trends).to_have_count(0)
