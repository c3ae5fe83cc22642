"""Ten thousand conversations, and only those that can be seen are in the document."""

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


def test_ten_thousand_conversations(site: Site, page: Page) -> None:
    site.judge()
    site.api()
    run = site.submit(total_items=1)["run_id"]
    site.execute(FILL, run, THREADS)
    page.goto(f"{site.url}/runs/{run}")
    region = page.get_by_role("region", name="Conversations")
    rows = region.locator("tbody tr:not(.spacer)")
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
    expect(page).to_have_url(f"{site.url}/runs/{run}?only=CRITICAL&q=thr_0999")
    page.reload()
    expect(rows).to_have_count(2)
    page.get_by_label("Find a conversation").fill("")
    page.get_by_role("button", name="Took").click()
    page.get_by_role("button", name="Took").click()
    expect(rows.first).to_contain_text("thr_09998")
