"""A run of 10,000 conversations, whose document contains only the visible rows, and 300 jobs."""

import pytest
from browsing import Site
from playwright.sync_api import Page, expect

THREADS = 10_000
FILL = """
    INSERT INTO thread_evaluations (
        run_id, thread_id, intent_accuracy, worst_correctness, efficiency_verdict, success_status,
        result, attempt, duration_ms
    )
    SELECT %s, 'thr_' || lpad(n::text, 5, '0'), (n %% 11) / 10.0,
        (ARRAY['PASS', 'SOFT FAIL', 'HARD FAIL', 'CRITICAL', 'NOT APPLICABLE'])[1 + n %% 5],
        (ARRAY['EFFICIENT', 'FRICTION', NULL])[1 + n %% 3], n %% 2 = 0,
        jsonb_build_object('thread', jsonb_build_object('message_count', 1 + n %% 9),
            'failures', '[]'::jsonb), 1, n
    FROM generate_series(1, %s) AS n
"""

SCORES = """
    INSERT INTO scores (run_id, evaluation_id, thread_id, evaluator, version, name, kind,
        value_text, value_number)
    SELECT run_id, id, thread_id, evaluator, '1', name, kind, value_text, value_number
    FROM thread_evaluations, LATERAL (VALUES
        ('intent', 'accuracy', 'number', NULL, intent_accuracy),
        ('correctness', 'worst', 'category', worst_correctness, NULL),
        ('efficiency', 'verdict', 'category', efficiency_verdict, NULL)
    ) AS score (evaluator, name, kind, value_text, value_number)
"""


@pytest.fixture
def run(site: Site) -> str:
    site.start_vendor()
    site.api()
    run = site.submit(total_items=1)["run_id"]
    site.execute(FILL, run, THREADS)
    site.execute(SCORES)
    return run


def test_ten_thousand_conversations(site: Site, run: str, page: Page) -> None:
    page.goto(f"{site.url}/runs/{run}")
    region = page.get_by_role("region", name="Conversations")
    rows = region.locator("tbody tr:not(.spacer)")
    expect(rows.first).to_contain_text("thr_00088")  # the first that is worst in everything
    page.get_by_role("button", name="Conversation", exact=True).click()
    expect(rows.first).to_contain_text("thr_00001")
    assert rows.count() < 100
    expect(region.get_by_role("table")).to_have_attribute("aria-rowcount", str(THREADS + 1))

    region.evaluate("each => { each.scrollTop = each.scrollHeight }")
    expect(rows.last).to_contain_text("thr_10000")
    assert rows.count() < 100
    expect(rows.last).to_have_attribute("aria-rowindex", str(THREADS + 1))

    page.get_by_role("button", name="critical 2,000").click()
    expect(rows.first).to_contain_text("critical")
    expect(region.get_by_role("table")).to_have_attribute("aria-rowcount", "2001")
    page.get_by_label("Find a conversation").fill("thr_0999")
    expect(rows).to_have_count(2)
    expect(page).to_have_url(
        f"{site.url}/runs/{run}?only=correctness.CRITICAL&q=thr_0999&sort=thread_id"
    )
    page.reload()
    expect(rows).to_have_count(2)
    page.get_by_label("Find a conversation").fill("")
    page.get_by_role("button", name="Took").click()
    page.get_by_role("button", name="Took").click()
    expect(rows.first).to_contain_text("thr_09998")


def test_next_follows_the_list_and_back_returns_to_the_row(
    site: Site, run: str, page: Page
) -> None:
    page.goto(f"{site.url}/runs/{run}?only=correctness.CRITICAL&sort=duration_ms&down=1")
    region = page.get_by_role("region", name="Conversations")
    expect(region.get_by_role("table")).to_have_attribute("aria-rowcount", "2001")
    region.evaluate("each => { each.scrollTop = each.scrollHeight / 2 }")
    row = region.get_by_role("link", name="thr_04998")  # the 1,001st
    row.click()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("thr_04998")
    expect(page.get_by_text("Conversation 1,001 of 2,000")).to_be_visible()

    page.go_back()
    expect(row).to_be_focused()
    expect(row).to_be_in_viewport()

    row.press("Enter")
    expect(heading).to_have_text("thr_04998")
    page.keyboard.press("j")
    expect(heading).to_have_text("thr_04993")
    page.keyboard.press("j")
    expect(heading).to_have_text("thr_04988")
    page.keyboard.press("k")
    expect(heading).to_have_text("thr_04993")
    page.keyboard.press("u")
    expect(page).to_have_url(
        f"{site.url}/runs/{run}?only=correctness.CRITICAL&sort=duration_ms&down=1"
    )
    row = region.get_by_role("link", name="thr_04993")
    expect(row).to_be_focused()
    expect(page.get_by_role("heading", name="Correctness")).to_be_attached()
    expect(row).to_be_in_viewport()
    main = page.get_by_role("navigation", name="Main")
    main.get_by_role("link", name="Runs").click()
    page.get_by_role("region", name="Runs").get_by_role("link").first.click()
    expect(region.get_by_role("link", name="thr_00088")).to_be_visible()
    assert page.evaluate("scrollY") == 0


def test_a_table_at_rest_is_drawn_no_more_often_than_ages_change(
    site: Site, run: str, page: Page
) -> None:
    page.goto(f"{site.url}/runs/{run}")
    region = page.get_by_role("region", name="Conversations")
    expect(region.get_by_role("link", name="thr_00088")).to_be_visible()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="Correctness")).to_be_visible()
    frames = page.evaluate("""() => new Promise((resolve) => {
        const request = window.requestAnimationFrame;
        let frames = 0;
        window.requestAnimationFrame = (draw) => { frames += 1; return request(draw); };
        setTimeout(() => resolve(frames), 5_000);
    })""")
    assert frames <= 15  # about one per second, and a few for the last data


def test_nothing_stays_of_the_rows_that_were_shown(site: Site, run: str, page: Page) -> None:
    """Nor a comment: lit-html 3.3.1 to 3.3.3 leave one for each removed row."""
    page.goto(f"{site.url}/runs/{run}?sort=thread_id")
    region = page.get_by_role("region", name="Conversations")
    rows = region.locator("tbody tr:not(.spacer)")
    expect(rows.first).to_contain_text("thr_00001")
    nodes = "each => each.querySelector('tbody').childNodes.length"
    before = region.evaluate(nodes)
    for _ in range(5):
        region.evaluate("each => { each.scrollTop = each.scrollHeight }")
        expect(rows.last).to_contain_text("thr_10000")
        region.evaluate("each => { each.scrollTop = 0 }")
        expect(rows.first).to_contain_text("thr_00001")
    assert region.evaluate(nodes) <= before + 10


OLD_JOBS = """
    SELECT evalqueue_submit_jobs(jsonb_agg(jsonb_build_object('job_type', 'evaluate-batch',
        'params', jsonb_build_object('total_items', 3, 'name', 'night ' || n))))
    FROM generate_series(1, 300) AS n
"""
COUNT_DATES = """
    window.formatted = 0;
    const get = Object.getOwnPropertyDescriptor(Intl.DateTimeFormat.prototype, "format").get;
    Object.defineProperty(Intl.DateTimeFormat.prototype, "format", {
        configurable: true,
        get() { window.formatted += 1; return get.call(this); },
    });
"""


def test_rows_of_jobs_are_drawn_again_only_if_they_have_changed(site: Site, page: Page) -> None:
    """Each drawing of a row formats its date."""
    site.api()
    site.execute(OLD_JOBS)
    site.execute("UPDATE jobs SET created_at = created_at - interval '3 days'")
    page.add_init_script(COUNT_DATES)
    page.goto(site.url)
    rows = page.get_by_role("region", name="Jobs").locator("tbody tr")
    for listed in (200, 300):
        page.get_by_role("button", name="Show more").click()
        expect(rows).to_have_count(listed)
    page.evaluate("window.formatted = 0")
    page.wait_for_timeout(3_000)
    assert page.evaluate("window.formatted") < 100
