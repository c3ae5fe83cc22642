"""Responses that are late, fail or arrive twice; a server that is restarted."""

import json
import re
import time

import pytest
from browsing import START_SECONDS, PageErrors, Site
from playwright.sync_api import Page, Request, Route, expect


@pytest.fixture(scope="module")
def runs(full_site: Site) -> list[str]:
    return [
        full_site.finish("evaluate-batch", total_items=3, name=name) for name in ("One", "Other")
    ]


def signed_in(route: Route) -> None:
    """The response of a server with tokens; this one has none."""
    if route.request.method == "POST":
        route.fulfill(json={"name": "anna", "right": "admin", "needs_token": True})
    else:
        route.continue_()


def session_of_this_server(route: Route) -> None:
    """Any token signs in as the user that the page had before."""
    if route.request.method == "POST":
        route.fulfill(json={"name": "local", "right": "admin", "needs_token": False})
    else:
        route.continue_()


class Held:
    """Requests that the test holds until it answers them."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def hold(self, route: Route) -> None:
        self.routes.append(route)

    def first(self, page: Page) -> Route:
        """Wait for the first held request."""
        deadline = time.monotonic() + START_SECONDS
        while not self.routes:
            assert time.monotonic() < deadline, "the page never asked"
            page.wait_for_timeout(20)
        return self.routes[0]


def busy(route: Route) -> None:
    detail = {"detail": "Too many requests"}
    route.fulfill(status=503, content_type="application/json", body=json.dumps(detail))


def test_a_run_that_could_not_be_read_once_is_read_again(
    full_site: Site, runs: list[str], page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow("503")
    page.route(re.compile(rf"/api/eval-runs/{runs[0]}"), busy)
    page.goto(f"{full_site.url}/runs/{runs[0]}")
    expect(page.locator(".banner")).to_contain_text("can't be shown")
    page.unroute_all()
    rows = page.get_by_role("region", name="Conversations").locator("tbody tr:not(.spacer)")
    expect(rows).to_have_count(3)
    expect(page.locator(".banner")).to_have_count(0)


def test_a_view_that_fails_to_load_late_does_not_break_the_one_that_is_shown(
    full_site: Site, page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow("ERR_FAILED")
    held = Held()
    page.route("**/views/workers.js", held.hold)
    page.goto(full_site.url)
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
    page.get_by_role("link", name="Workers").click()
    late = held.first(page)
    page.get_by_role("link", name="Datasets").click()
    expect(page.get_by_role("heading", name="Datasets", exact=True)).to_be_visible()
    late.abort()
    page.wait_for_timeout(300)
    expect(page.get_by_role("heading", name="Datasets", exact=True)).to_be_visible()
    expect(page.locator(".banner")).to_have_count(0)


def test_a_view_that_failed_to_load_is_had_by_trying_again(
    full_site: Site, page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow("ERR_FAILED")
    page.goto(full_site.url)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    page.route("**/views/workers.js", lambda route: route.abort())
    page.get_by_role("link", name="Workers").click()
    expect(page.locator(".banner")).to_be_visible()
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Workers and queues")).to_be_visible()


def test_after_the_session_ends_a_sign_in_returns_to_the_same_page(
    full_site: Site, runs: list[str], page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow("401")
    page.goto(full_site.url)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    page.route(re.compile("/api/"), lambda route: route.fulfill(status=401, json={"detail": "No"}))
    page.get_by_role("link", name="Runs").click()
    expect(page.get_by_label("Token")).to_be_focused()
    page.unroute_all()
    page.route("**/api/session", signed_in)
    page.get_by_label("Token").fill("any")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("link", name="Other")).to_be_visible()


def test_what_was_typed_outlasts_the_session_and_a_reload(
    full_site: Site, page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow("401")
    page.goto(f"{full_site.url}/new")
    page.get_by_role("button", name="Take the bundled ones").click()
    name = page.get_by_label("Name of the evaluation")
    name.fill("not lost")
    expect(page.locator("#calls")).to_be_visible()
    page.route(re.compile("/api/"), lambda route: route.fulfill(status=401, json={"detail": "No"}))
    page.get_by_role("button", name="Start the evaluation").click()
    expect(page.get_by_role("textbox", name="Token", exact=True)).to_be_focused()
    expect(name).to_be_hidden()
    page.unroute_all()
    page.get_by_role("textbox", name="Token", exact=True).fill("any")
    page.route("**/api/session", session_of_this_server)
    page.get_by_role("button", name="Sign in").click()
    expect(name).to_be_visible()
    expect(name).to_have_value("not lost")
    expect(page.get_by_role("button", name="Start the evaluation")).to_be_enabled()

    page.reload()
    expect(name).to_have_value("not lost")
    page.get_by_role("button", name="Start the evaluation").click()
    expect(page.get_by_role("heading", name="not lost", exact=True)).to_be_visible()
    page.goto(f"{full_site.url}/new")
    expect(page.get_by_role("button", name="Take the bundled ones")).to_be_visible()


def test_the_server_was_away_when_the_page_was_opened(
    full_site: Site, page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow("ERR_CONNECTION_REFUSED")
    page.route("**/api/**", lambda route: route.abort("connectionrefused"))
    page.goto(full_site.url)
    expect(page.locator(".banner")).to_be_visible()
    page.unroute_all()
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()


def test_a_double_click_counts_once(full_site: Site, page: Page) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        if request.method == "POST" and re.search(r"/jobs(/.*/(cancel|retry))?$", request.url):
            asked.append(request.url)

    page.on("request", note)
    page.goto(f"{full_site.url}/new")
    page.get_by_role("button", name="Take the bundled ones").click()
    page.get_by_label("Name of the evaluation").fill("twice")
    start = page.get_by_role("button", name="Start the evaluation")
    expect(start).to_be_enabled()
    start.evaluate("each => { each.click(); each.click() }")
    expect(page.get_by_role("heading", name="twice", exact=True)).to_be_visible()
    assert len(asked) == 1
    expect(page.locator("main .badge").first).to_have_text("completed")

    with full_site.paused():
        full_site.submit(total_items=2, name="held")
        page.goto(full_site.url)
        row = page.locator("tr").filter(has_text="held")
        asked.clear()
        for verb, jobs in (("Cancel", 1), ("Retry", 2)):
            row.get_by_role("button", name=verb).evaluate("each => { each.click(); each.click() }")
            expect(row).to_have_count(jobs)
            expect(row.last.locator(".badge").first).to_have_text("cancelled")
            page.wait_for_timeout(500)
    assert len(asked) == 2
    expect(page.locator(".toast.tone-bad")).to_have_count(0)


def test_a_submission_that_returns_late_does_not_change_the_page(
    full_site: Site, page: Page
) -> None:
    held = Held()
    page.goto(f"{full_site.url}/new")
    page.get_by_role("button", name="Take the bundled ones").click()
    start = page.get_by_role("button", name="Start the evaluation")
    expect(start).to_be_enabled()
    page.route(re.compile("/api/jobs$"), held.hold)
    start.click()
    late = held.first(page)
    page.get_by_role("link", name="Datasets").click()
    expect(page.get_by_role("heading", name="Datasets", exact=True)).to_be_visible()
    late.continue_()
    expect(page.locator(".toast").filter(has_text="Submitted")).to_be_visible()
    expect(page).to_have_url(f"{full_site.url}/datasets")


def test_starting_again_after_lost_replies_starts_one_job(
    full_site: Site, page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow("ERR_CONNECTION_RESET")

    def lose_reply(route: Route) -> None:
        route.fetch()
        route.abort("connectionreset")

    page.goto(f"{full_site.url}/new")
    page.get_by_role("button", name="Take the bundled ones").click()
    page.get_by_label("Name of the evaluation").fill("replies lost")
    start = page.get_by_role("button", name="Start the evaluation")
    expect(start).to_be_enabled()
    page.route(re.compile("/api/jobs$"), lose_reply)
    start.click()
    expect(page.get_by_text("The evaluation can't be started")).to_be_visible()
    page.unroute(re.compile("/api/jobs$"))
    start.click()
    expect(page).to_have_url(re.compile(r"/runs/"))
    started = page.request.get(f"{full_site.url}/api/jobs").json()
    assert [job["name"] for job in started].count("replies lost") == 1

    # The same form for the second time is a second evaluation.
    page.go_back()
    page.get_by_role("button", name="Take the bundled ones").click()
    page.get_by_label("Name of the evaluation").fill("replies lost")
    start.click()
    expect(page).to_have_url(re.compile(r"/runs/"))
    started = page.request.get(f"{full_site.url}/api/jobs").json()
    assert [job["name"] for job in started].count("replies lost") == 2


def test_the_mapping_is_that_of_the_file_chosen_last(full_site: Site, page: Page) -> None:
    held = Held()
    page.goto(f"{full_site.url}/new")
    page.route(re.compile("preview"), held.hold, times=1)
    for name, text in (("first.csv", b"a,b\n1,2\n"), ("last.csv", b"c,d\n1,2\n")):
        page.locator("#file").set_input_files(
            {"name": name, "mimeType": "text/csv", "buffer": text}
        )
        late = held.first(page)
    expect(page.get_by_text("Which column of last.csv")).to_be_visible()
    late.continue_()
    page.wait_for_timeout(500)
    options = page.locator("main select").first.locator("option")
    expect(options.filter(has_text=re.compile("^c$"))).to_have_count(1)
    expect(options.filter(has_text=re.compile("^b$"))).to_have_count(0)


def test_a_job_that_came_while_the_list_was_read_is_listed(full_site: Site, page: Page) -> None:
    held = Held()
    page.route(re.compile(r"/api/jobs\?"), held.hold)
    page.goto(full_site.url)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    late = held.first(page)
    answer = page.request.get(late.request.url)
    job = full_site.submit(total_items=1, name="in between")
    row = page.locator(f"tr[data-job='{job['id']}']")
    expect(row.locator(".badge")).to_have_text("completed")  # no further event arrives
    late.fulfill(response=answer)
    page.wait_for_timeout(500)
    expect(row).to_be_visible()


def test_edits_in_one_frame_are_all_kept(
    full_site: Site, page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow("422")  # the draft is checked while it is written
    page.goto(f"{full_site.url}/new-app")
    page.get_by_role("button", name="Form", exact=True).click()
    rules = page.locator("details.card", has=page.get_by_text("What the bot has to do.")).first
    expect(rules.locator("fieldset")).to_have_count(1)  # the draft's own
    # Before the browser draws the next frame: two rules are added and two fields filled.
    rules.evaluate(
        """(details) => {
            const add = [...details.querySelectorAll("button")].at(-1);
            add.click();
            add.click();
            const rule = [...details.querySelectorAll("fieldset")].at(-1);
            for (const [i, text] of ["greets", "Manners"].entries()) {
                const input = rule.querySelectorAll("input")[i];
                input.value = text;
                input.dispatchEvent(new Event("input", { bubbles: true }));
            }
        }"""
    )
    expect(rules.locator("fieldset")).to_have_count(3)
    last = rules.get_by_role("group", name="greets")
    expect(last.get_by_label("Section")).to_have_value("Manners")


def test_an_edit_made_while_the_draft_is_checked_is_kept(full_site: Site, page: Page) -> None:
    page.goto(f"{full_site.url}/new-app?copy=kaira-bot")
    expect(page.get_by_text("Valid.")).to_be_visible()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/apps", hold)
    with page.expect_request("**/api/apps"):
        page.get_by_role("button", name="Text", exact=True).click()
    name = page.get_by_role("textbox", name="Name", exact=True).first
    name.fill("Edited meanwhile")
    with page.expect_response("**/api/apps"):
        held[0].continue_()
    page.unroute_all()
    expect(page.get_by_text("Valid.")).to_be_visible()
    page.get_by_role("button", name="Text", exact=True).click()
    document = page.get_by_role("region", name="Document").get_by_role("textbox")
    expect(document).to_have_value(re.compile("Edited meanwhile"))
