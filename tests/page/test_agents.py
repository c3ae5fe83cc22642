"""A conversation of an agent: its instructions, context and tool calls are shown, folded."""

import json

from browsing import Site
from playwright.sync_api import Page, expect

CALLS = [
    {
        "id": "k1", "type": "function",
        "function": {"name": "get_booking", "arguments": json.dumps({"id": "X1" * 90})},
    },
    {
        "id": "k2", "type": "function",
        "function": {"name": "cancel_booking", "arguments": '{"id": "X1"}'},
    },
]  # fmt: skip
CONVERSATION = {
    "id": "agent-1",
    "tools": [{"type": "function", "function": {"name": "get_booking"}}],
    "expected_tool_calls": [{"name": "cancel_booking", "arguments": {"id": "X2"}}],
    "messages": [
        {"role": "system", "content": "You are an airline's agent. <b>Be short.</b>"},
        {"role": "user", "content": "Cancel booking X1"},
        {"role": "assistant", "content": None, "tool_calls": CALLS},
        {"role": "tool", "tool_call_id": "k1", "content": '{"status": "active"}'},
        {
            "role": "assistant",
            "content": "Your booking is cancelled.",
            "expected": "It is gone.",
            "alternative": "I can't find it.",
        },
        {"role": "user", "content": "Thanks"},
        {"role": "assistant", "content": "You are welcome."},
    ],
}


def test_what_stood_behind_an_answer_is_folded_and_counted(up: Site, page: Page) -> None:
    with up.http() as http:
        file = {"file": ("agent.jsonl", json.dumps(CONVERSATION).encode())}
        dataset = http.post("/api/datasets", files=file).raise_for_status().json()
    run_id = up.finish(
        "evaluate-batch", dataset_id=dataset["id"], evaluators=["intent", "trajectory"]
    )
    with up.http() as http:
        (thread,) = http.get(f"/api/eval-runs/{run_id}/threads").json()["evaluations"]
        detail = http.get(f"/api/eval-runs/{run_id}/threads/{thread['id']}").json()
    page.goto(f"{up.url}/runs/{run_id}/threads/{thread['id']}")
    expect(page.locator(".turn")).to_have_count(2)
    first, second = page.locator(".turn").all()

    calls = first.locator("details", has_text="2 tool calls: get_booking, cancel_booking")
    expect(calls.get_by_label("Arguments of cancel_booking")).not_to_be_visible()
    calls.locator("summary").click()
    expect(calls.get_by_label("Arguments of cancel_booking")).to_have_text('{\n  "id": "X1"\n}')
    expect(calls.get_by_label("Result of get_booking")).to_have_text('{\n  "status": "active"\n}')
    expect(calls.get_by_text("Its result was not recorded")).to_be_visible()
    wanted = first.locator("details", has_text="Expected 1 tool call: cancel_booking")
    wanted.locator("summary").click()
    wanted_arguments = wanted.get_by_label("Expected arguments of cancel_booking")
    expect(wanted_arguments).to_have_text('{\n  "id": "X2"\n}')
    expect(first.get_by_text("Tools that the bot could call")).to_be_visible()
    expect(page.get_by_text("Expected tool calls made").first).to_be_visible()
    expect(page.get_by_text("0 of 1 expected calls were made, of 2 in all")).to_be_visible()
    first.get_by_text("Instructions (system prompt)").click()
    expect(first.get_by_text("<b>Be short.</b>")).to_be_visible()
    first.get_by_text("Expected answer", exact=True).click()
    expect(first.get_by_text("It is gone.")).to_be_visible()
    bubbles = first.locator(".bubble.bot")
    expect(bubbles.locator(".who")).to_have_text(["First answer: Bot", "Second answer"])
    expect(bubbles.nth(1)).to_contain_text("I can't find it.")
    expect(second.locator(".bubble.bot .who")).to_have_text("Bot")
    expect(second.locator(".behind")).to_have_count(0)
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0

    scores = {each["name"]: each for each in detail["scores"] if each["evaluator"] == "trajectory"}
    assert {name: each["value"] for name, each in scores.items()} == {
        "matched": False, "missing": 1, "extra": 2,
    }  # fmt: skip
    assert [each["turn"] for each in scores["extra"]["evidence"]] == [1, 1]
    with up.http() as http:
        logs = http.get(f"/api/eval-runs/{run_id}/logs").json()["logs"]
    assert "trajectory" not in {each["evaluator"] for each in logs}
    (said, _) = detail["turns"]
    assert said["expected_tool_calls"][0]["name"] == "cancel_booking"
    assert said["timestamp"] is None
    assert said["expected"] == "It is gone."
    expect(page.locator(".turn time")).to_have_count(0)
    assert [call["name"] for call in said["tool_calls"]] == ["get_booking", "cancel_booking"]
    assert said["tool_calls"][0]["result"] == '{"status": "active"}'
