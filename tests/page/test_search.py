"""Words that are searched for are marked, in the list and in the conversation; text stays text."""

import json

import pytest
from browsing import Site
from playwright.sync_api import Page, expect

HEBREW = "שלום, החשבון שלך הוא 20 אירו"
SAID = {
    "plain": ("Where is my bill?", "Your **bill of May** is 20 euro. Bill 7 is paid."),
    "rtl": ("מה החשבון?", HEBREW),
    "marks": ("Cafe\u0301 or cafe?", "किताब"),
    "regex": ("What is (a+)+$ [x]?", "<img src=x onerror=\"document.title='owned'\"> .* means all"),
    "table": ("Prices?", "| Plan | Price |\n|---|---|\n| **Basic** | 20 euro |"),
    "long": ("Hm?", "word " * 60 + "needle " + "word " * 60),
}


@pytest.fixture(scope="module")
def run(full_site: Site) -> str:
    file = "\n".join(
        json.dumps({"id": name, "messages": [
            {"role": "user", "content": asked}, {"role": "assistant", "content": answered},
        ]})
        for name, (asked, answered) in SAID.items()
    )  # fmt: skip
    with full_site.http() as http:
        files = {"file": ("a.jsonl", file.encode())}
        dataset = http.post("/api/datasets", files=files).json()
    return full_site.finish(
        "evaluate-batch", dataset_id=dataset["id"], app_id="kaira-bot",
        evaluators=["correctness"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "thread", "listed", "marked"),
    [
        ("BILL", "plain", ["bill"], ["bill", "bill", "Bill"]),
        ("bill of may", "plain", ["bill of May"], ["bill of May"]),
        ("is 20", "plain", ["is 20"], ["is 20"]),
        ("May** is", "plain", ["May** is"], ["May is"]),
        ("החשבון", "rtl", ["החשבון"], ["החשבון", "החשבון"]),
        ("cafe", "marks", ["cafe"], ["cafe"]),
        ("CAF\u00e9 or", "marks", ["Caf\u00e9 or"], ["Cafe\u0301 or"]),
        ("cafe\u0301", "marks", ["Caf\u00e9"], ["Cafe\u0301"]),
        ("क", "marks", ["कि"], ["कि"]),
        ("(a+)+$ [x]", "regex", ["(a+)+$ [x]"], ["(a+)+$ [x]"]),
        (".*", "regex", [".*"], [".*"]),
        ("<img src=x", "regex", ["<img src=x"], ["<img src=x"]),
        ("basic", "table", ["Basic"], ["Basic"]),
        ("needle", "long", ["needle"], ["needle"]),
    ],
)
def test_they_are_marked_in_the_list_and_in_the_conversation(
    full_site: Site, page: Page, run: str, words: str, thread: str, listed: list[str],
    marked: list[str],
) -> None:  # fmt: skip
    page.goto(f"{full_site.url}/runs/{run}")
    rows = page.get_by_role("region", name="Conversations").locator("tbody tr:not(.spacer)")
    expect(rows).to_have_count(len(SAID))
    page.get_by_label("Find a conversation").fill(words)
    expect(rows).to_have_count(1)
    excerpt = rows.first.locator(".excerpt")
    assert excerpt.locator("mark.found").all_text_contents() == listed
    expect(excerpt.locator("mark.found").first).to_be_in_viewport()
    mark = excerpt.locator("mark.found").first
    assert mark.evaluate(
        "each => [each, each.closest('.excerpt')].map((it) => it.getBoundingClientRect())"
        ".reduce((inner, outer) => inner.left >= outer.left && inner.right <= outer.right)"
    ), "it is not cut off"
    box = excerpt.bounding_box() or {"y": 0, "height": 0}
    row = rows.first.bounding_box() or {"y": 0, "height": 0}
    assert 0 < box["y"] + box["height"] <= row["y"] + row["height"] + 1
    rows.first.get_by_role("link", name=thread).click()
    found = page.locator(".turn mark.found")
    expect(found.first).to_be_in_viewport()
    assert found.all_text_contents() == marked
    assert page.title() != "owned"
    assert page.locator(".turn img").count() == 0
    page.reload()
    expect(found.first).to_be_in_viewport()
    page.keyboard.press("u")
    expect(page.get_by_label("Find a conversation")).to_have_value(words)


def test_words_in_a_quote_of_the_judge_are_marked_in_it(full_site: Site, page: Page) -> None:
    run = full_site.finish("evaluate-batch", total_items=6)
    with full_site.http() as http:
        threads = http.get(f"/api/eval-runs/{run}/threads").json()["evaluations"]
    quotes = [
        (each["id"], evidence["quote"])
        for each in threads
        for evaluation in each["result"]["correctness_evaluations"]
        for evidence in evaluation.get("evidence") or ()
        if evidence.get("in_transcript") and " " in evidence["quote"].strip()
    ]
    key, quote = quotes[0]
    word = max(quote.split(), key=len)
    page.goto(f"{full_site.url}/runs/{run}/threads/{key}?q={word}")
    expect(page.locator(".turn mark.found.quote, .turn mark.quote.found").first).to_be_visible()
    expect(page.locator(".turn mark.quote").first).to_be_visible()
