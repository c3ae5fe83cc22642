"""Text of users and bots is shown as text and never executed."""

import csv
from pathlib import Path

import pytest
from browsing import Site
from playwright.sync_api import Page, expect

CORPUS = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\"><svg onload=document.title='owned'>",
    "javascript:document.title='owned'",
    "<a href=\"javascript:document.title='owned'\">click</a>",
    "{{constructor.constructor('document.title=\"owned\"')()}}",
    "${document.title='owned'}",
    "<iframe srcdoc=\"<script>parent.document.title='owned'</script>\"></iframe>",
    "<style>*{display:none}</style>",
    "<!--lit--><?lit$123$?>",
    "</textarea><script>document.title='owned'</script>",
    "\u202egnp.exe",
    "| a | b |\n|---|---|\n| <img src=x onerror=alert(1)> | <b>x</b> |",
    "[x](javascript:document.title='owned')",
    "'; DROP TABLE jobs; --",
    "\x00\ud800 broken",
]  # fmt: skip
COLUMNS = [
    "thread_id", "user_id", "session_id", "response_id", "query_text", "final_response_message",
    "intent_detected", "intent_query_type", "timestamp", "has_image", "error_message",
]  # fmt: skip


@pytest.fixture
def hostile_csv(tmp_path: Path) -> Path:
    """A CSV with a conversation for each text, in all text columns."""
    path = tmp_path / "<img src=x onerror=alert(1)>.csv"
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, text in enumerate(CORPUS):
            answer = f"{text} total calories 200 kcal"
            writer.writerow(
                [f"{number} {text}", text, text, text, text, answer, text, text,
                 "2025-01-15T10:30:00Z", "0", text]
            )  # fmt: skip
    return path


def test_no_message_is_executed(up: Site, page: Page, hostile_csv: Path) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(f"{up.url}/new")
    page.locator("#file").set_input_files(hostile_csv)
    expect(page.get_by_role("region", name="Preview")).to_be_visible()
    page.get_by_label("The bot The usual").select_option(
        "kaira-bot"
    )  # none of the labels is one of its
    page.get_by_label("Name of the evaluation").fill(CORPUS[1])
    page.get_by_role("button", name="Start the evaluation").click()
    rows = page.get_by_role("region", name="Conversations").locator("tbody tr:not(.spacer)")
    expect(rows).to_have_count(len(CORPUS))
    expect(page.locator("main .badge").first).to_have_text("completed")
    assert page.title() != "owned"
    for row in range(len(CORPUS)):
        rows.nth(row).get_by_role("link").click()
        expect(page.locator(".turn").first).to_be_visible()
        for details in page.locator("details").all():
            details.evaluate("each => { each.open = true }")
        assert page.title() != "owned"
        assert (
            page.locator(
                ".bubble img, .bubble script, .bubble svg, .bubble iframe, .bubble a"
            ).count()
            == 0
        )
        page.go_back()
        expect(rows.nth(row).get_by_role("link")).to_be_focused()  # scrolling has ended
        expect(rows).to_have_count(len(CORPUS))
    for path in ("/", "/runs", "/datasets"):
        page.goto(f"{up.url}{path}")
        expect(page.locator("tbody tr").first).to_be_visible()
        assert page.title() != "owned"
        assert page.locator("main img, main script, main iframe").count() == 0
    assert dialogs == []
