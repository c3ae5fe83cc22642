"""Unknown figures are shown as unknown, not as zero."""

import re

from browsing import Site
from playwright.sync_api import Page, expect


def test_tokens_that_no_endpoint_counted_are_not_zero(up: Site, page: Page) -> None:
    """Some OpenAI-compatible servers return no token counts."""
    run = up.finish("evaluate-batch", total_items=2)
    up.execute("UPDATE api_logs SET tokens_in = NULL, tokens_out = NULL WHERE run_id = %s", run)

    page.goto(f"{up.url}/runs/{run}")
    expect(page.get_by_text("No call reported its tokens.")).to_be_visible()
    page.get_by_role("region", name="Conversations").locator("tbody a").first.click()
    expect(page.get_by_text(re.compile(r"\d+ calls?, – tokens in, – out"))).to_be_visible()


def test_a_conversation_of_which_nothing_was_found_has_no_made_up_numbers(
    up: Site, page: Page
) -> None:
    run = up.finish("evaluate-batch", total_items=1)
    up.execute(
        "UPDATE thread_evaluations SET error = 'it is gone', result = '{}', intent_accuracy = NULL,"
        " worst_correctness = NULL, efficiency_verdict = NULL, success_status = NULL"
        " WHERE run_id = %s",
        run,
    )
    page.goto(f"{up.url}/runs/{run}")
    page.get_by_role("region", name="Conversations").locator("tbody a").first.click()

    expect(page.get_by_text("it is gone").first).to_be_visible()
    expect(page.locator("main")).not_to_contain_text("undefined")
    expect(page.locator(".page-head")).not_to_contain_text("message")
