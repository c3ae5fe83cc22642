"""The page shows changes without a reload."""

import re
from collections.abc import Sequence

from browsing import PageErrors, Site
from playwright.sync_api import BrowserContext, Page, expect


def test_a_job_is_seen_from_its_submission_to_its_end(up: Site, page: Page) -> None:
    page.goto(up.url)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    with up.vendor_suspended():
        job = up.submit(total_items=12, concurrency=2, name="watched")
        row = page.locator(f"tr[data-job='{job['id']}']")
        expect(row).to_contain_text("watched")
        expect(row.get_by_role("progressbar")).to_be_visible()
        expect(row.locator(".badge")).to_have_text("running")
    expect(row.locator(".badge")).to_have_text("completed")
    expect(row.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "12")


def test_results_appear_while_the_run_goes_on(site: Site, page: Page) -> None:
    site.start_vendor("--latency-ms=400", "--latency-sigma=0")
    site.worker()
    site.api()
    job = site.submit(total_items=6, concurrency=2)
    page.goto(f"{site.url}/runs/{job['run_id']}")
    rows = page.get_by_role("region", name="Conversations").locator("tbody tr:not(.spacer)")
    expect(rows).not_to_have_count(0)
    with site.vendor_suspended():
        expect(page.locator("main .badge").first).to_have_text("running")
        assert rows.count() < 6
    expect(rows).to_have_count(6)
    expect(page.locator("main .badge").first).to_have_text("completed")


def test_cancel_mid_run(site: Site, page: Page) -> None:
    site.start_vendor("--latency-ms=2000", "--latency-sigma=0")
    site.worker()
    site.api()
    job = site.submit(total_items=40, concurrency=2, name="too much")
    page.goto(f"{site.url}/runs/{job['run_id']}")
    expect(page.locator("main .badge").first).to_have_text("running")
    page.get_by_role("button", name="Cancel too much").click()
    expect(page.locator(".banner")).to_contain_text("Cancelled")
    with site.http() as http:
        assert http.get(f"/api/jobs/{job['id']}").json()["status"] == "cancelled"
    page.get_by_role("button", name="Retry too much").click()
    expect(page.locator("main .badge").first).to_have_text(re.compile("pending|running"))


def test_a_waiting_job_shows_how_many_are_ahead(site: Site, page: Page) -> None:
    site.start_vendor("--latency-ms=100", "--latency-sigma=0")
    site.api()
    for number in range(3):
        site.submit(total_items=1, name=f"job {number}")
    page.goto(site.url)
    expect(page.locator("tbody tr").filter(has_text="job 2")).to_contain_text("2 ahead")
    for name in ("job 0", "job 2"):
        row = page.locator("tbody tr").filter(has_text=name)
        expect(row).to_contain_text("waiting: no worker is alive")
    expect(page.get_by_text("next in queue")).to_have_count(0)
    site.worker()
    expect(page.locator("tbody tr").filter(has_text="job 2").locator(".badge")).to_have_text(
        "completed"
    )


def test_the_page_survives_a_restart_of_the_server(
    site: Site, page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow(
        "ERR_CONNECTION_(REFUSED|RESET|CLOSED)|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY"
        "|ERR_SOCKET_NOT_CONNECTED|503"
    )
    site.start_vendor("--latency-ms=300", "--latency-sigma=0")
    site.worker()
    api = site.api()
    page.goto(site.url)
    with site.vendor_suspended():
        job = site.submit(total_items=8, concurrency=2, name="goes on")
        row = page.locator(f"tr[data-job='{job['id']}']")
        expect(row.locator(".badge")).to_have_text("running")
        api.stop()
    expect(page.get_by_text(re.compile("^(Reconnecting|Polling)$"))).to_be_visible()
    site.api()
    expect(row.locator(".badge")).to_have_text("completed")
    expect(page.get_by_text("Live", exact=True)).to_be_visible(timeout=90_000)


def test_two_tabs_see_the_same(up: Site, context: BrowserContext) -> None:
    one, other = context.new_page(), context.new_page()
    one.goto(up.url)
    other.goto(up.url)
    up.execute("INSERT INTO job_queues (name, paused_at) VALUES ('evalqueue', now())")
    job = up.submit(total_items=2, name="shared")
    for tab in (one, other):
        tab.bring_to_front()
        row = tab.locator(f"tr[data-job='{job['id']}']")
        expect(row).to_contain_text("waiting: the queue evalqueue is paused")
    other.get_by_role("button", name="Cancel shared").click()
    for tab in (one, other):
        tab.bring_to_front()
        expect(tab.locator(f"tr[data-job='{job['id']}'] .badge")).to_have_text("cancelled")


HIDEABLE = """
    let isHidden = false;
    Object.defineProperty(document, "hidden", { get: () => isHidden });
    window.setHidden = (hidden) => {
        isHidden = hidden;
        document.dispatchEvent(new Event("visibilitychange"));
    };
"""


def test_visible_tabs_share_one_event_stream(up: Site, context: BrowserContext) -> None:
    """A browser opens six connections to a server: with a stream each, the seventh tab would not
    load."""
    tabs = [context.new_page() for _ in range(8)]
    for tab in tabs:
        tab.add_init_script(HIDEABLE)
        tab.goto(up.url)
        expect(tab.get_by_text("Live", exact=True)).to_be_visible()

    def see(name: str, shown: Sequence[Page]) -> None:
        job = up.submit(total_items=2, name=name)
        for tab in shown:
            badge = tab.locator(f"tr[data-job='{job['id']}'] .badge")
            expect(badge).to_have_text("completed")
        with up.http() as http:
            assert "\nevalqueue_watchers 1.0\n" in http.get("/metrics").text

    see("all", tabs)
    streaming, hidden, *others = tabs
    streaming.close()
    see("without the first", [hidden, *others])
    hidden.evaluate("setHidden(true)")
    expect(hidden.get_by_text("Paused", exact=True)).to_be_visible()
    see("while one is hidden", others)
    hidden.evaluate("setHidden(false)")
    expect(hidden.get_by_text("Live", exact=True)).to_be_visible()
    expect(hidden.locator("tr").filter(has_text="while one is hidden")).to_contain_text("completed")
    others[0].evaluate("setHidden(true)")
    see("afterwards", [hidden, *others[1:]])


def test_a_failed_job_says_why_and_what_was_tried(up: Site, page: Page) -> None:
    up.execute("SELECT evalqueue_submit_job('evaluate-batch', '{\"data_path\": \"missing.csv\"}')")
    page.goto(up.url)
    page.get_by_role("link", name="evaluate-batch").first.click()
    expect(page.locator(".banner")).to_contain_text("missing.csv")
    expect(page.get_by_role("heading", name="Attempts", exact=True)).to_be_visible()
    expect(page.locator("main")).to_contain_text("worker@")


def test_workers_and_queues(up: Site, page: Page) -> None:
    page.goto(f"{up.url}/workers")
    expect(page.get_by_role("table", name="Workers")).to_contain_text("ready")
    page.get_by_role("button", name="Pause evalqueue").click()
    expect(page.get_by_role("table", name="Queues")).to_contain_text("paused")
    page.get_by_role("button", name="Resume evalqueue").click()
    expect(page.get_by_role("table", name="Queues")).to_contain_text("open")
