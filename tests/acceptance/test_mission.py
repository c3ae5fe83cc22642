"""The calls that clients of the mission's document make, to the letter: curl lines, the TypeScript
client's requests, the psql query. API and worker are processes of their own.
"""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from evalqueue.evaluators.simulated.conversations import sample_csv
from evalqueue.testing import SimulatedServer

JOB_KEYS = {
    "id", "job_type", "status", "params", "result", "progress", "error_message", "created_at",
    "started_at", "completed_at",
}  # fmt: skip
RUN_KEYS = {
    "id", "command", "status", "llm_provider", "llm_model", "duration_seconds", "total_items",
    "summary", "error_message", "created_at",
}  # fmt: skip


@pytest.fixture
async def api(
    dsn: str, judge: SimulatedServer, tmp_path: Path
) -> AsyncGenerator[httpx.AsyncClient]:
    """`evalqueue serve` in a process of its own, on any free port."""
    shutil.copy(sample_csv(), tmp_path / "test.csv")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "evalqueue", "serve", "--port", "0",
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {
            "DATABASE_URL": dsn,
            "EVALQUEUE_DATA_DIR": str(tmp_path),
            "EVALQUEUE_LLM_PROVIDER": "simulated",
            "EVALQUEUE_SIMULATED_URL": judge.url,
        },
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    while (found := re.search(r"http://127\.0\.0\.1:\d+", said)) is None:
        line = await process.stdout.readline()
        assert line, f"serve ended: {said}"
        said += line.decode()
    async with httpx.AsyncClient(base_url=found.group(), trust_env=False, timeout=60) as client:
        yield client
    process.terminate()
    await process.communicate()


async def post_as_curl(api: httpx.AsyncClient, body: str) -> dict[str, Any]:
    response = await api.post(
        "/api/jobs", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 201, response.text
    return response.json()


async def poll_until_done(api: httpx.AsyncClient, job_id: str) -> list[dict[str, Any]]:
    """As the TypeScript client does: get, look at the status, wait, again."""
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while True:
            response = await api.get(
                f"/api/jobs/{job_id}", headers={"Content-Type": "application/json"}
            )
            assert response.status_code == 200
            seen.append(response.json())
            if seen[-1]["status"] in ("completed", "failed", "cancelled"):
                return seen
            await asyncio.sleep(0.05)


async def test_the_document_s_own_test(
    api: httpx.AsyncClient, start_daemon: Any, dsn: str, tmp_path: Path
):
    # Step 3.2: submit, list, get.
    submitted = await post_as_curl(
        api,
        '{"job_type": "evaluate-batch", '
        '"params": {"app_id": "kaira-bot", "data_path": "test.csv"}}',
    )
    assert {"id", "job_type", "status", "created_at"} <= submitted.keys()
    assert (submitted["job_type"], submitted["status"]) == ("evaluate-batch", "queued")
    listed = (await api.get("/api/jobs")).json()
    assert isinstance(listed, list)
    assert [job["id"] for job in listed] == [submitted["id"]]
    assert listed[0].keys() >= JOB_KEYS
    assert (await api.get(f"/api/jobs/{submitted['id']}")).json() == listed[0]

    # Step 3.3: queued → running (with progress) → completed.
    second = await post_as_curl(api, '{"job_type": "evaluate-batch", "params": {"total_items": 3}}')
    async with start_daemon(EVALQUEUE_DATA_DIR=str(tmp_path)):
        seen = await poll_until_done(api, second["id"])
        first = (await poll_until_done(api, submitted["id"]))[-1]
    assert seen[-1]["status"] == first["status"] == "completed"
    assert {job["status"] for job in seen} <= {"queued", "running", "completed"}
    progress = seen[-1]["progress"]
    assert (progress["current"], progress["total"]) == (3, 3)
    assert progress["message"] == "Thread 3/3 (3 ok, 0 failed)"

    # Step 3.5: what was found.
    runs = (await api.get("/api/eval-runs")).json()
    assert len(runs) == 2
    assert all(run.keys() >= RUN_KEYS for run in runs)
    run = (await api.get(f"/api/eval-runs/{progress['run_id']}")).json()
    assert (run["status"], run["command"], run["total_items"]) == ("completed", "evaluate-batch", 3)
    threads = (await api.get(f"/api/eval-runs/{run['id']}/threads")).json()
    assert (threads["run_id"], threads["total"], len(threads["evaluations"])) == (run["id"], 3, 3)
    assert threads["evaluations"][0].keys() >= {
        "id", "run_id", "thread_id", "intent_accuracy", "worst_correctness", "efficiency_verdict",
        "success_status", "result",
    }  # fmt: skip
    adversarial = (await api.get(f"/api/eval-runs/{run['id']}/adversarial")).json()
    assert adversarial == {"run_id": run["id"], "evaluations": [], "total": 0}
    logs = (await api.get(f"/api/eval-runs/{run['id']}/logs")).json()
    assert logs["run_id"] == run["id"]
    assert logs["logs"][0].keys() >= {
        "id", "run_id", "provider", "model", "method", "duration_ms", "tokens_in", "tokens_out",
    }  # fmt: skip
    stats = (await api.get("/api/eval-runs/stats/summary")).json()
    assert stats == {
        "total_runs": 2, "total_threads_evaluated": 5 + 3, "total_adversarial_tests": 0,
    }  # fmt: skip

    # Final test: the rows.
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT id, status, job_type FROM jobs ORDER BY created_at DESC LIMIT 5"
        ).fetchall()
    assert [(str(row[0]), *row[1:]) for row in rows] == [
        (second["id"], "completed", "evaluate-batch"),
        (submitted["id"], "completed", "evaluate-batch"),
    ]


async def test_the_typescript_client_s_list_and_cancel(api: httpx.AsyncClient):
    json_headers = {"Content-Type": "application/json"}
    body = json.dumps({"job_type": "evaluate-batch", "params": {"total_items": 3}})
    job = await post_as_curl(api, body)

    queued = (await api.get("/api/jobs?status=queued", headers=json_headers)).json()
    cancelled = await api.post(f"/api/jobs/{job['id']}/cancel", headers=json_headers)
    again = await api.post(f"/api/jobs/{job['id']}/cancel", headers=json_headers)
    after = (await api.get(f"/api/jobs/{job['id']}")).json()

    assert [each["id"] for each in queued] == [job["id"]]
    assert cancelled.json() == {"id": job["id"], "status": "cancelled"}
    assert (again.status_code, again.json()) == (
        400, {"detail": "Cannot cancel job in 'cancelled' state"},
    )  # fmt: skip
    assert (after["status"], after["result"]) == ("cancelled", None)
    assert after["completed_at"] is not None


async def test_bad_rows_of_an_old_client_s_csv_are_all_named_and_nothing_is_stored(
    api: httpx.AsyncClient,
):
    content = sample_csv().read_text().replace("2025-11-2", "2025-13-2")
    response = await api.post(
        "/api/jobs", json={"job_type": "evaluate-batch", "params": {"csv_content": content}}
    )

    assert response.status_code == 422
    problems = response.json()["detail"]
    assert len(problems) == 11
    assert all(problem["loc"] == ["body", "params", "csv_content"] for problem in problems)
    assert all(problem["ctx"]["column"] == "timestamp" for problem in problems)
    assert (await api.get("/api/jobs")).json() == []
