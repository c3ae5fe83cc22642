"""The output and the exit codes of the commands about jobs."""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import typer.main
from tests.cli.conftest import Gate, Shell

from evalqueue import Client
from evalqueue.cli import main
from evalqueue.cli.output.exit_codes import EXIT_CODES
from evalqueue.jobs import JobStatus

COMMANDS = (
    "migrate", "roles", "serve", "worker", "up", "submit", "status", "watch", "cancel", "retry",
    "demo", "simulate", "token", "queues", "workers", "schedules", "prune", "doctor",
    "adversarial", "simulate-bot", "datasets", "evaluators", "runs",
)  # fmt: skip


async def test_the_help_lists_every_command_and_every_exit_code(shell: Shell) -> None:
    shown = await shell.run("--help")

    assert shown.exit_code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in shown.out
    for code, meaning in EXIT_CODES.items():
        assert f"{code.value:>3}  {meaning}" in shown.out


@pytest.mark.parametrize("command", COMMANDS)
async def test_the_help_of_a_command_has_an_example(shell: Shell, command: str) -> None:
    shown = await shell.run(command, "--help")

    assert shown.exit_code == 0
    assert f"Examples:\n    evalqueue {command}" in shown.out


def test_the_help_of_every_command_and_subcommand_has_an_example() -> None:
    def without_example(command: Any, path: str) -> Iterator[str]:
        if "\n  evalqueue" not in (command.epilog or ""):
            yield path
        for name, each in getattr(command, "commands", {}).items():
            yield from without_example(each, f"{path} {name}")

    group = typer.main.get_group(main.app)
    assert [
        path
        for name, command in group.commands.items()
        for path in without_example(command, f"evalqueue {name}")
    ] == []


async def test_the_version_is_printed(shell: Shell) -> None:
    shown = await shell.run("--version")

    assert (shown.exit_code, shown.out) == (0, "evalqueue 0.1.0\n")


async def test_an_unknown_command_is_wrong_usage(shell: Shell) -> None:
    refused = await shell.run("evaluate")

    assert refused.exit_code == 2
    assert "No such command 'evaluate'" in refused.err


async def test_a_bad_setting_is_named_by_its_variable(shell: Shell) -> None:
    refused = await shell.run("status", EVALQUEUE_PORT="eighty")

    assert refused.exit_code == 2
    assert refused.err.startswith("EVALQUEUE_PORT: Write a whole number")
    assert "Traceback" not in refused.err


async def test_a_bad_token_entry_is_named_and_not_repeated(shell: Shell) -> None:
    entries = f"anna:read:{'0' * 64}, otto:submit:hunter2-hunter2 hunter2"
    refused = await shell.run("serve", EVALQUEUE_API_TOKENS=entries)

    assert refused.exit_code == 2
    first, second = refused.err.splitlines()
    assert first.startswith(
        "EVALQUEUE_API_TOKENS: Entry 2 (otto) seems to have a token that is not"
    )
    assert second.startswith("Entry 3 is not name:right:sha256hex")
    assert "hunter2" not in refused.err


async def test_beyond_this_machine_nothing_is_served_without_tokens(shell: Shell) -> None:
    refused = await shell.run("serve", "--host", "0.0.0.0", "--port", "0")  # noqa: S104  refused

    assert refused.exit_code == 2
    assert "set EVALQUEUE_API_TOKENS" in refused.err
    assert "evalqueue token NAME --right submit" in refused.err


async def test_a_token_is_made_with_the_entry_that_knows_it(shell: Shell) -> None:
    made = await shell.run("token", "anna", "--right", "submit")
    printed = dict(line.split() for line in made.out.splitlines())

    assert made.exit_code == 0
    assert printed["entry"] == f"anna:submit:{sha256(printed['token'].encode()).hexdigest()}"
    assert "EVALQUEUE_API_TOKENS" in made.err
    assert printed["token"] not in made.err

    token = (await shell.run("token", "ci", "--right", "read", "--json")).json
    assert token["entry"] == f"ci:read:{sha256(token['token'].encode()).hexdigest()}"
    assert (token["name"], token["right"]) == ("ci", "read")


async def test_a_token_needs_a_good_name_and_right(shell: Shell) -> None:
    nameless = await shell.run("token", "an:na", "--right", "read")
    rightless = await shell.run("token", "anna", "--right", "root")

    assert nameless.exit_code == rightless.exit_code == 2
    assert "A name has 1 to 50 letters" in nameless.err
    assert "'read', 'submit', 'admin'" in rightless.err


async def test_a_database_that_is_down_has_its_own_exit_code(shell: Shell) -> None:
    refused = await shell.run(
        "status",
        DATABASE_URL="postgresql://me:secret@127.0.0.1:1/nowhere",
        EVALQUEUE_DATABASE_WAIT_SECONDS="0.2",
    )

    assert refused.exit_code == 5
    assert "Postgres does not answer" in refused.err
    assert "DATABASE_URL" in refused.err
    assert "secret" not in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.parametrize("command", [("status",), ("worker",), ("submit", "fail", "reason=no")])
async def test_an_outdated_schema_says_which_command_to_run(
    shell: Shell, empty_dsn: str, command: tuple[str, ...]
) -> None:
    refused = await shell.run(*command, DATABASE_URL=empty_dsn)

    assert refused.exit_code == 6
    assert "Run: evalqueue migrate" in refused.err


async def test_migrate_says_what_it_applied_and_then_that_nothing_is_left(
    shell: Shell, empty_dsn: str
) -> None:
    first = await shell.run("migrate", "--json", DATABASE_URL=empty_dsn)
    second = await shell.run("migrate", DATABASE_URL=empty_dsn)

    assert first.exit_code == second.exit_code == 0
    assert "0001_jobs.sql" in first.json["applied"]
    assert second.out == "The schema is up to date.\n"


async def test_migrate_plans_names_who_is_in_its_way_and_gives_up_with_a_code_of_its_own(
    shell: Shell, empty_dsn: str
) -> None:
    await shell.run("migrate", DATABASE_URL=empty_dsn)
    async with await psycopg.AsyncConnection.connect(empty_dsn, autocommit=True) as session:
        pid = session.info.backend_pid
        await session.execute("DROP TRIGGER evalqueue_notify_changed ON jobs")
        planned = await shell.run("migrate", "--plan", "--json", DATABASE_URL=empty_dsn)
        shown = await shell.run("migrate", "--plan", DATABASE_URL=empty_dsn)
        async with session.transaction():
            await session.execute("LOCK TABLE jobs IN SHARE MODE")
            refused = await shell.run("migrate", "--max-wait", "0", DATABASE_URL=empty_dsn)
        done = await shell.run("migrate", "--json", DATABASE_URL=empty_dsn)

    (step,) = planned.json["steps"]
    assert step["name"] == "create TRIGGER evalqueue_notify_changed ON jobs"
    assert step["locks"][0] == {
        "table": "jobs", "lock": "SHARE ROW EXCLUSIVE", "work": "none",
        "bytes": 0, "rows": 0, "seconds": 0.0,
    }  # fmt: skip
    assert "jobs: SHARE ROW EXCLUSIVE, keeps out writes; changes no rows" in shown.out
    assert refused.exit_code == 8
    assert f"Waiting for pid {pid}" in refused.err
    assert "nothing was changed" in refused.err
    assert done.json == {"applied": ["functions/queue/events.sql"]}


async def test_a_missing_right_is_named_with_the_command_that_prints_the_grants(
    shell: Shell, dsn: str
) -> None:
    refused = await shell.run("status", DATABASE_URL=f"{dsn}&options=-crole%3Dpg_monitor")

    assert refused.exit_code == 1
    assert "permission denied for table" in refused.err
    assert "evalqueue roles" in refused.err


async def test_submit_prints_the_id_alone_and_the_hint_elsewhere(shell: Shell, dsn: str) -> None:
    submitted = await shell.run("submit", "fail", "reason=none", "--owner", "me")

    assert submitted.exit_code == 0
    assert "evalqueue watch" in submitted.err
    async with Client(dsn) as client:
        (job,) = await client.list()
    assert submitted.out == f"{job.id}\n"
    assert (job.params, job.owner) == ({"reason": "none"}, "me")


async def test_params_come_from_a_file_from_stdin_and_one_by_one(shell: Shell) -> None:
    shell.write("params.json", '{"gate": "file", "label": "file"}')

    from_file = await shell.run("submit", "hold", "--params", "@params.json", "label=b", "--json")
    from_stdin = await shell.run(
        "submit", "hold", "-", "total:=3", "--json", stdin='{"gate": "stdin"}'
    )

    assert from_file.json["params"] == {"gate": "file", "label": "b"}
    assert from_stdin.json["params"] == {"gate": "stdin", "total": 3}


async def test_a_file_in_the_place_of_a_text_is_refused_with_what_to_do(shell: Shell) -> None:
    shell.write("chats.csv", "thread_id")

    for pair in ("csv_content=@chats.csv", "csv_content=@missing.csv", "gate=@chats.csv"):
        refused = await shell.run("submit", "hold", pair)
        assert refused.exit_code == 2
        assert "evalqueue datasets add" in refused.err
        assert "--params @FILE" in refused.err
    taken = await shell.run("submit", "hold", "gate=@home", "--json")
    assert taken.json["params"] == {"gate": "@home"}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("hold", "gate"), "gate: params are given as key=text, as key:=JSON, or as - for stdin."),
        (("hold", "--params", "[1]"), "--params: a JSON object is needed, this is list."),
        (("hold", "total:=many"), "total: this is not JSON: "),
        (
            ("hold", "--params", '{"a": 1, "a": 2}'),
            "The key 'a' is there twice",
        ),
        (("hold", "gate=x", "total:=true"), "params.total: Write a number, not true or false"),
        (("hold", "--params", "@nothing.json"), "--params: can't read nothing.json: "),
        (
            ("dance",),
            "Unknown job_type: dance. Known: check-alerts, check-drift, deliver-alert,"
            " evaluate-adversarial, evaluate-batch, evaluate-source, fail, hold, propose-app,"
            " reach-chatbot, settle-batches, try-evaluators",
        ),
    ],
)
async def test_what_cannot_be_submitted_is_refused_in_words(
    shell: Shell, arguments: tuple[str, ...], line: str
) -> None:
    refused = await shell.run("submit", *arguments)

    assert refused.exit_code == 2
    assert line in refused.err
    assert refused.out == ""
    assert "Traceback" not in refused.err


async def test_every_problem_of_the_params_is_on_a_line_of_its_own(shell: Shell) -> None:
    refused = await shell.run("submit", "hold", "total:=0", "lable=b")

    assert refused.exit_code == 2
    assert refused.err.splitlines() == [
        "params.gate: It is missing",
        "params.total: Write 1 or more",
        "params.lable: There is no such key: remove it, or correct its spelling",
    ]


async def test_status_shows_jobs_newest_first_and_only_those_asked_for(shell: Shell) -> None:
    older = await shell.run("submit", "fail", "reason=a")
    newer = await shell.run("submit", "hold", "gate=b")

    listed = await shell.run("status", "--json")
    filtered = await shell.run("status", "--status", "queued", "--job-type", "fail", "--json")
    table = await shell.run("status", "--limit", "1")
    none = await shell.run("status", "--status", "failed")

    assert [job["id"] for job in listed.json] == [newer.out.strip(), older.out.strip()]
    assert [job["id"] for job in filtered.json] == [older.out.strip()]
    assert newer.out.strip() in table.out
    assert older.out.strip() not in table.out
    assert (none.exit_code, none.out, none.err) == (0, "", "No jobs.\n")


async def test_status_shows_what_jobs_are_called(shell: Shell) -> None:
    for name in ("Nightly", "n" * 60):
        await shell.run("submit", "evaluate-batch", "total_items:=1", f"name={name}",
                        EVALQUEUE_LLM_PROVIDER="simulated")  # fmt: skip

    shown = await shell.run("status")

    assert "name" in shown.out
    assert "Nightly" in shown.out
    assert "n" * 39 + "…" in shown.out


async def test_a_queued_job_is_shown_with_how_many_are_ahead(shell: Shell) -> None:
    first = (await shell.run("submit", "fail", "reason=a")).out.strip()
    second = (await shell.run("submit", "fail", "reason=b")).out.strip()

    rows = {
        line.split()[0]: line
        for line in (await shell.run("status")).out.splitlines()
        if line.strip()
    }
    shown = (await shell.run("status", second)).out
    watching = await shell.start("watch", second)
    watched = await watching.until("queued")
    watching.send(signal.SIGINT)
    await watching.end()

    assert " next " in rows[first]
    assert " 1 ahead " in rows[second]
    assert "now  1 ahead" in shown
    assert "queued  1 ahead" in watched


@pytest.mark.parametrize("command", ["status", "watch", "cancel", "retry"])
async def test_a_job_that_is_not_there_is_not_found(shell: Shell, command: str) -> None:
    job_id = str(uuid4())

    answered = await shell.run(command, job_id)

    assert answered.exit_code == 4
    assert answered.err == f"Job not found: {job_id}\n"


async def test_submit_and_watch_a_job_to_its_good_end(shell: Shell, gate: Gate) -> None:
    await shell.worker()
    watching = await shell.start("submit", "hold", f"gate={gate.path}", "--watch", "--json")
    held = await gate.arrived()
    await watching.until("held", "out")
    held.close()
    ended = await watching.end()

    documents = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.exit_code == 0
    assert documents[-1]["status"] == "completed"
    assert documents[-1]["result"] == {"label": "a"}
    assert {document["id"] for document in documents} == {documents[0]["id"]}
    assert "completed  2/2 100%" in ended.err
    assert "\x1b" not in ended.err, "a job's words must not steer a terminal"


async def test_watching_a_job_that_fails_ends_with_its_reason(shell: Shell) -> None:
    await shell.worker()
    ended = await shell.run("submit", "fail", "reason=out of beans", "--watch")
    shown = await shell.run("status", ended.out.strip())
    as_json = await shell.run("status", ended.out.strip(), "--json")

    assert ended.exit_code == 1
    assert "out of beans" in ended.err
    assert "out of beans" in shown.out
    assert as_json.json["attempts"][0]["outcome"] == "failed"


async def test_cancel_is_final_and_a_second_one_is_refused(shell: Shell, gate: Gate) -> None:
    await shell.worker()
    watching = await shell.start("submit", "hold", f"gate={gate.path}", "--watch")
    job_id = (await watching.until("\n", "out")).strip()
    await gate.arrived()

    cancelled = await shell.run("cancel", job_id, "--json")
    again = await shell.run("cancel", job_id)
    ended = await watching.end()

    assert cancelled.json == {"id": job_id, "status": "cancelled"}
    assert (again.exit_code, again.err) == (4, "Cannot cancel job in 'cancelled' state\n")
    assert ended.exit_code == 3


async def test_ctrl_c_stops_watching_and_leaves_the_job(shell: Shell, gate: Gate, dsn: str) -> None:
    await shell.worker()
    watching = await shell.start("submit", "hold", f"gate={gate.path}", "--watch")
    job_id = (await watching.until("\n", "out")).strip()
    held = await gate.arrived()
    await watching.until("running")
    watching.send(signal.SIGINT)
    ended = await watching.end()

    assert ended.exit_code == 130
    assert f"To cancel it: evalqueue cancel {job_id}" in ended.err
    assert "Traceback" not in ended.err
    async with Client(dsn) as client:
        (job,) = await client.list()
        assert job.status is JobStatus.RUNNING
        held.close()
        assert (await client.wait(job.id, timeout=60)).status is JobStatus.COMPLETED


async def test_a_terminated_worker_finishes_what_it_runs(
    shell: Shell, gate: Gate, dsn: str
) -> None:
    worker = await shell.worker()
    submitted = await shell.run("submit", "hold", f"gate={gate.path}", "--json")
    held = await gate.arrived()
    worker.send(signal.SIGTERM)
    await worker.until("Stopping: waiting for 1 running job(s)")
    held.close()
    ended = await worker.end()

    assert ended.exit_code == 0
    async with Client(dsn) as client:
        (job,) = await client.list()
    assert str(job.id) == submitted.json["id"]
    assert job.status is JobStatus.COMPLETED


async def test_a_worker_whose_parent_is_gone_stops(shell: Shell) -> None:
    """Its stdin is a pipe from the parent, and closes when the parent ends."""
    worker = await shell.worker("--until-eof")
    assert worker.process.stdin is not None
    worker.process.stdin.close()
    ended = await worker.end()

    assert ended.exit_code == 0
    assert "Stopping" in ended.err


async def test_a_one_shot_worker_ends_when_nothing_is_left(shell: Shell) -> None:
    await shell.run("submit", "fail", "reason=first")

    ended = await shell.run("worker", "--one-shot", "--queues", "evalqueue", "--concurrency", "1")
    jobs = await shell.run("status", "--json")

    assert ended.exit_code == 0
    assert [job["status"] for job in jobs.json] == ["failed"]


async def test_submit_says_when_where_after_what_and_how_urgently(shell: Shell) -> None:
    first = (await shell.run("submit", "fail", "reason=a")).out.strip()

    submitted = await shell.run(
        "submit", "fail", "reason=b", "--at", "2100-01-01T00:00:00+01:00", "--queue", "nightly",
        "--priority", "7", "--after", first, "--json",
    )  # fmt: skip
    shown = await shell.run("status", submitted.json["id"])

    assert (submitted.json["queue"], submitted.json["priority"]) == ("nightly", 7)
    assert (submitted.json["after_id"], submitted.json["waiting"]) == (first, True)
    assert datetime.fromisoformat(submitted.json["due_at"]) == datetime(
        2099, 12, 31, 23, tzinfo=UTC
    )
    assert "nightly, priority 7" in shown.out
    assert f"after job {first}" in shown.out


async def test_the_same_idempotency_key_is_the_same_job(shell: Shell) -> None:
    first = await shell.run("submit", "fail", "reason=a", "--idempotency-key", "k")
    again = await shell.run("submit", "fail", "reason=a", "--idempotency-key", "k")
    other = await shell.run("submit", "fail", "reason=b", "--idempotency-key", "k")

    assert first.out == again.out
    assert (other.exit_code, other.out) == (2, "")
    assert first.out.strip() in other.err


@pytest.mark.parametrize(
    ("moment", "words"),
    [("tomorrow", "--at: this is not a time"), ("2100-01-01T00:00", "the time zone is missing")],
)
async def test_a_moment_that_can_not_be_meant_is_refused(
    shell: Shell, moment: str, words: str
) -> None:
    refused = await shell.run("submit", "fail", "reason=a", "--at", moment)

    assert refused.exit_code == 2
    assert words in refused.err


async def test_a_retry_continues_a_job_and_both_say_so(shell: Shell) -> None:
    old = (await shell.run("submit", "fail", "reason=a", "--owner", "me")).out.strip()
    too_early = await shell.run("retry", old)
    await shell.run("cancel", old)

    retried = await shell.run("retry", old)
    again = await shell.run("retry", old, "--failed-only", "--json")
    anew = await shell.run("retry", old, "--all", "--json")

    assert (too_early.exit_code, too_early.out) == (4, "")
    assert "only what is over can be retried" in too_early.err
    assert (retried.exit_code, again.json["id"]) == (0, retried.out.strip())
    assert again.json["retry_of"] == old
    assert (anew.json["retry_of"], anew.json["owner"], anew.json["params"]) == (
        None, "me", {"reason": "a"},
    )  # fmt: skip
    shown = await shell.run("status", old)
    assert f"continued by  {retried.out.strip()}" in shown.out
    assert (await shell.run("status", old, "--json")).json["continued_by"] == retried.out.strip()
    lines = (await shell.run("status", retried.out.strip())).out.splitlines()
    assert ["retry", "of", old] in [line.split() for line in lines]


async def test_a_retry_can_be_watched(shell: Shell) -> None:
    old = (await shell.run("submit", "fail", "reason=still no")).out.strip()
    await shell.run("cancel", old)
    await shell.worker()

    ended = await shell.run("retry", old, "--watch")

    assert ended.exit_code == 1
    assert "still no" in ended.err


async def test_a_cap_in_dollars_on_a_model_without_a_price_is_refused(shell: Shell) -> None:
    submit = ("submit", "evaluate-batch", "total_items:=3", "llm_provider=simulated")
    refused = await shell.run(*submit, "--max-cost", "1.50")
    taken = await shell.run(*submit, "--max-tokens", "1000", "--json")
    listed = await shell.run("status", "--json")

    assert (refused.exit_code, refused.out) == (2, "")
    assert "the price of simulated/simulated-judge is not known" in refused.err
    assert taken.exit_code == 0, taken.err
    (job,) = json.loads(listed.out)
    assert job["params"]["max_tokens"] == 1000
