"""The example configuration of nginx, in front of the API."""

import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from browsing import START_SECONDS, Site
from certificates import make_ca
from faults.server import free_port

from evalqueue import tokens
from evalqueue.tokens import Right

EXAMPLE = Path(__file__).parents[2] / "deploy/proxies/nginx.conf"
AROUND = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {server}
}}
"""


@dataclass(frozen=True, slots=True)
class Proxied:
    """The API behind nginx."""

    url: str
    ca: Path
    token: str

    def http(self) -> httpx.Client:
        verify = ssl.create_default_context(cafile=str(self.ca))
        return httpx.Client(base_url=self.url, verify=verify, trust_env=False, timeout=30)


def example(site: Site, certificate: Path, key: Path, port: int) -> str:
    """The example with the addresses and files of the test."""
    text = EXAMPLE.read_text()
    for shown, used in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/evals.example.com.pem", str(certificate)),
        ("/etc/ssl/private/evals.example.com.key", str(key)),
        ("http://127.0.0.1:8721", site.url),
    ):
        assert text.count(shown) == 1, shown
        text = text.replace(shown, used)
    return text


@pytest.fixture
def proxied(site: Site, tmp_path: Path) -> Generator[Proxied]:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    program = shutil.which("nginx", path=path)
    assert program is not None, "No nginx: install it"
    token, known = tokens.make("anna", Right.SUBMIT)
    site.api(EVALQUEUE_API_TOKENS=known.entry, EVALQUEUE_PROXIES="127.0.0.1")
    ca, certificate, key = make_ca(tmp_path)
    port = free_port()
    config = tmp_path / "nginx.conf"
    server = example(site, certificate, key, port)
    config.write_text(AROUND.format(folder=tmp_path, server=server))
    process = subprocess.Popen([program, "-p", str(tmp_path), "-c", str(config)])
    proxied = Proxied(f"https://127.0.0.1:{port}", ca, token)
    try:
        wait_for(proxied, process)
        yield proxied
    finally:
        process.terminate()
        process.wait()


def wait_for(proxied: Proxied, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    with proxied.http() as http:
        while True:
            assert process.poll() is None
            try:
                http.get("/healthz").raise_for_status()
            except httpx.ConnectError:
                assert time.monotonic() < deadline
            else:
                return


def test_the_page_signs_in_and_follows_a_job(proxied: Proxied) -> None:
    with proxied.http() as http:
        origin = {"Origin": proxied.url}
        signed_in = http.post("/api/session", json={"token": proxied.token}, headers=origin)
        assert signed_in.status_code == 200, signed_in.text
        assert "Secure" in signed_in.headers["set-cookie"]
        assert "max-age" in signed_in.headers["strict-transport-security"]
        with http.stream("GET", "/api/events") as stream:
            assert stream.status_code == 200
            lines = stream.iter_lines()
            assert next(lines)  # the response has begun, before there is an event
            params = {"total_items": 3, "llm_provider": "simulated"}
            job = {"job_type": "evaluate-batch", "params": params}
            submitted = http.post("/api/jobs", json=job, headers=origin)
            assert submitted.status_code == 201, submitted.text
            job_id = submitted.json()["id"]
            events = (json.loads(line[5:]) for line in lines if line.startswith("data:"))
            assert any(job_id in json.dumps(event) for event in events)


def test_a_large_file_passes(proxied: Proxied) -> None:
    """nginx refuses bodies of more than 1 MB by default."""
    rows = "".join(
        json.dumps({"id": f"c{n}", "messages": [
            {"role": "user", "content": "?" * 900}, {"role": "assistant", "content": "!" * 900},
        ]}) + "\n"
        for n in range(2000)
    )  # fmt: skip
    with proxied.http() as http:
        answer = http.post(
            "/api/datasets",
            files={"file": ("large.jsonl", rows.encode())},
            headers={"Authorization": f"Bearer {proxied.token}"},
        )
    assert answer.status_code == 201, answer.text
    assert answer.json()["threads"] == 2000
