"""Accessibility: keyboard, screen readers, forced colors."""

import re

import pytest
from browsing import PageErrors, Site, context_of
from playwright.sync_api import Browser, Page, expect

BYSTANDERS = "document.activeElement.closest('tr')?.textContent ?? document.activeElement.tagName"


@pytest.fixture(scope="module")
def run(full_site: Site) -> str:
    return full_site.finish("evaluate-batch", total_items=20, name="Read by keyboard")


def test_the_focus_stays_where_it_was_when_its_button_goes(full_site: Site, page: Page) -> None:
    with full_site.paused():
        full_site.submit(total_items=2, name="to be cancelled")
        page.goto(full_site.url)
        page.get_by_role("button", name="Cancel to be cancelled").focus()
        page.keyboard.press("Enter")
        row = page.locator("tr", has_text="to be cancelled")
        expect(row.locator(".badge")).to_have_text("cancelled")
    page.wait_for_timeout(200)
    assert "to be cancelled" in page.evaluate(BYSTANDERS)


def test_skipping_to_the_content_keeps_what_was_filled_in(full_site: Site, page: Page) -> None:
    page.goto(f"{full_site.url}/new")
    page.get_by_role("button", name="Take the bundled ones").click()
    page.get_by_label("Name of the evaluation").fill("my evaluation")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    expect(page.get_by_label("Name of the evaluation")).to_have_value("my evaluation")
    expect(page.locator("#main")).to_be_focused()


def test_keys_do_nothing_behind_a_dialog(full_site: Site, page: Page) -> None:
    page.goto(full_site.url)
    opener = page.get_by_role("button", name="Keys")
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("n")
    page.wait_for_timeout(200)
    expect(page).to_have_url(f"{full_site.url}/")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(opener).to_be_focused()


def test_cases_are_read_one_after_the_other(full_site: Site, page: Page) -> None:
    run = full_site.finish(
        "evaluate-adversarial", test_count=4, turn_delay_seconds=0,
        chatbot={"credentials": ["anna"]},
    )  # fmt: skip
    page.goto(f"{full_site.url}/runs/{run}")
    cases = page.get_by_role("region", name="Cases").get_by_role("link")
    expect(cases).to_have_count(4)
    labels = cases.all_text_contents()
    cases.first.press("Enter")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(labels[0])
    expect(page.get_by_text("Case 1 of 4")).to_be_visible()
    expect(page.get_by_role("button", name="Previous")).to_be_disabled()
    page.keyboard.press("j")
    expect(heading).to_have_text(labels[1])
    page.keyboard.press("u")
    expect(cases.nth(1)).to_be_focused()


def test_numbers_are_typed_as_they_are_written(full_site: Site, page: Page) -> None:
    page.goto(f"{full_site.url}/new")
    sample = page.get_by_label("Bundled conversations")
    sample.press("ControlOrMeta+a")
    sample.press("Backspace")
    page.wait_for_timeout(100)
    sample.press_sequentially("25", delay=60)
    expect(sample).to_have_value("25")
    page.get_by_role("button", name="Take the bundled ones").click()
    expect(page.get_by_text("25 bundled conversations")).to_be_visible()
    temperature = page.get_by_label("Temperature")
    temperature.press("ControlOrMeta+a")
    temperature.press_sequentially("0.05", delay=60)
    expect(temperature).to_have_value("0.05")


def test_the_focus_is_seen_in_colours_of_the_readers_own(
    full_site: Site, run: str, browser: Browser, page_errors: PageErrors
) -> None:
    with context_of(browser, page_errors, forced_colors="active") as context:
        page = context.new_page()
        for path in ("/", "/new", f"/runs/{run}"):
            page.goto(f"{full_site.url}{path}")
            expect(page.locator("main h1")).to_be_visible()
            page.wait_for_timeout(500)
            for _ in range(20):
                page.keyboard.press("Tab")
                unseen = page.evaluate(
                    """(() => {
                        const at = document.activeElement;
                        if (at === document.body) return null;
                        const around = at.closest(".button") ?? at;
                        const { outlineStyle, outlineWidth } = getComputedStyle(around);
                        const isSeen = outlineStyle !== "none" && outlineWidth !== "0px";
                        return isSeen ? null : at.outerHTML;
                    })()"""
                )
                assert unseen is None
    assert page_errors.unexpected == []


def test_progress_is_not_read_out_at_every_step(site: Site, page: Page) -> None:
    site.start_vendor("--latency-ms=150", "--latency-sigma=0")
    site.worker()
    site.api()
    job = site.submit(total_items=10, concurrency=1)
    page.goto(f"{site.url}/runs/{job['run_id']}")
    page.wait_for_selector("main h1")
    page.evaluate(
        """() => {
            window.announced = [];
            new MutationObserver((changes) => {
                for (const { target } of changes) {
                    const element = target.nodeType === 1 ? target : target.parentElement;
                    const live = element?.closest("[role=status], [role=alert], [aria-live]");
                    if (live) window.announced.push(live.textContent.trim());
                }
            }).observe(document.body, { subtree: true, childList: true, characterData: true });
        }"""
    )
    expect(page.locator("main .badge").first).to_have_text("completed")
    assert len(set(page.evaluate("window.announced"))) <= 4


def test_a_read_token_is_offered_no_actions(full_site: Site, page: Page) -> None:
    session = {"name": "rita", "right": "read", "needs_token": True}
    page.route("**/api/session", lambda route: route.fulfill(json=session))
    for path in ("/", "/runs", "/datasets", "/workers", "/new"):
        page.goto(f"{full_site.url}{path}")
        expect(page.locator("main h1")).to_be_visible()
        page.wait_for_timeout(300)
        offered = (
            page.locator("main")
            .get_by_role("button")
            .or_(page.locator("main a.button"))
            .or_(page.locator("main input[type=file]"))
        )
        wrong = re.compile("Cancel|Retry|Remove|Pause|New evaluation|Choose a file|Start|Evaluate")
        expect(offered.filter(has_text=wrong)).to_have_count(0)
