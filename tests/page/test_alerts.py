"""What fires is seen on the first screen, and what a drift check found on its job's page."""

import re

from browsing import Site
from playwright.sync_api import Page, expect


def test_alerts_that_fire_are_above_the_jobs_until_they_recover(up: Site, page: Page) -> None:
    up.run("alerts", "add", "no failures", "--watches", "failed")
    page.goto(up.url)
    alerts = page.get_by_role("region", name="Alerts")
    expect(page.locator("main h1")).to_be_visible()
    expect(alerts).to_have_count(0)

    up.submit_other_jobs()
    expect(alerts.get_by_role("listitem")).to_have_count(1)
    expect(alerts).to_contain_text("no failures A job evaluate-batch failed")
    alerts.get_by_role("link").click()
    expect(page.locator("main h1")).to_have_text("Its file is gone")

    page.go_back()
    expect(alerts).to_be_visible()
    up.finish("evaluate-batch", total_items=1)
    expect(alerts).to_have_count(0)


def test_a_drift_check_says_whether_the_judge_has_changed(up: Site, page: Page) -> None:
    anchor = up.finish("evaluate-batch", total_items=6, name="Anchor", evaluators=["efficiency"])
    up.finish("check-drift", anchor=anchor)
    with up.http() as http:
        (check,) = http.get("/api/jobs?job_type=check-drift").json()

    page.goto(f"{up.url}/jobs/{check['id']}")
    expect(page.locator(".banner")).to_contain_text("No sign that the judge has changed")
    scores = page.get_by_role("region", name="Scores that were judged twice")
    expect(scores.get_by_role("row")).to_have_count(3)
    expect(scores).to_contain_text(re.compile(r"\d of 6"))
    page.get_by_role("link", name="Compare the two runs").click()
    expect(page).to_have_url(re.compile(rf"/runs/[-0-9a-f]+/compare/{anchor}$"))
