"""The page that compares two runs, and the choice of a baseline on a run's page."""

import re
from typing import Any

from browsing import PageErrors, Site
from playwright.sync_api import Page, expect


def compared(site: Site, candidate: str, baseline: str) -> dict[str, Any]:
    with site.http() as http:
        return http.get(f"/api/eval-runs/{candidate}/comparison/{baseline}").json()


def test_a_run_is_compared_with_one_that_is_chosen(up: Site, page: Page) -> None:
    baseline = up.finish("evaluate-batch", total_items=48, name="Old prompt")
    candidate = up.finish("evaluate-batch", total_items=48, name="New prompt")
    up.make_differ(candidate, baseline)

    page.goto(f"{up.url}/runs/{candidate}")
    choice = page.get_by_label("Compare with a run")
    button = page.get_by_role("button", name="Compare", exact=True)
    expect(button).to_be_disabled()
    expect(choice.locator("optgroup")).to_have_attribute("label", "The same conversations")
    choice.select_option(baseline)
    button.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{up.url}/runs/{candidate}/compare/{baseline}")
    expect(page.locator("h1")).to_have_text("New prompt, compared with Old prompt")

    found = compared(up, candidate, baseline)
    (verdict,) = [each for each in found["scores"] if each["title"] == "Efficiency: Efficiency"]
    assert (verdict["worsened"], verdict["improved"]) == (12, 3)
    row = page.get_by_role("row").filter(has_text="Efficiency: Efficiency").first
    pairs = verdict["difference"]["pairs"]
    expect(row).to_contain_text(f"12 of {pairs} conversations changed for the worse, 3 for the")
    expect(row).to_contain_text("p = 0.035")
    expect(row).to_contain_text("worse")
    accuracy = page.get_by_role("row").filter(has_text="Intent accuracy").first
    expect(accuracy).to_contain_text("no difference can be shown")

    worse = page.get_by_role("region", name="Changed for the worse")
    better = page.get_by_role("region", name="Changed for the better")
    expect(worse.get_by_role("row")).to_have_count(1 + 12)
    expect(better.get_by_role("row")).to_have_count(1 + 3)
    flip = found["flips"][0]
    links = worse.get_by_role("row").nth(1).get_by_role("link")
    expect(links.nth(0)).to_have_attribute(
        "href", f"/runs/{baseline}/threads/{flip['baseline_id']}"
    )
    links.nth(1).click()
    expect(page).to_have_url(f"{up.url}/runs/{candidate}/threads/{flip['candidate_id']}")
    expect(page.locator("h1")).to_have_text(flip["thread_id"])

    page.go_back()
    page.get_by_role("link", name="Swap").click()
    expect(page.locator("h1")).to_have_text("Old prompt, compared with New prompt")
    expect(row).to_contain_text(f"3 of {pairs} conversations changed for the worse, 12 for the")


def test_a_comparison_says_what_it_lacks(up: Site, page: Page, page_errors: PageErrors) -> None:
    page_errors.allow("status of 4(04|22)")
    baseline = up.finish("evaluate-batch", total_items=6, name="Old")
    with up.paused():
        candidate = up.submit(total_items=4, name="New")["run_id"]
        page.goto(f"{up.url}/runs/{candidate}/compare/{baseline}")
        expect(page.locator("main")).to_contain_text("No evaluated conversation is in both runs")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()

    # It fills in by itself, and tells what it left out.
    expect(page.locator("h1")).to_have_text("New, compared with Old")
    expect(page.locator("main")).to_contain_text("2 conversations are in the baseline only.")
    expect(page.locator(".banner")).to_have_count(0)

    up.execute(
        "UPDATE eval_runs SET status = 'running', completed_at = NULL WHERE id = %s", candidate
    )
    page.reload()
    expect(page.locator(".banner")).to_have_text(re.compile("New has not ended"))
    up.execute("UPDATE eval_runs SET llm_model = 'another' WHERE id = %s", candidate)
    page.reload()
    expect(page.locator("main")).to_contain_text("The judges differ: simulated/")

    page.goto(f"{up.url}/runs/{candidate}/compare/{'0' * 8}-0000-4000-8000-{'0' * 12}")
    expect(page.get_by_role("alert")).to_contain_text("Run not found: one of the two")
