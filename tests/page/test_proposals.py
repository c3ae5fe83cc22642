"""An app is drafted from a dataset on the page, with what a judge proposes."""

import json
import re
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
from browsing import Site
from playwright.sync_api import Page, expect

CSV = (
    "thread_id,query_text,final_response_message,timestamp,intent_detected\n"
    "t1,my bill is too high,It is 20 euro.,2026-01-01T10:00:00Z,Billing\n"
)
PROPOSED = {
    "about": "Support of a telephone company.", "languages": ["en"],
    "intents": [{"name": "Billing", "description": "About money.", "examples": []}],
    "rules": [], "catalogue": ["resolution", "no_such_evaluator"], "criteria": [],
}  # fmt: skip


class Judge(BaseHTTPRequestHandler):
    """An endpoint of the OpenAI API with one answer to everything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": json.dumps(PROPOSED)}
        answer = {
            "id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-4o",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100},
        }  # fmt: skip
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def judge() -> Generator[dict[str, str]]:
    """The variables of processes that ask it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Judge) as server:
        Thread(target=server.serve_forever).start()
        yield {
            "OPENAI_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1",
            "OPENAI_API_KEY": "sk-test",
            "EVALQUEUE_LLM_MODEL": "gpt-4o",
        }
        server.shutdown()


def added(site: Site) -> str:
    reply = httpx.post(
        f"{site.url}/api/datasets", files={"file": ("calls.csv", CSV)}, trust_env=False
    )
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def test_what_a_judge_proposes_is_marked_in_the_text(
    site: Site, page: Page, judge: dict[str, str]
) -> None:
    site.environment |= judge
    site.worker()
    site.api()
    page.goto(f"{site.url}/new-app?dataset={added(site)}")
    proposals = page.get_by_role("region", name="Proposals")
    proposals.get_by_role("button", name="Propose by a judge").click()
    expect(proposals.get_by_role("status")).to_contain_text(re.compile(r"\d proposals"))
    expect(proposals.get_by_role("status")).to_contain_text("no_such_evaluator")
    text = page.get_by_role("textbox", name="Document")
    expect(text).to_have_value(re.compile("# proposed by openai/gpt-4o: check before use"))
    expect(text).to_have_value(re.compile("Support of a telephone company"))
    expect(page.get_by_text("Valid.")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="calls")).to_be_visible()


def test_without_a_judge_the_draft_stays_and_says_why(site: Site, page: Page) -> None:
    site.start_vendor()
    site.worker()
    site.api()
    page.goto(f"{site.url}/new-app?dataset={added(site)}")
    proposals = page.get_by_role("region", name="Proposals")
    proposals.get_by_role("button", name="Propose by a judge").click()
    expect(proposals.get_by_role("status")).to_contain_text("no key is set")
    expect(page.get_by_text("Valid.")).to_be_visible()
