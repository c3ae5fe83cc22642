"""Jobs that fail in many ways, with a marked key and marked texts: no process writes either."""

import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from browsing import Site, environment
from collector import Collector, collecting

KEY = "sk-marked-0123456789-secret"
PASSWORD = "marked%2Fpassword-of-postgres"
TEXT = "xyzzymark"
"""In every text of every conversation, file and param."""

MARKS = [KEY, PASSWORD, PASSWORD.replace("%2F", "/"), TEXT, TEXT.upper()]
STATUSES = [400, 401, 402, 403, 404, 413, 422, 451]
ANSWERS = ["echo", "not-json", "empty", "truncated", "filtered", "refused", "html", "odd-fields"]
MODELS = [*(f"status-{each}" for each in STATUSES), *ANSWERS]

HANDLERS = f"""
import logging

from pydantic import BaseModel

from evalqueue import JobFailed, JobParams, TryAgain, Handlers, register_job_handler
from evalqueue.context import current
from evalqueue.evaluators.providers.errors import CallOutcome, ProviderError


class Row(BaseModel):
    number: int


@register_job_handler("misbehave")
async def misbehave(job_id, params):
    context, text = current.get(), "{TEXT}"
    match params["how"]:
        case "fail":
            raise JobFailed(f"It said {{text}}", result={{"text": text}})
        case "again":
            raise TryAgain(f"It said {{text}}", after=0)
        case "no-json":
            return {{text: object()}}
        case "too-much":
            return {{"text": text * 200_000}}
        case "constraint":
            async with context.transaction() as connection:
                await connection.execute(
                    "INSERT INTO jobs (job_type, params) VALUES ('BAD TYPE', %s)",
                    ['{{"text": "{TEXT}"}}'])
        case "provider":
            raise ProviderError(CallOutcome.BAD_REQUEST, f"It said {{text}}", answer=text)
        case "progress":
            context.progress(1, 2, text, text=text)
            raise JobFailed("after progress")
        case "nul":
            raise JobFailed(text + chr(0) + chr(0xD800))
        case "validate":
            Row(number=text)
"""


class Vendor(BaseHTTPRequestHandler):
    """Answers with all that it was sent, by the model that is asked."""

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
        model = json.loads(sent)["model"]
        everything = f"{self.headers['Authorization']} {sent}"
        if model.startswith("status-"):
            error = {"message": everything, "type": everything, "code": everything[:60]}
            self.answer(int(model[7:]), json.dumps({"error": error}))
        elif model in ("not-json", "html"):
            self.answer(200, f"<html>{everything}")
        else:
            content = {"empty": "", "truncated": '{"a": "' + everything}.get(model, everything)
            reason = {"truncated": "length", "filtered": "content_filter"}.get(model, "stop")
            message = {"role": "assistant", "content": content}
            if model == "refused":
                message = {"role": "assistant", "content": None, "refusal": everything}
            choice = {"index": 0, "message": message, "finish_reason": reason}
            usage: dict[str, Any] = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
            if model == "odd-fields":
                usage = {"prompt_tokens": everything}
            answer = {"id": "x", "object": "chat.completion", "created": 1, "model": model}
            self.answer(200, json.dumps(answer | {"choices": [choice], "usage": usage}))

    def answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its base class's name
        pass


@contextmanager
def vendor() -> Generator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


CONVERSATION = {
    "thread_id": "one",
    "messages": [
        {"role": "user", "content": f"what did {TEXT} eat?"},
        {"role": "assistant", "content": f"{TEXT}: 2 apples"},
    ],
}


@pytest.fixture
def collector() -> Generator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(params=["text", "json"])
def site(
    request: pytest.FixtureRequest, dsn: str, tmp_path: Path, collector: Collector
) -> Generator[Site]:
    (tmp_path / "marked_handlers.py").write_text(HANDLERS)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/chats.jsonl").write_text(json.dumps(CONVERSATION))
    with vendor() as url:
        settings = {
            "DATABASE_URL": dsn.replace("@/", f":{PASSWORD}@/"),
            "EVALQUEUE_DATA_DIR": str(tmp_path / "data"),
            "EVALQUEUE_IMPORTS": "marked_handlers",
            "EVALQUEUE_LOG_FORMAT": request.param,
            "EVALQUEUE_LOG_LEVEL": "DEBUG",
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "PYTHONPATH": str(tmp_path),
        }
        site = Site(dsn, tmp_path, environment(tmp_path, dsn) | settings)
        yield site
        site.stop()


WAYS = [
    "fail",
    "again",
    "no-json",
    "too-much",
    "constraint",
    "provider",
    "progress",
    "nul",
    "validate",
]


def submit_by_sql(site: Site, job_type: str, params: dict[str, Any], **options: object) -> None:
    named = "".join(f", {name} => %s" for name in options)
    with psycopg.connect(site.dsn, autocommit=True) as connection:
        connection.execute(
            f"SELECT evalqueue_submit_job(%s, %s{named})".encode(),
            [job_type, json.dumps(params), *options.values()],
        )


def refuse(site: Site) -> None:
    """Requests that the API refuses, with marked texts everywhere."""
    bad = {"job_type": "evaluate-batch", "params": {"data_path": f"{TEXT}.csv", "odd": TEXT}}
    csv = f'thread_id,question,answer\n"{TEXT},{TEXT}\n{TEXT}'
    with site.http() as http:
        replies = [
            http.post("/api/jobs", json=bad),
            http.post("/api/jobs", json={"job_type": TEXT, "params": {TEXT: TEXT}}),
            http.post(
                "/api/jobs", content=f'{{"{TEXT}', headers={"Content-Type": "application/json"}
            ),
            http.post(
                "/api/jobs", json={"job_type": "evaluate-batch", "params": {"csv_content": csv}}
            ),
            http.get(f"/api/jobs/{TEXT}", headers={"Authorization": f"Bearer {KEY}"}),
        ]
    assert all(400 <= each.status_code < 500 for each in replies), replies


def wait_until_idle(site: Site) -> dict[str, str]:
    with psycopg.connect(site.dsn, autocommit=True) as connection:
        while True:
            rows = connection.execute(
                "SELECT COALESCE(params ->> 'llm_model', params ->> 'how', job_type), status "
                "FROM jobs"
            ).fetchall()
            if all(status in ("completed", "failed", "cancelled") for _, status in rows):
                return dict(rows)
            time.sleep(0.1)


def test_no_process_writes_a_secret_or_a_text(site: Site, collector: Collector):
    site.api()
    site.start(" is ready: ", "worker", "--concurrency=30")
    for model in MODELS:
        params = {"data_path": "chats.jsonl", "llm_model": model, "max_wait_seconds": 2}
        with site.http() as http:
            reply = http.post("/api/jobs", json={"job_type": "evaluate-batch", "params": params})
        assert reply.status_code == 201, reply.text
    for how in WAYS:
        submit_by_sql(site, "misbehave", {"how": how}, max_attempts=2)
    submit_by_sql(site, "evaluate-batch", {"data_path": TEXT, TEXT: TEXT})
    submit_by_sql(site, "evaluate-batch", {"total_items": TEXT})
    refuse(site)
    ended = wait_until_idle(site)
    for process in site.processes:
        process.stop()
        process.reading.join()

    assert {ended[model] for model in MODELS[:4]} == {"failed"}
    assert {ended[how] for how in WAYS} == {"failed"}
    written = "\n".join(line for process in site.processes for line in process.lines)
    assert written.count("misbehave") >= len(WAYS)
    for mark in MARKS:
        found = [line for line in written.splitlines() if mark in line]
        assert found == [], mark
    sent = b"".join(collector.bodies)
    assert sent.count(b"process evalqueue") >= len(MODELS) + len(WAYS)
    assert not [mark for mark in MARKS if mark.encode() in sent]
