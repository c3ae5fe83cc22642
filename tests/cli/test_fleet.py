"""The commands about the fleet: queues, workers, schedules, retention, and the doctor."""

import asyncio
import signal
from datetime import datetime

import psycopg
import pytest
from tests.cli.conftest import Gate, Shell


async def test_a_queue_is_paused_limited_and_resumed(shell: Shell, dsn: str) -> None:
    none = await shell.run("queues")
    await shell.run("submit", "fail", "reason=a")

    paused = await shell.run("queues", "pause", "evalqueue")
    limited = await shell.run("queues", "limit", "evalqueue", "--max-running", "9")
    await shell.run("queues", "limit", "evalqueue", "--per-owner", "2")
    (state,) = (await shell.run("queues", "--json")).json
    await shell.run("worker", "--one-shot")
    (held,) = (await shell.run("status", "--json")).json
    resumed = await shell.run("queues", "resume", "evalqueue", "--json")
    await shell.run("queues", "limit", "evalqueue", "--max-running", "0")
    (after,) = (await shell.run("queues", "list", "--json")).json
    await shell.run("worker", "--one-shot")
    (done,) = (await shell.run("status", "--json")).json

    assert (none.exit_code, none.out) == (0, "")
    assert (paused.exit_code, paused.out) == (0, "paused evalqueue\n")
    assert "evalqueue" in limited.out
    assert (state["max_running"], state["max_running_per_owner"], state["due"]) == (9, 2, 1)
    assert state["paused_at"] is not None
    assert state["oldest_waits_seconds"] >= 0
    assert held["status"] == "queued"
    assert resumed.json == {"name": "evalqueue", "paused": False, "is_known": True}
    assert (after["max_running"], after["max_running_per_owner"]) == (None, 2)
    assert after["paused_at"] is None
    assert done["status"] == "failed"


async def test_a_limit_must_say_which(shell: Shell) -> None:
    refused = await shell.run("queues", "limit", "evalqueue")

    assert refused.exit_code == 2
    assert "--max-running N" in refused.err


async def test_workers_are_listed_with_the_leader_among_them(shell: Shell) -> None:
    none = await shell.run("workers")
    await shell.worker("--name", "tea", "--concurrency", "3")

    async with asyncio.timeout(60):
        while True:  # a worker is ready before it becomes the leader
            (worker,) = (await shell.run("workers", "--json")).json
            if worker["is_leader"]:
                break
    table = await shell.run("workers")

    assert "evalqueue worker" in none.err
    assert worker["name"].startswith("tea@")
    assert (worker["slots"], worker["queues"]) == (3, ["evalqueue"])
    assert worker["job_types"] == [
        "check-alerts", "check-drift", "deliver-alert", "evaluate-adversarial", "evaluate-batch",
        "evaluate-source", "fail", "hold", "propose-app", "reach-chatbot", "settle-batches",
        "try-evaluators",
    ]  # fmt: skip
    assert worker["silent_for_seconds"] < 30
    assert "leader" in table.out


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\u202eb", "q" * 41])
@pytest.mark.parametrize("change", [("pause",), ("limit", "--max-running=1")])
async def test_no_queue_with_a_name_that_none_can_have_is_changed(
    shell: Shell, change: tuple[str, ...], name: str
) -> None:
    refused = await shell.run("queues", *change, "--", name)

    assert refused.exit_code == 2
    assert (refused.exit_code, refused.err[:6]) == (2, "NAME: ")
    assert (await shell.run("queues", "--json")).json == []


async def test_a_schedule_is_checked_kept_paused_resumed_and_removed(shell: Shell) -> None:
    cron = ("--cron", "0 2 * * *", "--timezone", "Europe/Berlin", "--job-type", "fail")

    added = await shell.run("schedules", "add", "nightly", *cron, "reason=none", "--json")
    (schedule,) = (await shell.run("schedules", "--json")).json
    paused = await shell.run("schedules", "pause", "nightly")
    (held,) = (await shell.run("schedules", "list", "--json")).json
    resumed = await shell.run("schedules", "resume", "nightly")
    table = await shell.run("schedules")
    removed = await shell.run("schedules", "remove", "nightly")
    again = await shell.run("schedules", "remove", "nightly")
    none = await shell.run("schedules")

    assert added.exit_code == 0, added.err
    assert (schedule["name"], schedule["cron"], schedule["params"]) == (
        "nightly",
        "0 2 * * *",
        {"reason": "none"},
    )
    assert datetime.fromisoformat(schedule["next_at"]) == datetime.fromisoformat(
        added.json["next_at"]
    )
    assert (paused.out, held["paused_at"] is None) == ("paused nightly\n", False)
    assert resumed.out == "resumed nightly\n"
    assert "0 2 * * *" in table.out
    assert removed.out == "removed nightly\n"
    assert (again.exit_code, again.out) == (4, "")
    assert (none.out, "schedules add" in none.err) == ("", True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--cron", "often", "--job-type", "fail", "reason=a"), "params.cron: 'often' is no cron"),
        (("--cron", "@daily", "--job-type", "fail"), "params.reason: It is missing"),
        (("--cron", "@daily", "--job-type", "dance"), "Unknown job_type: dance"),
        (
            ("--cron", "@daily", "--timezone", "Mars", "--job-type", "fail", "reason=a"),
            "There is no time zone 'Mars'",
        ),
        (
            (
                "--cron",
                "@daily",
                "--job-type",
                "evaluate-batch",
                "llm_provider=simulated",
                "data_path=nothing.csv",
            ),
            "params.data_path",
        ),
    ],
)
async def test_a_schedule_that_can_not_work_is_refused(
    shell: Shell, arguments: tuple[str, ...], line: str
) -> None:
    refused = await shell.run("schedules", "add", "x", *arguments)

    assert refused.exit_code == 2
    assert line in refused.err
    assert (await shell.run("schedules", "--json")).json == []


async def test_a_schedule_that_is_due_is_submitted_by_a_worker(shell: Shell, dsn: str) -> None:
    await shell.run(
        "schedules", "add", "now", "--cron", "0 0 1 1 *", "--job-type", "fail", "reason=a"
    )
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE job_schedules SET next_at = now()")

    await shell.run("worker", "--one-shot")

    (job,) = (await shell.run("status", "--json")).json
    (schedule,) = (await shell.run("schedules", "--json")).json
    assert (job["params"], schedule["last_job_id"]) == ({"reason": "a"}, job["id"])


async def test_what_is_old_is_deleted_and_what_went_is_said(shell: Shell, dsn: str) -> None:
    old = (await shell.run("submit", "fail", "reason=old")).out.strip()
    new = (await shell.run("submit", "fail", "reason=new")).out.strip()
    for job_id in (old, new):
        await shell.run("cancel", job_id)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE jobs SET completed_at = now() - interval '40 days' WHERE id = %s", [old]
        )

    refused = await shell.run("prune")
    gone = await shell.run("prune", "--jobs-days", "30", "--logs-days", "1", "--json")
    by_setting = await shell.run("prune", EVALQUEUE_KEEP_JOBS_DAYS="30")

    assert refused.exit_code == 2
    assert "EVALQUEUE_KEEP_JOBS_DAYS" in refused.err
    assert gone.json == {"logs": 0, "jobs": 1}
    assert by_setting.out == "deleted 0 row(s) of jobs\n"
    assert [job["id"] for job in (await shell.run("status", "--json")).json] == [new]


async def test_the_doctor_finds_nothing_wrong_where_all_is_well(shell: Shell) -> None:
    await shell.worker()

    result = await shell.run("doctor")
    document = (await shell.run("doctor", "--json")).json

    assert result.exit_code == 0, result.out
    assert result.out.endswith("No problems.\n")
    assert "LISTEN goes by DATABASE_URL" in result.out
    assert document["healthy"]
    names = [each["name"] for each in document["findings"]]
    assert names == ["notifications", "clock", "schema", "workers", "leader"]
    assert {each["level"] for each in document["findings"]} == {"ok"}


async def test_the_doctor_says_what_is_wrong_and_what_to_do(
    shell: Shell, dsn: str, gate: Gate
) -> None:
    """A frozen worker whose job has an expired lease, and no leader to recover it."""
    worker = await shell.worker()
    await shell.run("submit", "hold", f"gate={gate.path}")
    await gate.arrived()
    worker.send(signal.SIGSTOP)
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE job_workers SET seen_at = now() - interval '50 s'")
        connection.execute("UPDATE jobs SET lease_expires_at = now() - interval '40 s'")

    result = await shell.run("doctor")
    document = (await shell.run("doctor", "--json")).json

    wrong = {each["name"]: each for each in document["findings"] if each["level"] == "wrong"}
    assert result.exit_code == 1
    assert set(wrong) == {"workers", "silent", "lease"}
    assert str(worker.process.pid) in wrong["silent"]["fix"]
    assert wrong["lease"]["since"] is not None
    assert "→ evalqueue worker" in result.out


async def test_the_doctor_tells_a_worker_that_is_gone_from_one_that_is_frozen(
    shell: Shell, dsn: str
) -> None:
    worker = await shell.worker()
    worker.send(signal.SIGKILL)
    await worker.process.wait()
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE job_workers SET seen_at = now() - interval '50 s'")

    document = (await shell.run("doctor", "--json")).json

    levels = {each["name"]: each["level"] for each in document["findings"]}
    assert levels["ended"] == "note"
    assert "silent" not in levels


async def test_the_doctor_says_that_the_schema_is_outdated(shell: Shell, empty_dsn: str) -> None:
    result = await shell.run("doctor", DATABASE_URL=empty_dsn)

    assert result.exit_code == 1
    assert "→ evalqueue migrate" in result.out


async def test_the_doctor_says_that_the_database_does_not_answer(shell: Shell) -> None:
    result = await shell.run(
        "doctor",
        DATABASE_URL="postgresql://me:hush@127.0.0.1:1/nowhere",
        EVALQUEUE_DATABASE_WAIT_SECONDS="0.2",
    )

    assert result.exit_code == 1
    assert "Postgres does not answer" in result.out
    assert "hush" not in result.out + result.err


async def test_the_doctor_says_by_which_address_notifications_do_not_come(
    shell: Shell, empty_dsn: str
) -> None:
    result = await shell.run("doctor", EVALQUEUE_LISTEN_URL=empty_dsn)

    assert result.exit_code == 1
    assert "LISTEN goes by EVALQUEUE_LISTEN_URL" in result.out
    assert "is there a pooler in between?" in result.out


async def test_a_doctor_does_not_take_arguments(shell: Shell) -> None:
    assert (await shell.run("doctor", "now")).exit_code == 2
