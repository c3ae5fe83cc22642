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


def test_a_note_on_a_conversation_stays_with_who_wrote_it(up: Site, page: Page) -> None:
    run_id = up.finish("evaluate-batch", total_items=1, evaluators=["intent"])
    with up.http() as http:
        (row,) = http.get(f"/api/eval-runs/{run_id}/outcomes").json()["outcomes"]
        said = {"run_id": run_id, "thread_id": row["thread_id"]}
        first = said | {"note": "<b>meant</b> lunch", "written_by": "ann"}
        assert http.post("/api/notes", json=first).status_code == 201
    page.goto(f"{up.url}/runs/{run_id}/threads/{row['id']}")
    card = page.get_by_role("region", name="Notes")
    expect(card.get_by_role("listitem")).to_contain_text(["<b>meant</b> lunch ann"])

    expect(card.get_by_role("button", name="Add note")).to_be_disabled()
    card.get_by_label("New note").fill("No, dinner")
    card.get_by_role("button", name="Add note").click()
    expect(card.get_by_role("listitem")).to_have_count(2)
    expect(card.get_by_label("New note")).to_have_value("")
    page.reload()
    expect(card.get_by_role("listitem").nth(1)).to_contain_text("No, dinner")
