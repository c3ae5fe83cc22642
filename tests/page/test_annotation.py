"""People label conversations on the page, by keys alone, without seeing the verdict before."""

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from browsing import PageErrors, Site, context_of
from playwright.sync_api import Browser, Page, expect

from evalqueue.evaluators.labels.annotation import LEASE

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"


def rows(site: Site, statement: str) -> list[Any]:
    with psycopg.connect(site.dsn, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def asked(site: Site, run_id: str, **options: object) -> str:
    """The id of a new annotation queue."""
    body = {"run_id": run_id, "evaluator": "efficiency"} | options
    with site.http() as http:
        reply = http.post("/api/annotation-queues", json=body)
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def begin(site: Site, page: Page, queue_id: str, name: str, query: str = "") -> None:
    page.goto(f"{site.url}/annotation/{queue_id}{query}")
    page.get_by_label("Your name").press_sequentially(name)
    page.keyboard.press("Enter")
    expect(page.locator(".menu-value, .empty").first).to_be_visible()


def say(page: Page, key: str) -> None:
    """Label the conversation, and see the verdict."""
    page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.locator("#next")).to_be_focused()


def go_on(page: Page) -> None:
    page.keyboard.press("Enter")
    expect(page.locator("#next")).to_have_count(0)
    expect(page.locator(".menu-value, .empty").first).to_be_visible()


def offered(site: Site, queue_id: str, by: str) -> int | None:
    """The position of the item that a person gets."""
    with site.http() as http:
        body = {"queue_id": queue_id, "labelled_by": by}
        item = http.post("/api/annotation-queues/next", json=body).json()["item"]
    return item and item["position"]


def test_conversations_are_labelled_by_keys_alone_and_correct_the_rate(
    up: Site, page: Page
) -> None:
    run_id = up.finish("evaluate-batch", total_items=48)
    page.goto(f"{up.url}/runs/{run_id}")
    card = page.locator("section.card", has=page.get_by_role("heading", name="By people's labels"))
    row = card.get_by_role("row").filter(has_text="Efficiency: Efficiency")
    expect(row).to_contain_text("uncalibrated")
    card.get_by_role("link", name="Label conversations").press("Enter")
    page.get_by_label("Question").select_option("efficiency.verdict")
    page.get_by_label("How many").fill("40")
    page.get_by_label("How many").press("Enter")
    expect(page).to_have_url(re.compile("/annotation/[0-9a-f-]{36}$"))
    page.get_by_label("Your name").press_sequentially("ann")
    page.keyboard.press("Enter")

    expect(page.locator(".menu-value")).to_have_count(6)
    expect(page.get_by_role("article", name="Turn 1", exact=True)).to_be_visible()
    expect(page.get_by_text("Done in as few turns as it takes.")).to_be_visible()
    expect(page.get_by_text("The judge")).to_have_count(0)
    page.keyboard.press("1")
    page.keyboard.press("4")
    expect(page.locator("#save")).to_contain_text("Save: broken")
    page.keyboard.press("n")
    page.keyboard.type("the user gave up, n1u?")
    page.keyboard.press("Enter")
    expect(page.locator("#next")).to_be_focused()
    expect(page.get_by_text(re.compile("agrees with you|disagrees with you"))).to_be_visible()
    expect(page.get_by_text("1 of 40 labels")).to_be_visible()

    page.keyboard.press("u")  # a slip
    expect(page.get_by_label("Note")).to_have_value("the user gave up, n1u?")
    say(page, "1")
    go_on(page)
    say(page, "1")
    go_on(page)
    page.keyboard.press("u")  # back to the one before, of which the label is chosen
    expect(page.locator("#save")).to_contain_text("Save: efficient")
    say(page, "2")
    go_on(page)
    for _ in range(38):
        say(page, "1")
        go_on(page)
    expect(page.get_by_text("All conversations are labelled.")).to_be_visible()

    said = rows(
        up, "SELECT DISTINCT ON (thread_id) label, is_random, labelled_by, note FROM labels"
        " ORDER BY thread_id, id DESC"
    )  # fmt: skip
    noted = ("EFFICIENT", True, "ann", "the user gave up, n1u?")
    plain = ("EFFICIENT", True, "ann", None)
    assert sorted(said, key=str) == sorted(
        [noted, ("ACCEPTABLE", True, "ann", None), *[plain] * 38], key=str
    )
    assert rows(up, "SELECT count(*) FROM labels") == [(42,)]  # two were corrected
    page.get_by_role("link", name="To the run").press("Enter")
    expect(row).not_to_contain_text("uncalibrated")
    expect(row).to_contain_text("100")


def test_a_page_that_is_closed_gives_its_conversation_back(
    up: Site, page: Page, browser: Browser, page_errors: PageErrors
) -> None:
    run_id = up.finish("evaluate-batch", total_items=6)
    queue_id = asked(up, run_id)
    begin(up, page, queue_id, "ann")
    assert offered(up, queue_id, "bob") == 2
    page.close()
    with context_of(browser, page_errors) as context:
        other = context.new_page()
        deadline = LEASE.total_seconds()
        assert deadline > 60  # so that it is not the lease that ends
        other.goto(up.url)
        for _ in range(100):
            if offered(up, queue_id, "eve") == 1:
                break
            with up.http() as http:
                release(http, queue_id, "eve")
            other.wait_for_timeout(100)
        else:
            raise AssertionError("the conversation was not given back")


def release(http: Any, queue_id: str, by: str) -> None:
    person = {"queue_id": queue_id, "labelled_by": by}
    item = http.post("/api/annotation-queues/next", json=person).json()["item"]
    place = {name: item[name] for name in ("position", "expires_at")}
    http.post("/api/annotation-queues/release", json=person | place)


def test_a_reload_keeps_the_conversation_and_leaving_gives_it_back(up: Site, page: Page) -> None:
    run_id = up.finish("evaluate-batch", total_items=6)
    queue_id = asked(up, run_id)
    begin(up, page, queue_id, "ann")
    page.reload()
    expect(page.locator(".menu-value").first).to_be_visible()  # the name is known
    page.wait_for_timeout(500)
    assert offered(up, queue_id, "bob") == 2
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Runs").press("Enter")
    expect(page.locator("h1")).to_have_text("Runs")
    page.wait_for_timeout(500)
    assert offered(up, queue_id, "eve") == 1


def test_a_second_tab_that_is_closed_does_not_give_the_conversation_of_the_first_back(
    up: Site, page: Page
) -> None:
    queue_id = asked(up, up.finish("evaluate-batch", total_items=6))
    begin(up, page, queue_id, "ann")
    second = page.context.new_page()
    begin(up, second, queue_id, "ann")
    second.goto(f"{up.url}/runs")
    expect(second.locator("h1")).to_have_text("Runs")
    page.wait_for_timeout(500)
    assert offered(up, queue_id, "bob") == 2
    say(page, "1")
    assert rows(up, "SELECT labelled_by FROM labels") == [("ann",)]


def test_a_label_that_is_refused_stays_on_the_screen_with_the_reason(
    up: Site, page: Page, page_errors: PageErrors
) -> None:
    queue_id = asked(up, up.finish("evaluate-batch", total_items=6))
    begin(up, page, queue_id, "ann")
    rows(up, "DELETE FROM annotation_leases RETURNING 1")
    with up.http() as http:
        said = {"queue_id": queue_id, "position": 1, "value": "BROKEN", "labelled_by": "bob"}
        http.post("/api/annotation-queues/label", json=said)
    page.get_by_label("Note").fill("it took an hour to see this")
    page_errors.allow("409")
    page.get_by_role("button", name="acceptable").click()
    page.keyboard.press("Enter")
    alert = page.get_by_role("alert").filter(has_text="Your label is not saved")
    expect(alert).to_contain_text("Others have labelled this conversation meanwhile")
    expect(page.get_by_label("Note")).to_have_value("it took an hour to see this")
    expect(page.locator("#save")).to_contain_text("Save: acceptable")
    alert.get_by_role("button", name="Next conversation").click()
    expect(alert).to_have_count(0)
    expect(page.get_by_label("Note")).to_have_value("")


def test_what_is_not_saved_is_there_again_after_a_correction(up: Site, page: Page) -> None:
    queue_id = asked(up, up.finish("evaluate-batch", total_items=6))
    begin(up, page, queue_id, "ann")
    say(page, "1")
    go_on(page)
    page.get_by_label("Note").fill("a draft")
    page.get_by_role("button", name="broken").click()
    page.keyboard.press("u")
    expect(page.locator("#save")).to_contain_text("Save: efficient")
    say(page, "2")
    go_on(page)
    expect(page.get_by_label("Note")).to_have_value("a draft")
    expect(page.locator("#save")).to_contain_text("Save: broken")


def test_both_answers_of_a_pair_are_open_and_have_their_names(up: Site, page: Page) -> None:
    csv = "conversation_id,question,answer_a,answer_b\nt1,When?,On Monday.,On Friday.\n"
    queue_id = asked(up, up.finish("evaluate-batch", csv_content=csv), size=1)
    begin(up, page, queue_id, "ann")
    answers = page.locator(".bubble.bot")
    expect(answers.locator(".who")).to_have_text(["First answer: Bot", "Second answer"])
    expect(answers.nth(0)).to_contain_text("On Monday.")
    expect(answers.nth(1)).to_contain_text("On Friday.")
    expect(answers.nth(1)).to_be_visible()


def test_somebody_else_decides_where_people_disagree(up: Site, page: Page) -> None:
    run_id = up.finish("evaluate-batch", total_items=6)
    queue_id = asked(up, run_id, size=2, annotators=2)
    with up.http() as http:
        for person, values in (
            ("ann", ("EFFICIENT", "BROKEN")),
            ("bob", ("EFFICIENT", "FRICTION")),
        ):
            for position, value in enumerate(values, start=1):
                said = {"queue_id": queue_id, "position": position, "value": value}
                http.post("/api/annotation-queues/label", json=said | {"labelled_by": person})
    page.goto(f"{up.url}/runs/{run_id}/annotation")
    row = page.get_by_role("row").filter(has_text="Efficiency")
    expect(row).to_contain_text("2 of 2")
    row.get_by_role("link", name="Decide 1").press("Enter")
    page.get_by_label("Your name").press_sequentially("eve")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="They disagree: you decide")).to_be_visible()
    expect(page.locator("aside")).to_contain_text("ann")
    expect(page.get_by_text("The judge")).to_have_count(0)
    say(page, "4")
    expect(page.locator("aside")).to_contain_text("eve decides")
    go_on(page)
    expect(page.get_by_text("Nothing is left that you can decide")).to_be_visible()
    assert rows(up, "SELECT label, adjudicates FROM labels WHERE labelled_by = 'eve'") == [
        ("BROKEN", True)
    ]


def test_what_others_label_is_seen_as_it_happens(up: Site, page: Page) -> None:
    run_id = up.finish("evaluate-batch", total_items=6)
    queue_id = asked(up, run_id, size=4)
    begin(up, page, queue_id, "ann")
    expect(page.get_by_text("0 of 4 labels")).to_be_visible()
    with up.http() as http:
        said = {"queue_id": queue_id, "position": 3, "value": "BROKEN", "labelled_by": "bob"}
        http.post("/api/annotation-queues/label", json=said)
    expect(page.get_by_text("1 of 4 labels")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_labelling_is_for_everybody(
    full_site: Site, browser: Browser, page_errors: PageErrors, width: int, scheme: Any
) -> None:
    run_id = full_site.finish("evaluate-batch", total_items=6)
    queue_id = asked(full_site, run_id, annotators=2)
    with context_of(
        browser, page_errors, viewport={"width": width, "height": 800}, color_scheme=scheme,
        reduced_motion="reduce",
    ) as context:  # fmt: skip
        page = context.new_page()
        begin(full_site, page, queue_id, "ann")
        for step in ("choosing", "labelled"):
            page.keyboard.press("4")
            if step == "labelled":
                page.keyboard.press("Enter")
                expect(page.locator("#next")).to_be_focused()
            page.evaluate(AXE.read_text("utf-8"))
            found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            assert [each["id"] for each in found["violations"]] == [], step
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page_errors.unexpected == []
