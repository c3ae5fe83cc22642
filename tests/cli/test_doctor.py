"""The findings of the doctor, computed from values."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from evalqueue import doctor
from evalqueue.doctor import Finding, FleetState, Level
from evalqueue.postgres.fleet import Leader, QueueState, WorkerRecord
from evalqueue.postgres.health import FleetHealth, MisplacedJob, OldSnapshot
from evalqueue.postgres.schedules import Schedule

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
JOB = UUID("00000000-0000-4000-8000-000000000001")


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def worker(**facts: Any) -> WorkerRecord:
    silent = facts.pop("silent_seconds", 1)
    return WorkerRecord(**{
        "id": 1, "name": "w@here:7/1", "host": "here", "pid": 7, "version": "1", "queues": ["q"],
        "job_types": ["note"], "slots": 4, "running": 0, "stuck": 0, "draining": False,
        "listening": True, "troubles": [], "started_at": ago(600), "seen_at": ago(silent),
        "silent_for": timedelta(seconds=silent), "has_ended": False,
    } | facts)  # fmt: skip


def queue(**facts: Any) -> QueueState:
    waits = facts.pop("waits_seconds", None)
    return QueueState(**{
        "name": "q", "paused_at": None, "max_running": None, "max_running_per_owner": None,
        "running": 0, "helpers": 0, "due": 0 if waits is None else 1, "later": 0,
        "counts_complete": True,
        "oldest_waits": None if waits is None else timedelta(seconds=waits),
    } | facts)  # fmt: skip


def odd(problem: str, **facts: Any) -> MisplacedJob:
    return MisplacedJob(**{
        "id": JOB, "job_type": "tea", "queue": "q", "owner": "me", "problem": problem,
        "since": ago(90),
    } | facts)  # fmt: skip


def schedule(**facts: Any) -> Schedule:
    return Schedule(**{
        "name": "nightly", "cron": "@daily", "timezone": "UTC", "job_type": "note", "params": {},
        "owner": "me", "queue": "q", "priority": 0, "max_attempts": 3, "next_at": ago(9),
        "paused_at": ago(8),
    } | facts)  # fmt: skip


def snapshot(age_seconds: float, **facts: Any) -> OldSnapshot:
    return OldSnapshot(**{
        "holder": "session", "who": "etl", "pid": 7, "age": timedelta(seconds=age_seconds),
    } | facts)  # fmt: skip


CANT_CLAIM = {"what": "claim jobs", "error": "no", "since": "2026-11-22T11:59:00+00:00"}
LEADER = Leader(worker="w@here:7/1", term=3, since=ago(500), ends_at=ago(-10), is_current=True)
WELL = FleetState(
    moment=NOW, workers=[worker()], leader=LEADER, queues=[queue()], misplaced_jobs=[]
)


def findings(**changed: Any) -> dict[str, Finding]:
    """The findings that are not OK, for a healthy snapshot with these changes."""
    found = doctor.judged(replace(WELL, **changed))
    return {each.name: each for each in found if each.level is not Level.OK}


def test_of_a_fleet_that_is_well_nothing_bad_is_said() -> None:
    assert findings() == {}
    assert {each.name for each in doctor.judged(WELL)} == {"workers", "leader"}


@pytest.mark.parametrize(
    ("changed", "name", "level", "words"),
    [
        ({"workers": [], "leader": None}, "workers", Level.NOTE, "No worker is alive."),
        (
            {"workers": [], "queues": [queue(later=1)]}, "workers", Level.WRONG, "there is work",
        ),
        ({"workers": [worker(), worker(id=2, silent_seconds=40)]}, "silent", Level.WRONG, "40 s"),
        (
            {"workers": [worker(), worker(id=2, silent_seconds=40, has_ended=True)]},
            "ended", Level.NOTE, "no connection",
        ),
        ({"workers": [worker(stuck=2)]}, "stuck", Level.WRONG, "2 handler(s)"),
        ({"workers": [worker(listening=False)]}, "deaf", Level.WRONG, "no notifications"),
        ({"workers": [worker(draining=True, running=3)]}, "draining", Level.NOTE, "3 job(s)"),
        ({"leader": None}, "leader", Level.WRONG, "No worker leads the fleet"),
        (
            {"leader": replace(LEADER, is_current=False, ends_at=ago(31))},
            "leader", Level.WRONG, "No worker leads the fleet",
        ),
        (
            {"queues": [queue(waits_seconds=5, paused_at=ago(9))]},
            "paused", Level.NOTE, "q is paused, and 1 job(s)",
        ),
        (
            {"queues": [queue(name="other", waits_seconds=31)]},
            "unserved", Level.WRONG, "no worker takes any",
        ),
        (
            {"queues": [queue(waits_seconds=31)], "workers": [worker(draining=True)]},
            "unserved", Level.WRONG, "no worker takes any",
        ),
        ({"queues": [queue(waits_seconds=600)]}, "waiting", Level.NOTE, "though slots are free"),
        (
            {"queues": [queue(waits_seconds=600)], "workers": [worker(running=4)]},
            "waiting", Level.NOTE, "all 4 slots are taken",
        ),
        (
            {"queues": [queue(waits_seconds=600, running=2, max_running=2)]},
            "waiting", Level.NOTE, "its limit of 2 running",
        ),
        (
            {"queues": [queue(waits_seconds=600, max_running_per_owner=1)]},
            "waiting", Level.NOTE, "an owner may run 1",
        ),
        ({"misplaced_jobs": [odd("lease")]}, "lease", Level.WRONG, "lost their worker"),
        (
            {"misplaced_jobs": [odd("unknown_type")]},
            "unknown_type", Level.WRONG, "type tea wait in q",
        ),
        (
            {"misplaced_jobs": [odd("waits_for_nothing")]},
            "waits_for_nothing", Level.WRONG, "is over",
        ),
        ({"misplaced_jobs": [odd("disagrees")]}, "disagrees", Level.WRONG, "procrastinate rows"),
        (
            {"workers": [worker(troubles=[CANT_CLAIM])]},
            "refused", Level.WRONG, "can't claim jobs: no",
        ),
        (
            {"workers": [worker(troubles=[CANT_CLAIM | {"job_id": str(JOB)}])]},
            "refused_job", Level.WRONG, f"Job {JOB} can't be claimed",
        ),
        ({"schedules": [schedule(problem="no")]}, "schedule", Level.WRONG, "jobs are refused. no"),
        ({"schedules": [schedule()]}, "schedule", Level.NOTE, "nightly is paused."),
        ({"old_snapshots": [snapshot(600)]}, "snapshot", Level.NOTE, "process 7 of Postgres (etl)"),
        ({"old_snapshots": [snapshot(7200)]}, "snapshot", Level.WRONG, "open for 2 h"),
        (
            {"old_snapshots": [snapshot(7200, holder="prepared", pid=None, who="two")]},
            "snapshot", Level.WRONG, "prepared transaction two",
        ),
        ({"jobs_over": 1_000_001}, "retention", Level.NOTE, "1,000,000 jobs are over"),
    ],
)  # fmt: skip
def test_what_is_found_is_named_weighed_and_comes_with_what_to_do(
    changed: dict[str, Any], name: str, level: Level, words: str
) -> None:
    found = findings(**changed)[name]

    assert found.level is level
    assert words in found.what
    assert found.fix


@pytest.mark.parametrize(
    "changed",
    [
        {"workers": [worker(silent_seconds=30)]},
        {"workers": [worker(listening=False, started_at=ago(2), seen_at=ago(2))]},
        {"leader": replace(LEADER, is_current=False, ends_at=ago(29))},
        {"leader": None, "workers": [worker(started_at=ago(5), seen_at=ago(5))]},
        {"queues": [queue(paused_at=ago(900))]},
        {"queues": [queue(name="other", waits_seconds=29)]},
        {"queues": [queue(waits_seconds=59)]},
        {"jobs_over": 1_000_000},
        {"jobs_over": 1_000_001, "keeps_jobs_for_ever": False},
    ],
)
def test_what_is_meant_or_may_still_be_in_order_is_not_found(changed: dict[str, Any]) -> None:
    assert findings(**changed) == {}


def test_odd_jobs_are_grouped_and_the_oldest_is_named() -> None:
    other = UUID(int=2)
    found = doctor.judged(
        replace(
            WELL,
            misplaced_jobs=[
                odd("unknown_type", since=ago(50), id=other), odd("unknown_type"),
                odd("unknown_type", job_type="coffee"), odd("lease"),
            ],
        )
    )  # fmt: skip

    wrong = [each for each in found if each.level is Level.WRONG]
    assert [each.name for each in wrong] == ["unknown_type", "unknown_type", "lease"]
    assert wrong[0].what.startswith("2 job(s) of type tea")
    assert str(JOB) in wrong[0].what
    assert wrong[0].since == ago(90)
    assert "--queues q" in (wrong[0].fix or "")


def test_where_nobody_works_on_a_queue_its_types_are_not_the_trouble() -> None:
    assert "unknown_type" not in findings(misplaced_jobs=[odd("unknown_type", queue="other")])


@pytest.mark.parametrize(
    ("theirs", "level", "words"),
    [
        (NOW, Level.OK, "agree"),
        (NOW + timedelta(seconds=6), Level.OK, "agree"),
        (NOW + timedelta(seconds=62), Level.NOTE, "60 s ahead of"),
        (NOW - timedelta(hours=3), Level.NOTE, "3 h behind"),
    ],
)
def test_clocks_agree_within_the_time_it_took_to_ask(
    theirs: datetime, level: Level, words: str
) -> None:
    found = doctor.clock_finding(theirs, NOW, NOW + timedelta(seconds=2))

    assert found.level is level
    assert words in found.what


def test_a_probe_is_warned_of_what_no_worker_does() -> None:
    well = FleetHealth(workers_alive=1, oldest_waits=timedelta(seconds=60), leases_run_out=0)
    ill = FleetHealth(
        workers_alive=0, oldest_waits=timedelta(minutes=5), leases_run_out=2, troubled_workers=1,
        refused_jobs=3, refused_schedules=1, oldest_snapshot=timedelta(minutes=10),
    )  # fmt: skip

    assert doctor.warnings(well) == []
    assert [each.what for each in doctor.warnings(ill)] == [
        "No worker is alive.",
        "The oldest job that is due has waited for 5 min.",
        "2 running job(s) lost their worker, and no leader recovers them.",
        "The database refuses statements to 1 worker(s).",
        "3 job(s) can't be claimed: the database refuses it.",
        "1 schedule(s) are paused: their jobs are refused.",
        "A transaction has been open for 10 min.",
    ]
