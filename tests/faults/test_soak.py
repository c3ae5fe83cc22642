"""A soak test of a few seconds, and its checks on made-up rows."""

import io
import shutil
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from faults.chaos_monkey import FaultTiming
from faults.fault_log import Fault, Kind
from faults.load import Promises
from faults.recovery import Attempt, recovered
from faults.soak import Options, Soak, show
from faults.verdict import broken_promises
from homes import temporary_home
from rich.console import Console

QUICK = FaultTiming(every=(0.4, 1.0), freeze=(0.5, 2.5), outage=(0.2, 1.0), network=(0.5, 2.5))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def home() -> Generator[Path]:
    home = temporary_home("evalqueue-soak-")
    yield home
    shutil.rmtree(home, ignore_errors=True)


async def test_a_fleet_under_attack_keeps_every_promise(home: Path):
    output = io.StringIO()
    console = Console(file=output, width=200)
    options = Options(
        seconds=5, seed=4, workers=3, rate=5, pace=0.15, large_batch=50, lease_seconds=2,
        timing=QUICK, min_faults=5,
    )  # fmt: skip
    outcome = await Soak(options, home, console).run()
    show(outcome, console)

    assert outcome.sound, output.getvalue()
    assert outcome.faults.total() >= 5, output.getvalue()
    assert outcome.as_json()["verdict"] == {"lost": 0, "twice": 0, "stuck": 0, "wrong": 0}
    assert output.getvalue().endswith("Sound.\n")


def job(status: str, **values: Any) -> dict[str, Any]:
    return {
        "id": uuid4(), "job_type": "fault-steps", "status": status, "params": {}, "owner": "ada",
        "max_attempts": 3, "parent_id": None, "after_id": None, "error_message": "?",
        "started_at": NOON, "completed_at": NOON + timedelta(seconds=1),
    } | values  # fmt: skip


def test_each_promise_that_was_not_kept_is_found():
    completed, failed, cancelled, early = (
        job("completed"), job("failed"), job("cancelled"), job("completed"),
    )  # fmt: skip
    broken = job("completed", params={"fails": True})
    jobs: dict[UUID, Any] = {
        each["id"]: each for each in (completed, failed, cancelled, early, broken)
    }
    promises = Promises(
        jobs={*jobs, uuid4()},
        cancelled={completed["id"]},
        keys={"a": {completed["id"], failed["id"]}},
        followers={early["id"]: completed["id"]},
        broken=["x was continued twice"],
    )

    assert sorted(finding.rule for finding in broken_promises(jobs, promises, minutes=1)) == [
        "cancelled", "cancelled", "completed", "continued once", "failed", "key", "order",
        "promised",
    ]  # fmt: skip


def test_a_job_has_recovered_from_a_kill_once_its_next_attempt_runs():
    def at(second: float) -> datetime:
        return NOON + timedelta(seconds=second)

    job_id = uuid4()
    fault = Fault(kind=Kind.KILL, worker="w1-0", began=at(10), ended=at(10))
    lost = Attempt(
        job_id=job_id, attempt=1, worker="w1-0", started_at=at(8), ended_at=at(14),
        outcome="lost", completed_at=at(20),
    )  # fmt: skip
    following = Attempt(
        job_id=job_id, attempt=2, worker="w2-0", started_at=at(15), ended_at=at(20),
        outcome="completed", completed_at=at(20),
    )  # fmt: skip
    found = recovered([fault], [lost, following], {job_id: [at(9), at(16)]})["worker killed"]

    assert (found.queued.seconds, found.running.seconds) == ([4.0], [5.0])
