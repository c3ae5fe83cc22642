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
    "messages": [
        {"role": "system", "content": "You are an airline's agent. <b>Be short.</b>"},
        {"role": "user", "content": "Cancel booking X1"},
        {"role": "assistant", "content": None, "tool_calls": CALLS},
        {"role": "tool", "tool_call_id": "k1", "content": '{"status": "active"}'},
        {"role": "assistant", "content": "Your booking is cancelled.", "expected": "It is gone."},
        {"role": "user", "content": "Thanks"},
        {"role": "assistant", "content": "You are welcome."},
    ],
}


def test_what_stood_behind_an_answer_is_folded_and_counted(up: Site, page: Page) -> None:
    with up.http() as http:
        file = {"file": ("agent.jsonl", json.dumps(CONVERSATION).encode())}
        dataset = http.post("/api/datasets", files=file).raise_for_status().json()
    run_id = up.finish("evaluate-batch", dataset_id=dataset["id"])
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
    first.get_by_text("Instructions (system prompt)").click()
    expect(first.get_by_text("<b>Be short.</b>")).to_be_visible()
    first.get_by_text("Expected answer", exact=True).click()
    expect(first.get_by_text("It is gone.")).to_be_visible()
    expect(second.locator(".behind")).to_have_count(0)
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0

    (said, _) = detail["turns"]
    assert said["timestamp"] is None
    assert said["expected"] == "It is gone."
    expect(page.locator(".turn time")).to_have_count(0)
    assert [call["name"] for call in said["tool_calls"]] == ["get_booking", "cancel_booking"]
    assert said["tool_calls"][0]["result"] == '{"status": "active"}'
