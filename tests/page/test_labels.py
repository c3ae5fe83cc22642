"""The page of a run says whether its rates are corrected by people's labels."""

from browsing import Site
from playwright.sync_api import Page, expect


def test_a_rate_is_uncalibrated_until_people_have_labelled(up: Site, page: Page) -> None:
    run_id = up.finish("evaluate-batch", total_items=48)
    page.goto(f"{up.url}/runs/{run_id}")
    card = page.locator("section.card", has=page.get_by_role("heading", name="By people's labels"))
    row = card.get_by_role("row").filter(has_text="Efficiency: Efficiency")
    expect(row).to_contain_text("uncalibrated")
    expect(card).to_contain_text("No conversation of this run has a label")

    with up.http() as http:
        outcomes = http.get(f"/api/eval-runs/{run_id}/outcomes").json()["outcomes"]
        said = {"evaluator": "efficiency", "value": "efficient", "labelled_by": "ann"}
        labels = [said | {"thread_id": e["thread_id"], "is_random": True} for e in outcomes]
        reply = http.post("/api/labels", json={"run_id": run_id, "labels": labels})
    assert reply.json() == {"added": 48, "unchanged": 0}
    page.reload()
    expect(row).not_to_contain_text("uncalibrated")
    expect(row).to_contain_text("100")
    expect(row).to_contain_text("κ")
    expect(card).not_to_contain_text("No conversation of this run has a label")
