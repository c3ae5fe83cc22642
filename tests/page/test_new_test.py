"""The form of an adversarial test: a worker has to reach the chatbot before the test starts."""

import re

from browsing import PageErrors, Site
from playwright.sync_api import Page, expect


def test_a_worker_reaches_the_chatbot_before_the_test_starts(full_site: Site, page: Page) -> None:
    page.goto(f"{full_site.url}/new")
    page.get_by_role("link", name="Test a chatbot instead").click()
    page.get_by_role("combobox", name="App", exact=True).select_option("kaira-bot")
    expect(page.get_by_role("combobox", name="Protocol")).to_contain_text("kaira_v2")
    page.get_by_label("Credentials").fill("anna")
    page.get_by_role("button", name="Check that a worker reaches it").click()
    reached = page.locator("#reached")
    expect(reached).to_contain_text(re.compile(r"Reached\s+by a worker"))
    expect(reached).to_contain_text("anna: answered in")
    expect(page.get_by_text("A worker has reached the chatbot.")).to_be_visible()
    page.get_by_label("Name of the test").fill("from the form")
    page.get_by_label("Generated cases").fill("1")
    page.get_by_text("Personas").click()
    page.get_by_role("checkbox", name="easy", exact=True).check()
    page.get_by_role("button", name="Start the test").click()
    expect(page).to_have_url(re.compile(r"/runs/[0-9a-f-]{36}$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("from the form")
    with full_site.http() as http:
        run = http.get(f"/api/eval-runs/{page.url.rpartition('/')[2]}").json()
        checks = http.get("/api/jobs?job_type=reach-chatbot").json()
        (test,) = http.get("/api/jobs?job_type=evaluate-adversarial&limit=1").json()
    assert run["command"] == "evaluate-adversarial"
    assert test["params"]["personas"] == ["easy"]
    assert len(checks) == 1, "what was checked is not checked again"


def openai_protocol(page: Page) -> None:
    """A protocol that needs no credential."""
    page.get_by_role("combobox", name="Protocol").select_option("openai")
    page.get_by_label("Model of the chatbot").fill("m")


def test_a_chatbot_that_no_worker_reaches_is_not_tested(
    full_site: Site, page: Page, page_errors: PageErrors
) -> None:
    page_errors.allow("422")
    page.goto(f"{full_site.url}/new-test")
    page.get_by_role("combobox", name="App", exact=True).select_option("kaira-bot")
    openai_protocol(page)
    start = page.get_by_role("button", name="Start the test")
    address = page.get_by_label("Address")
    address.fill("http://127.0.0.1:9")
    start.click()
    reached = page.locator("#reached")
    expect(reached).to_contain_text("127.0.0.1 can't be reached")
    address.fill("http://10.0.0.1/bot")
    expect(reached).to_have_count(0)
    start.click()
    expect(reached).to_contain_text("EVALQUEUE_CHATBOT_HOSTS")
    expect(page).to_have_url(f"{full_site.url}/new-test")
    page.reload()
    expect(address).to_have_value("http://10.0.0.1/bot")


def test_without_a_worker_it_says_so_and_a_person_may_start_anyway(site: Site, page: Page) -> None:
    site.start_vendor()
    bot = site.start(r"simulated Kaira on (http://\S+)", "simulate-bot", "--port=0")
    site.environment |= {"EVALQUEUE_CHATBOT_URL": bot.address}
    site.api()
    page.goto(f"{site.url}/new-test")
    page.get_by_role("combobox", name="App", exact=True).select_option("kaira-bot")
    openai_protocol(page)
    page.get_by_role("button", name="Start the test").click()
    expect(page.locator("#reached")).to_contain_text("waiting: no worker is alive")
    page.get_by_label("Generated cases").fill("2")
    page.get_by_role("button", name="Start without the check").click()
    expect(page).to_have_url(re.compile(r"/runs/[0-9a-f-]{36}$"))
    with site.http() as http:
        jobs = http.get("/api/jobs").json()
    assert {each["job_type"]: each["status"] for each in jobs} == {
        "evaluate-adversarial": "queued", "reach-chatbot": "cancelled",
    }  # fmt: skip
