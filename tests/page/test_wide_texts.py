"""Tables, long words and other scripts in conversations, on narrow and wide screens."""

import csv
import io

import pytest
from browsing import Site
from playwright.sync_api import Page, expect

NUTRITION = """Here is your lunch:

| Food | Quantity | Calories | Protein | Carbohydrates | Fat |
|---|---|---|---|---|---|
| Grilled chicken breast | 150 grams | 248 kcal | 46.5 g | 0 g | 5.4 g |
| Steamed basmati rice | 1 cup | 205 kcal | 4.3 g | 44.5 g | 0.4 g |

Total calories: 453 kcal"""
COLUMNS = 30
WIDE = "\n".join([
    "|" + "|".join(f"Measurement {n}" for n in range(COLUMNS)) + "|",
    "|" + "---|" * COLUMNS,
    "|" + "|".join(f"{n} kilocalories" for n in range(COLUMNS)) + "|",
])  # fmt: skip
TEXTS = {
    "nutrition": NUTRITION,
    "wide": WIDE,
    "long word": "x" * 400,
    "Arabic": "| الطعام | السعرات الحرارية |\n|---|---|\n| دجاج مشوي | ٢٤٨ سعرة |",
    "Hindi": "| भोजन | कैलोरी |\n|---|---|\n| ग्रिल्ड चिकन | २४८ किलोकैलोरी |",
}
BROKEN_WORDS = """() => [...document.querySelectorAll(".bubble td, .bubble th")].flatMap((cell) => {
    const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    const broken = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        for (const { 0: word, index } of node.data.matchAll(/\\S+/g)) {
            const range = document.createRange();
            range.setStart(node, index);
            range.setEnd(node, index + word.length);
            const lines = new Set([...range.getClientRects()].map(({ top }) => Math.round(top)));
            if (lines.size > 1) broken.push(word);
        }
    }
    return broken;
})"""
OUTSIDE = """() => {
    const column = document.querySelector(".turn").parentElement.getBoundingClientRect();
    return [...document.querySelectorAll(".bubble")]
        .map((bubble) => bubble.getBoundingClientRect())
        .filter(({ left, right }) => left < column.left - 1 || right > column.right + 1).length;
}"""


@pytest.fixture
def thread(up: Site, page: Page) -> Page:
    """The page of a conversation with all of the texts."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["thread_id", "query_text", "final_response_message", "timestamp"])
    for minute, (name, text) in enumerate(TEXTS.items()):
        writer.writerow(["t", f"{name}: {text[:300]}", text, f"2025-01-15T10:{minute:02}:00Z"])
    run = up.finish("evaluate-batch", csv_content=file.getvalue())
    page.goto(f"{up.url}/runs/{run}")
    page.get_by_role("region", name="Conversations").get_by_role("link").first.click()
    expect(page.locator(".bubble.bot")).to_have_count(len(TEXTS))
    return page


def test_tables_scroll_in_their_own_box_and_keep_their_words_whole(thread: Page) -> None:
    for width in (320, 768, 1280, 1920):
        thread.set_viewport_size({"width": width, "height": 900})
        seen = {
            "broken words": thread.evaluate(BROKEN_WORDS),
            "too wide": thread.evaluate("document.documentElement.scrollWidth > innerWidth"),
            "outside of their column": thread.evaluate(OUTSIDE),
        }
        nothing = {"broken words": [], "too wide": False, "outside of their column": 0}
        assert seen == nothing, width
