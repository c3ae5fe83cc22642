"""The whole path: from dropping a file to the evidence that a judge quotes."""

import csv
import json
import re
from pathlib import Path

from browsing import PageErrors, Site
from playwright.sync_api import Page, expect

from evalqueue.evaluators.simulated.conversations import kaira_csv, sample_csv


def choose_file(page: Page, path: Path) -> None:
    page.locator("#file").set_input_files(path)


def drop_file(page: Page, path: Path) -> None:
    """Drop a file, with the browser's own events."""
    data = page.evaluate_handle(
        """([name, text]) => {
            const carried = new DataTransfer();
            carried.items.add(new File([text], name, { type: "text/csv" }));
            return carried;
        }""",
        [path.name, path.read_text("utf-8")],
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": data})


def test_from_drop_to_drill_down(up: Site, page: Page) -> None:
    page.goto(up.url)
    expect(page.get_by_role("heading", name="No jobs yet")).to_be_visible()
    page.get_by_role("link", name="New evaluation").last.click()

    drop_file(page, kaira_csv())
    preview = page.get_by_role("region", name="Preview")
    expect(preview).to_contain_text("48, ")
    calls = page.locator("#calls")
    expect(calls).to_have_text(re.compile(r"^\d+ LLM calls$"))
    all_calls = int((calls.text_content() or "").split()[0])
    page.get_by_label("A sample: the same one each time").check()
    page.get_by_label("How many").fill("6")
    expect(page.get_by_role("status").filter(has_text="for 6 conversations")).to_be_visible()
    assert int((calls.text_content() or "").split()[0]) < all_calls

    page.get_by_role("button", name="Start the evaluation").click()
    expect(page).to_have_url(re.compile(r"/runs/[0-9a-f-]{36}$"))
    expect(page.get_by_text("simulated judge")).to_be_visible()
    expect(page.locator("main .badge").first).to_have_text("completed")
    rows = page.get_by_role("region", name="Conversations").locator("tbody tr:not(.spacer)")
    expect(rows).to_have_count(6)
    expect(page.get_by_role("heading", name="Correctness")).to_be_visible()
    expect(page.get_by_role("region", name="Confusion matrix: Intent")).to_be_visible()

    rows.first.get_by_role("link").click()
    expect(page).to_have_url(re.compile(r"/threads/\d+$"))
    expect(page.locator(".turn").first).to_be_visible()
    expect(page.locator("mark").first).to_be_visible()
    quote = page.locator("button.link").first
    for details in page.locator(".turn details").all():
        details.evaluate("each => { each.open = true }")
    quote.click()
    expect(page.locator("mark.active").first).to_be_visible()
    call = page.locator("aside li details").first
    call.locator("summary").click()
    expect(call.get_by_role("heading", name="Prompt", exact=True)).to_be_visible()
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile(r"/threads/\d+$"))
    page.keyboard.press("u")
    expect(page).to_have_url(re.compile(r"/runs/[0-9a-f-]{36}$"))


def test_conversations_are_found_by_their_words_and_by_cells_of_the_matrix(
    up: Site, page: Page
) -> None:
    run = up.finish("evaluate-batch", total_items=6)
    page.goto(f"{up.url}/runs/{run}")
    rows = page.get_by_role("region", name="Conversations").locator("tbody tr:not(.spacer)")
    expect(rows).to_have_count(6)

    matrix = page.get_by_role("region", name="Confusion matrix: Intent")
    cell = matrix.locator("td a").first
    cell_title = matrix.locator("td:has(a)").first.get_attribute("title") or ""
    cell.click()
    on_record, judged = re.split(" → |: ", cell_title)[:2]
    filter_chip = page.get_by_role("button", name=f"judged {judged}, on record {on_record}")
    expect(filter_chip).to_have_attribute("aria-pressed", "true")
    expect(filter_chip).to_contain_text(re.compile(r"[1-6]\s*$"))
    expect(rows).to_have_count(int((filter_chip.text_content() or "").split()[-1]))
    filter_chip.click()
    expect(rows).to_have_count(6)
    find = page.get_by_label("Find a conversation")
    find.fill("words that nobody says")
    expect(page.get_by_text("No conversation matches this filter.")).to_be_visible()
    find.fill("")
    expect(rows).to_have_count(6)
    opening = rows.first.get_by_role("link")
    opening_id = opening.text_content() or ""
    opening.click()
    words = (page.locator(".bubble.user [translate]").first.text_content() or "").strip()[:30]
    page.go_back()
    find.fill(words.upper())
    expect(rows.get_by_role("link", name=opening_id)).to_be_visible()
    page.reload()
    expect(find).to_have_value(words.upper())
    expect(rows.get_by_role("link", name=opening_id)).to_be_visible()
    find.fill("")
    expect(rows).to_have_count(6)


def test_every_bad_row_is_shown_and_nothing_is_stored(
    up: Site, page: Page, tmp_path: Path, page_errors: PageErrors
) -> None:
    page_errors.allow("422")
    lines = sample_csv().read_text("utf-8").splitlines()
    header = next(csv.reader(lines))
    bad = dict.fromkeys(header, "x") | {"timestamp": "yesterday", "has_image": "maybe"}
    path = tmp_path / "bad.csv"
    path.write_text("\n".join([*lines, *[",".join(bad.values())] * 3]) + "\n")
    page.goto(f"{up.url}/new")
    choose_file(page, path)
    faults = page.locator("#bad-rows tbody tr")
    expect(faults).to_have_count(6)
    expect(faults.first).to_contain_text("timestamp")
    expect(faults.first).to_contain_text("yesterday")
    with up.http() as http:
        assert http.get("/api/datasets").json() == []


def test_other_headers_are_mapped(up: Site, page: Page, tmp_path: Path) -> None:
    text = sample_csv().read_text("utf-8")
    header, rest = text.split("\n", 1)
    renamed = header.replace("thread_id", "Conversation").replace("query_text", "Question")
    path = tmp_path / "export.csv"
    path.write_text(f"{renamed}\n{rest}")
    page.goto(f"{up.url}/new")
    choose_file(page, path)
    go_on = page.get_by_role("button", name="Go on")
    page.locator("#column-thread_id").select_option("")
    expect(go_on).to_be_disabled()
    page.locator("#column-thread_id").select_option("Conversation")
    page.locator("#column-query_text").select_option("Question")
    go_on.click()
    expect(page.get_by_role("region", name="Preview")).to_be_visible()
    with up.http() as http:
        (dataset,) = http.get("/api/datasets").json()
    assert dataset["mapping"]["thread_id"] == "Conversation"


def test_the_order_of_dates_is_asked_for_and_personal_data_masked(
    up: Site, page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "dates.csv"
    path.write_text(
        "conversation_id,user,question,answer,created_at\n"
        "c1,u1,first,ok,1/2/2025 10:00\nc1,u1,I am ann@example.org,ok,2/1/2025 10:00\n"
    )
    page.goto(f"{up.url}/new")
    page.get_by_role("checkbox", name="emails").check()
    page.get_by_label("Names to mask").fill("First\nElse Name")
    choose_file(page, path)
    go_on = page.get_by_role("button", name="Go on")
    expect(page.locator("#column-intent_detected")).to_have_value("")
    expect(page.locator("#column-intent_detected")).to_contain_text("not in my file")
    expect(go_on).to_be_disabled()
    page.locator("#column-user_id").select_option(label="not in my file")
    page.locator("#date-order").select_option("month-first")
    go_on.click()
    expect(page.locator("#notices")).to_contain_text(
        "Masked before it was stored: 2 values (emails, names)"
    )
    with up.http() as http:
        (dataset,) = http.get("/api/datasets").json()
        threads = http.get(f"/api/datasets/{dataset['id']}/threads").json()["threads"]
    assert [(each["opening"], each["user_id"]) for each in threads] == [("[name]", "unknown")]


def test_conversations_as_chat_messages(up: Site, page: Page, tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    conversation = {
        "id": "c1",
        "messages": [
            {"role": "user", "content": "I had two idlis at 8"},
            {"role": "assistant", "content": "Logged: two idlis, 120 kcal"},
        ],
    }
    path.write_text(json.dumps(conversation) + "\n")
    page.goto(f"{up.url}/new")
    choose_file(page, path)
    expect(page.get_by_role("region", name="Preview")).to_contain_text("1, 1 message of 1 user")


def test_conversations_are_chosen_one_by_one(up: Site, page: Page) -> None:
    page.goto(f"{up.url}/new")
    choose_file(page, kaira_csv())
    start = page.get_by_role("button", name="Start the evaluation")
    expect(start).to_be_enabled()
    page.get_by_label("Some, chosen one by one").check()
    expect(page.get_by_text("No conversation is chosen.")).to_be_visible()
    expect(start).to_be_disabled()
    page.get_by_label("Find conversations").fill("thr_0020")
    page.get_by_label("thr_0020").check()
    page.get_by_label("Find conversations").fill("")
    page.get_by_label("thr_0003").check()
    expect(page.get_by_text("2 conversations chosen")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="for 2 conversations")).to_be_visible()
    start.click()
    rows = page.get_by_role("region", name="Conversations").locator("tbody tr:not(.spacer)")
    expect(rows).to_have_count(2)
    expect(page.locator("main .badge").first).to_have_text("completed")

    # What is evaluated is not evaluated again, if that is wished.
    dataset = page.request.get(f"{up.url}/api/datasets").json()[0]["id"]
    page.goto(f"{up.url}/new?dataset={dataset}")
    page.get_by_text("Tokens, and what earlier runs have").click()
    page.get_by_label("Leave out conversations that are evaluated").check()
    expect(page.get_by_role("status").filter(has_text="2 conversations left out")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="for 46 conversations")).to_be_visible()


def test_keys_are_listed(up: Site, page: Page) -> None:
    page.goto(up.url)
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("n")
    expect(page.get_by_role("heading", name="New evaluation", exact=True)).to_be_visible()


def test_the_bundled_conversations_need_no_file(up: Site, page: Page) -> None:
    page.goto(f"{up.url}/new")
    page.get_by_role("button", name="Take the bundled ones").click()
    expect(page.locator("#calls")).to_be_visible()
    page.get_by_role("button", name="Start the evaluation").click()
    expect(page).to_have_url(re.compile(r"/runs/"))
