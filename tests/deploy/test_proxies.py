"""The example configuration of nginx, in front of the API."""

import json
from collections.abc import Generator
from pathlib import Path

import pytest
from browsing import Site
from proxying import Proxied, behind_nginx


@pytest.fixture
def proxied(site: Site, tmp_path: Path) -> Generator[Proxied]:
    with behind_nginx(site, tmp_path) as proxied:
        yield proxied


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
