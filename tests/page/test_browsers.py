"""What browsers and their extensions do to a page: they translate it, and refuse streams."""

import re

from browsing import PageErrors, Site
from playwright.sync_api import Page, expect

TRANSLATE = """() => {
    // As the translators of browsers do: each text node is replaced, unless that is forbidden.
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const texts = [];
    while (walker.nextNode()) texts.push(walker.currentNode);
    let count = 0;
    for (const text of texts) {
        if (!text.data.trim() || !text.parentElement.translate) continue;
        const font = document.createElement("font");
        font.textContent = `«${text.data}»`;
        text.replaceWith(font);
        count += 1;
    }
    return count;
}"""


def test_a_translated_page_shows_what_changes(site: Site, page: Page) -> None:
    site.start_vendor()
    site.api()
    job = site.submit(total_items=3)
    page.goto(f"{site.url}/jobs/{job['id']}")
    status = page.locator("main .badge").first
    expect(status).to_have_text("queued")
    page.evaluate(TRANSLATE)
    site.worker()
    expect(status).to_have_text("completed")
    expect(page.locator("main")).to_contain_text("3/3")


def test_messages_can_be_translated_and_quotes_are_marked_in_them(
    full_site: Site, page: Page
) -> None:
    run = full_site.finish("evaluate-batch", total_items=6, name="translated")
    page.goto(f"{full_site.url}/runs/{run}")
    page.get_by_role("region", name="Conversations").get_by_role("link").first.click()
    expect(page.locator("mark").first).to_be_visible()
    assert page.evaluate(TRANSLATE) > 0
    expect(page.locator(".bubble").first).to_contain_text("«")
    verdicts = page.get_by_role("complementary", name="Verdicts")
    button = verdicts.get_by_role("button", name=re.compile("“")).first
    button.click()
    marked = page.locator(".bubble").filter(has=page.locator("mark.active"))
    expect(marked.first).to_be_visible()
    expect(marked.first).not_to_contain_text("«")  # it was drawn again, and nothing is doubled
    quote = button.inner_text().strip("“” ")
    assert marked.first.inner_text().count(quote) == 1


def test_where_streams_are_refused_the_page_asks(
    up: Site, page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow("ERR_BLOCKED_BY_CLIENT")
    page.route(
        re.compile(r"/api/(jobs/[^/]+/)?events$"), lambda route: route.abort("blockedbyclient")
    )
    page.goto(up.url)
    expect(page.get_by_role("banner").get_by_role("status")).not_to_have_text("Live")
    job = up.submit(total_items=3, name="asked for")
    row = page.locator(f"tr[data-job='{job['id']}']")
    expect(row.locator(".badge")).to_have_text("completed")
