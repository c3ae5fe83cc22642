"""Whether a chatbot can be reached, before it is tested: by a worker, over a real connection."""

import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.cli.conftest import Shell

CREDENTIALS = {
    name: {"user_id": name, "token": f"token-of-{name}", "host": "localhost"}
    for name in ("anna", "ben")
}
SECRET = "the salary of Mrs. Miller"


class Answering(BaseHTTPRequestHandler):
    """Answers every request in the same way, with a text that is for a few people only."""

    status = 403
    body = json.dumps({"error": SECRET, "text": SECRET}).encode()

    def do_POST(self) -> None:
        self.server.asked.append(self.path)  # pyright: ignore[reportAttributeAccessIssue]
        self.send_response(type(self).status)
        if type(self).status == 302:
            self.send_header("Location", f"/{SECRET}")
        self.send_header("Content-Length", str(len(type(self).body)))
        self.end_headers()
        self.wfile.write(type(self).body)

    def log_message(self, *args: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Nothing is printed."""


@pytest.fixture
def refusing() -> Generator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.asked = []  # pyright: ignore[reportAttributeAccessIssue]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def url_of(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


async def reached(
    shell: Shell, worker: dict[str, str] | None = None, **chatbot: Any
) -> dict[str, Any]:
    """The job of a check, once a worker has done it."""
    params = json.dumps({"chatbot": chatbot})
    submitted = await shell.run("submit", "reach-chatbot", "--params", params, "--json")
    assert submitted.exit_code == 0, submitted.err
    await shell.run("worker", "--one-shot", **(worker or {}))
    return (await shell.run("status", submitted.json["id"], "--json")).json


async def test_a_worker_greets_the_chatbot_once_with_each_credential(shell: Shell) -> None:
    bot = await shell.start("simulate-bot", "--port", "0")
    output = await bot.until("simulated Kaira on ", "out")
    worker = {
        "EVALQUEUE_CHATBOT_URL": output.split()[-1],
        "EVALQUEUE_CHATBOT_CREDENTIALS": json.dumps(CREDENTIALS),
    }

    job = await reached(shell, worker, credentials=["ben", "anna"])

    assert job["status"] == "completed"
    found = job["result"]["credentials"]
    assert [each["credential"] for each in found] == ["ben", "anna"]
    assert all(each["reached"] and each["answered_ms"] > 0 for each in found)
    assert "token-of" not in json.dumps(job)


@pytest.mark.parametrize(
    ("status", "protocol", "reason"),
    [
        (403, "openai", "127.0.0.1 answers HTTP 403: check the credential"),
        (404, "openai", "127.0.0.1 answers HTTP 404: check the address"),
        (302, "kaira_v2", "127.0.0.1 answers HTTP 302: redirects are not followed"),
        (500, "kaira_v1", "127.0.0.1 answers HTTP 500"),
        (200, "openai", "127.0.0.1 does not answer as the protocol openai says"),
    ],
)
async def test_a_refusing_chatbot_is_not_quoted(
    shell: Shell, refusing: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch,
    status: int, protocol: str, reason: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(Answering, "status", status)
    credentials = {"anna": CREDENTIALS["anna"]}
    worker = {"EVALQUEUE_CHATBOT_CREDENTIALS": json.dumps(credentials)}

    job = await reached(
        shell, worker, url=url_of(refusing), protocol=protocol, model="m", credentials=["anna"]
    )

    assert job["status"] == "failed"
    assert job["error_message"] == f"The chatbot can't be tested: anna: {reason}"
    assert refusing.asked  # pyright: ignore[reportAttributeAccessIssue]
    assert SECRET not in json.dumps(job)


async def test_a_host_that_only_the_api_allows_is_not_called(
    shell: Shell, refusing: ThreadingHTTPServer
) -> None:
    elsewhere = {"EVALQUEUE_CHATBOT_HOSTS": "bot.example.com"}

    job = await reached(shell, elsewhere, url=url_of(refusing), protocol="openai", model="m")
    refused = await shell.run(
        "submit", "reach-chatbot", f"chatbot.url={url_of(refusing)}", **elsewhere
    )

    assert job["status"] == "failed"
    assert "EVALQUEUE_CHATBOT_HOSTS" in job["error_message"]
    assert refused.exit_code == 2
    assert refusing.asked == []  # pyright: ignore[reportAttributeAccessIssue]


async def test_where_nothing_listens_it_says_so(shell: Shell) -> None:
    job = await reached(shell, url="http://127.0.0.1:9", protocol="openai", model="m")

    assert "127.0.0.1 can't be reached" in job["error_message"]
