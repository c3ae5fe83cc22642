"""Requests whose validation needs far more memory than they have bytes."""

import json
from pathlib import Path

import pytest
from faults.api import api
from faults.deployment import Deployment

MEMORY_MAX = 900 * 1024  # KiB
BODIES = {
    "32 MB of numbers for names": {"thread_ids": [1] * 10_000_000},
    "3 MB of numbers for names": {"thread_ids": [1] * 1_000_000},
    "as many as may be": {"thread_ids": [1] * 9_999},
    "unknown fields": {str(number): 1 for number in range(90_000)},
}


@pytest.mark.parametrize("params", BODIES.values(), ids=BODIES)
async def test_a_wrong_request_is_refused_in_few_bytes_of_memory_and_reply(
    deployment: Deployment, tmp_path: Path, params: dict[str, object]
):
    pids: list[int] = []
    async with api(deployment.address, tmp_path, pids=pids) as http:
        body = json.dumps({"job_type": "evaluate-batch", "params": {"total_items": 1} | params})
        reply = await http.post(
            "/api/jobs", content=body, headers={"Content-Type": "application/json"}
        )
        assert reply.status_code == 422
        assert len(reply.content) < 50_000
        assert len(reply.json()["detail"]) <= 101
        assert (await http.get("/healthz")).status_code == 200
        status = Path(f"/proc/{pids[0]}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) < MEMORY_MAX, peak
