"""The audit log has one row for each change, by whichever door it came, and none for what was
refused, rolled back, or changed nothing."""

import io
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from tests.cli.conftest import Shell
from tests.http.conftest import ENTRIES, TOKENS, ServeApi, bearer
from tests.http.test_rights import CASE, FILE, MARK, World, world_of

from evalqueue import JobStatus, audit
from evalqueue.audit import AuditEntry, AuditFilter
from evalqueue.errors import NotCancellable
from evalqueue.evaluators import apps
from evalqueue.evaluators.adversarial import saved_cases
from evalqueue.evaluators.adversarial.cases.case import Case
from evalqueue.evaluators.adversarial.saved_cases import CasesDiffer
from evalqueue.evaluators.alerts import store as alerts
from evalqueue.evaluators.alerts.alert import NewAlert
from evalqueue.evaluators.apps import documents
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.evaluators.figures.reports import shares
from evalqueue.evaluators.labels import annotation, notes
from evalqueue.evaluators.labels import store as label_store
from evalqueue.evaluators.labels.annotation import Selection
from evalqueue.evaluators.labels.store import NewLabel
from evalqueue.evaluators.runs import reading
from evalqueue.evaluators.verdicts import Difficulty
from evalqueue.jobs import Ended
from evalqueue.postgres import fleet, schedules
from evalqueue.postgres import store as jobs
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.fleet import Capabilities
from evalqueue.postgres.schedules import Schedule
from evalqueue.telemetry.actors import Actor, Door, acting
from evalqueue.worker import leader
from evalqueue.worker.leader import Retention

OTHER_APP = apps.from_document(
    {
        "app_id": "another-bot",
        "name": "Another",
        "about": "a bot",
        "intents": [{"name": "One", "description": "the only one"}],
        "query_types": [{"name": "ask", "description": "asks"}],
    },
    where="test",
)
OTHER_FILE = FILE.replace(b"s1", b"s2")
OTHER_CASE = Case(
    opening="I ate nothing",
    expected_behavior="It greets",
    difficulty=Difficulty.EASY,
    persona="easy",
)
SCHEDULE = Schedule(
    name="nightly",
    cron="0 2 * * *",
    timezone="UTC",
    job_type="note",
    params={},
    owner="ada",
    queue="evalqueue",
    priority=0,
    max_attempts=3,
    next_at=datetime(2100, 1, 1, tzinfo=UTC),
)
LABELS = [
    NewLabel(thread_id=MARK, evaluator="manners", value="polite", labelled_by="bob", is_random=True)
]
LABEL_FILE = (
    "thread_id,evaluator,name,value,labelled_by,is_random,note\n"
    f"{MARK},manners,verdict,polite,bob,yes,\n"
)

Act = Callable[[Connection, World], Awaitable[object]]
"""A change by the library, on a connection in autocommit mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change, by each door that it can come by. Braces name ids of the world."""

    action: str
    kind: str
    subject: str
    library: Act
    before: Act | None = None
    http: tuple[str, str] | None = None
    body: Mapping[str, Any] | None = None
    """With `http`: fields of the request."""
    cli: tuple[str, ...] = ()
    sql: str | None = None


async def _run(connection: Connection, world: World) -> label_store.LabelledRun:
    run = await label_store.labelled_run(connection, world.run_id, owner=None)
    assert run is not None
    return run


async def _label(connection: Connection, world: World) -> object:
    return await label_store.add(connection, await _run(connection, world), LABELS)


async def _note(connection: Connection, world: World) -> object:
    return await notes.add(
        connection, await _run(connection, world), MARK, "Look", written_by="bob"
    )


async def _queue(connection: Connection, world: World) -> object:
    await connection.execute(  # the conversation of the file, so that there is one to draw
        "UPDATE dataset_threads SET thread_id = %s WHERE dataset_id = %s", [MARK, world.dataset_id]
    )
    return await annotation.create(
        connection, await _run(connection, world),
        evaluator="manners", name=None, selection=Selection.RANDOM, size=1, annotators=1,
    )  # fmt: skip


async def _drawable(connection: Connection, world: World) -> object:
    return await connection.execute(
        "UPDATE dataset_threads SET thread_id = %s WHERE dataset_id = %s", [MARK, world.dataset_id]
    )


async def _share(connection: Connection, world: World) -> object:
    run = await reading.get_run(connection, world.run_id)
    assert run is not None
    return await shares.add(connection, run, days=7)


async def _file(_connection: Connection, world: World) -> object:
    incoming = Incoming(file=io.BytesIO(OTHER_FILE), name="x.csv")
    return await imports.add(await world.client.database(), incoming, owner="ada", kept=True)


async def _other_app(connection: Connection, _world: World) -> object:
    async with connection.transaction():
        return await app_store.add(connection, OTHER_APP, owner="ada")


async def _over(connection: Connection, world: World) -> object:
    """A job that ended long ago."""
    await world.client.cancel(world.job.id)
    return await connection.execute(
        "UPDATE jobs SET completed_at = now() - interval '10 days' WHERE completed_at IS NOT NULL"
    )


def _pinned(pinned: bool) -> Act:
    async def act(connection: Connection, _world: World) -> object:
        owners = {CASE.case_id: "ada"}
        return await saved_cases.pin(connection, "kaira-bot", owners, pinned=pinned)

    return act


async def _alert(connection: Connection, _: World) -> object:
    new = NewAlert.model_validate({"name": "judge", "watches": "drift"})
    return await alerts.add(connection, new, owner="ada", job_types=())


OWNED = "app_id = 'kaira-bot' AND owner = 'ada'"
CHANGES = [
    Change(
        action="job.cancel", kind="job", subject="{job_id}",
        library=lambda _, world: world.client.cancel(world.job.id),
        http=("POST", "/api/jobs/{job_id}/cancel"),
        cli=("cancel", "{job_id}"),
        sql="SELECT evalqueue_cancel_job('{job_id}')",
    ),
    Change(
        action="job.retry", kind="job", subject="{job_id}",
        before=lambda _, world: world.client.cancel(world.job.id),
        library=lambda _, world: world.client.retry(world.job.id),
        http=("POST", "/api/jobs/{job_id}/retry"),
        cli=("retry", "{job_id}"),
        sql="SELECT id FROM evalqueue_retry_job('{job_id}')",
    ),
    Change(
        action="queue.pause", kind="queue", subject="{queue}",
        library=lambda connection, _: fleet.pause(connection, "evalqueue"),
        http=("POST", "/api/queues/{queue}/pause"),
        cli=("queues", "pause", "{queue}"),
        sql="INSERT INTO job_queues (name, paused_at) VALUES ('{queue}', now())",
    ),
    Change(
        action="queue.resume", kind="queue", subject="{queue}",
        before=lambda connection, _: fleet.pause(connection, "evalqueue"),
        library=lambda connection, _: fleet.resume(connection, "evalqueue"),
        http=("POST", "/api/queues/{queue}/resume"),
        cli=("queues", "resume", "{queue}"),
        sql="UPDATE job_queues SET paused_at = NULL",
    ),
    Change(
        action="queue.limit", kind="queue", subject="{queue}",
        library=lambda connection, _: fleet.limit(
            connection, "evalqueue", max_running=3, max_running_per_owner=None
        ),
        cli=("queues", "limit", "{queue}", "--max-running", "3"),
        sql="INSERT INTO job_queues (name, max_running) VALUES ('{queue}', 3)",
    ),
    Change(
        action="queue.remove", kind="queue", subject="{queue}",
        before=lambda connection, _: fleet.pause(connection, "evalqueue"),
        library=lambda connection, _: connection.execute("DELETE FROM job_queues"),
        sql="DELETE FROM job_queues",
    ),
    Change(
        action="schedule.add", kind="schedule", subject="nightly",
        library=lambda connection, _: schedules.put(connection, SCHEDULE),
        cli=("schedules", "add", "nightly", "--cron", "@daily", "--job-type", "fail", "reason=a"),
        sql="INSERT INTO job_schedules (name, cron, job_type, next_at)"
        " VALUES ('nightly', '@daily', 'note', now())",
    ),
    Change(
        action="schedule.change", kind="schedule", subject="nightly",
        before=lambda connection, _: schedules.put(connection, SCHEDULE),
        library=lambda connection, _: connection.execute("UPDATE job_schedules SET priority = 3"),
        cli=("schedules", "add", "nightly", "--cron", "@daily", "--job-type", "fail", "reason=a"),
        sql="UPDATE job_schedules SET priority = 1",
    ),
    Change(
        action="schedule.pause", kind="schedule", subject="nightly",
        before=lambda connection, _: schedules.put(connection, SCHEDULE),
        library=lambda connection, _: schedules.pause(connection, "nightly"),
        cli=("schedules", "pause", "nightly"),
        sql="UPDATE job_schedules SET paused_at = now()",
    ),
    Change(
        action="schedule.resume", kind="schedule", subject="nightly",
        before=lambda connection, _: _paused(connection),
        library=lambda connection, _: schedules.resume(connection, "nightly"),
        cli=("schedules", "resume", "nightly"),
        sql="UPDATE job_schedules SET paused_at = NULL",
    ),
    Change(
        action="schedule.remove", kind="schedule", subject="nightly",
        before=lambda connection, _: schedules.put(connection, SCHEDULE),
        library=lambda connection, _: schedules.remove(connection, "nightly"),
        cli=("schedules", "remove", "nightly"),
        sql="DELETE FROM job_schedules",
    ),
    Change(
        action="app.add", kind="app", subject="another-bot",
        library=_other_app,
        http=("POST", "/api/apps"),
        body={"json": {"document": apps.to_document(OTHER_APP)}},
        cli=("apps", "add", "another.json"),
    ),
    Change(
        action="app.remove", kind="app", subject="seven-locks",
        library=lambda connection, _: app_store.remove(connection, MARK, owner="ada"),
        http=("DELETE", "/api/apps/seven-locks"),
        cli=("apps", "remove", "seven-locks", "--owner", "ada"),
        sql="SELECT evalqueue_remove_app('ada', 'seven-locks')",
    ),
    Change(
        action="dataset.add", kind="dataset", subject="sha256:",
        library=_file,
        http=("POST", "/api/datasets"),
        body={"files": {"file": ("june.csv", OTHER_FILE)}},
        cli=("datasets", "add", "other.csv"),
    ),
    Change(
        action="dataset.change", kind="dataset", subject="{dataset_id}",
        library=lambda connection, world: app_store.set_of_dataset(
            connection, world.dataset_id, "kaira-bot", owner="ada"
        ),
        sql="UPDATE dataset_owners SET app_id = 'kaira-bot' WHERE dataset_id = '{dataset_id}'",
    ),
    Change(
        action="dataset.remove", kind="dataset", subject="{dataset_id}",
        library=lambda connection, world: datasets.remove(
            connection, world.dataset_id, owner=None
        ),
        http=("DELETE", "/api/datasets/{dataset_id}"),
        cli=("datasets", "remove", "{dataset_id}"),
        sql="SELECT evalqueue_remove_dataset('{dataset_id}', 'ada')",
    ),
    Change(
        action="labels.add", kind="dataset", subject="{dataset_id}",
        library=_label,
        http=("POST", "/api/labels"),
        body={
            "json": {"run_id": "{run_id}", "labels": [each.model_dump() for each in LABELS]}
        },
        cli=("labels", "add", "labels.csv", "--run", "{run_id}"),
    ),
    Change(
        action="notes.add", kind="dataset", subject="{dataset_id}",
        library=_note,
        http=("POST", "/api/notes"),
        body={"json": {"run_id": "{run_id}", "thread_id": MARK, "note": "Look"}},
    ),
    Change(
        action="annotation_queue.add", kind="annotation_queue", subject="",
        before=_drawable,
        library=_queue,
        http=("POST", "/api/annotation-queues"),
        body={"json": {"run_id": "{run_id}", "evaluator": "manners"}},
        cli=("labels", "queue", "{run_id}", "--evaluator", "manners"),
    ),
    Change(
        action="share.add", kind="run", subject="{run_id}",
        library=_share,
        http=("POST", "/api/eval-runs/{run_id}/share"),
        body={"json": {"days": 7}},
        cli=("runs", "share", "{run_id}"),
    ),
    Change(
        action="share.revoke", kind="run", subject="{run_id}",
        library=lambda connection, world: shares.revoke(
            connection, world.run_id, world.share_id
        ),
        http=("DELETE", "/api/eval-runs/{run_id}/share/{share_id}"),
        cli=("runs", "share", "{run_id}", "--revoke", "{share_id}"),
        sql="DELETE FROM run_shares",
    ),
    Change(
        action="alert.add", kind="alert", subject="",
        library=_alert,
        http=("POST", "/api/alerts"),
        body={"json": {"name": "judge", "watches": "drift"}},
        cli=("alerts", "add", "judge", "--watches", "drift"),
        sql="INSERT INTO alerts (owner, name, watches) VALUES ('ada', 'judge', 'drift')",
    ),
    Change(
        action="alert.remove", kind="alert", subject="{alert_id}",
        library=lambda connection, world: alerts.remove(connection, world.alert_id),
        http=("DELETE", "/api/alerts/{alert_id}"),
        cli=("alerts", "remove", "{alert_id}"),
        sql="DELETE FROM alerts WHERE id = '{alert_id}'",
    ),
    Change(
        action="cases.add", kind="cases", subject="kaira-bot",
        library=lambda connection, _: saved_cases.save(
            connection, "kaira-bot", [OTHER_CASE], owner="ada", pinned=False
        ),
        http=("POST", "/api/adversarial/cases"),
        body={
            "json": {
                "app_id": "kaira-bot",
                "cases": [{"opening": "Hi", "expected_behavior": "It greets", "persona": "easy"}],
            }
        },
        cli=("adversarial", "cases", "import", "cases.jsonl"),
    ),
    Change(
        action="cases.pin", kind="cases", subject="kaira-bot",
        library=_pinned(pinned=True),
        http=("POST", "/api/adversarial/cases/kaira-bot/{case_id}/pin"),
        cli=("adversarial", "cases", "pin", "{case_id}"),
        sql=f"UPDATE saved_cases SET pinned = true WHERE {OWNED}",
    ),
    Change(
        action="cases.unpin", kind="cases", subject="kaira-bot",
        before=_pinned(pinned=True),
        library=_pinned(pinned=False),
        http=("POST", "/api/adversarial/cases/kaira-bot/{case_id}/unpin"),
        cli=("adversarial", "cases", "unpin", "{case_id}"),
        sql=f"UPDATE saved_cases SET pinned = false WHERE {OWNED}",
    ),
    Change(
        action="cases.remove", kind="cases", subject="kaira-bot",
        library=lambda connection, _: saved_cases.unsave(
            connection, "kaira-bot", {CASE.case_id: "ada"}, pinned_too=True
        ),
        http=("DELETE", "/api/adversarial/cases/kaira-bot/{case_id}"),
        cli=("adversarial", "cases", "remove", "{case_id}"),
        sql=f"DELETE FROM saved_cases WHERE {OWNED}",
    ),
    Change(
        action="rows.prune", kind="retention", subject="jobs",
        before=_over,
        library=lambda _, world: _prune(world),
        cli=("prune", "--jobs-days", "9"),
        sql="SELECT evalqueue_prune(interval '9 days', NULL, NULL)",
    ),
]  # fmt: skip


async def _paused(connection: Connection) -> None:
    await schedules.put(connection, SCHEDULE)
    await schedules.pause(connection, "nightly")


async def _prune(world: World) -> int:
    return await leader.prune(await world.client.database(), Retention(jobs=timedelta(days=9)))


def ids_of(changes: list[Change]) -> list[str]:
    return [each.action for each in changes]


async def prepared(change: Change, database: Database) -> World:
    """The objects of `ada`, and an empty log."""
    world = await world_of("ada", database)
    async with database.connection() as connection:
        if change.before is not None:
            await change.before(connection, world)
        await connection.execute("TRUNCATE audit_log")
    return world


async def log(database: Database, **wanted: str) -> list[AuditEntry]:
    async with database.connection() as connection:
        return await audit.entries(connection, AuditFilter(**wanted), limit=100)


async def role(database: Database) -> str:
    async with database.connection() as connection:
        row = await (await connection.execute("SELECT session_user")).fetchone()
    assert row is not None
    return row[0]


async def check(change: Change, world: World, database: Database, door: Door, actor: str) -> None:
    (entry,) = await log(database)
    assert (entry.action, entry.subject_kind) == (change.action, change.kind)
    assert entry.subject_id.startswith(change.subject.format(**world.ids()))
    assert entry.subject_id
    assert (entry.door, entry.actor, entry.role) == (door, actor, await role(database))
    # No text of a conversation, label or case; the app of `world_of` is named like its texts.
    assert change.action == "app.remove" or MARK not in str(entry.details)


def filled(value: Any, ids: Mapping[str, str]) -> Any:
    """A body whose texts name the ids of the world."""
    match value:
        case str():
            return value.format(**ids) if value.startswith("{") else value
        case dict():
            return {name: filled(each, ids) for name, each in value.items()}
        case _:
            return value


BY_HTTP = [each for each in CHANGES if each.http is not None]
BY_COMMAND = [each for each in CHANGES if each.cli]
BY_SQL = [each for each in CHANGES if each.sql is not None]


@pytest.mark.parametrize("change", BY_HTTP, ids=ids_of(BY_HTTP))
async def test_a_request_writes_one_row_with_the_name_of_its_token(
    serve_api: ServeApi, database: Database, change: Change
) -> None:
    assert change.http is not None
    world = await prepared(change, database)
    method, path = change.http
    body = filled(change.body or {}, world.ids())
    async with serve_api(api_tokens=ENTRIES) as http:
        path = path.format(**world.ids())
        refused = await http.request(method, path, headers=bearer(TOKENS["rita"]), **body)
        assert refused.status_code == 403
        assert await log(database) == []
        reply = await http.request(method, path, headers=bearer(TOKENS["ada"]), **body)
        assert reply.is_success, reply.text

    await check(change, world, database, Door.HTTP, "ada")


@pytest.mark.parametrize("change", CHANGES, ids=ids_of(CHANGES))
async def test_a_call_of_the_library_writes_one_row_unless_it_is_rolled_back(
    database: Database, change: Change
) -> None:
    world = await prepared(change, database)
    if change.action not in {"job.cancel", "job.retry", "dataset.add", "rows.prune"}:
        # Those have connections of their own.
        async with database.connection() as connection, connection.transaction(force_rollback=True):
            await change.library(connection, world)
        assert await log(database) == []
    by_hand = change.action in {"queue.remove", "schedule.change"}  # the library has no call
    async with database.connection() as connection:
        await change.library(connection, world)

    door = Door.SQL if by_hand else Door.LIBRARY
    await check(change, world, database, door, await role(database))


@pytest.mark.parametrize("change", BY_COMMAND, ids=ids_of(BY_COMMAND))
async def test_a_command_writes_one_row_with_the_login(
    shell: Shell, database: Database, change: Change
) -> None:
    world = await prepared(change, database)
    shell.write("another.json", documents.canonical(OTHER_APP))
    shell.write("other.csv", OTHER_FILE.decode())
    shell.write("labels.csv", LABEL_FILE)
    case = {"opening": "Hi", "expected_behavior": "It greets", "persona": "easy"}
    shell.write("cases.jsonl", json.dumps(case))

    done = await shell.run(
        *(each.format(**world.ids()) for each in change.cli), LOGNAME="an operator"
    )

    assert done.exit_code == 0, done.err
    await check(change, world, database, Door.CLI, "an operator")


@pytest.mark.parametrize("change", BY_SQL, ids=ids_of(BY_SQL))
async def test_a_statement_writes_one_row_in_its_transaction(
    database: Database, change: Change
) -> None:
    assert change.sql is not None
    world = await prepared(change, database)
    statement = change.sql.format(**world.ids()).encode()
    async with database.connection() as connection:
        async with connection.transaction(force_rollback=True):
            await connection.execute(statement)
            assert len(await audit.entries(connection, AuditFilter(), limit=9)) == 1
        assert await log(database) == []
        await connection.execute(statement)

    await check(change, world, database, Door.SQL, await role(database))


CANCELLED_OTHERWISE = {
    "its task is deleted": "DELETE FROM procrastinate_jobs WHERE id = {task}",
    "procrastinate cancels it": "SELECT procrastinate_cancel_job_v1({task}, false, false)",
    "procrastinate aborts it": "SELECT procrastinate_cancel_job_v1({task}, true, false)",
    "procrastinate deletes it": "SELECT procrastinate_cancel_job_v1({task}, true, true)",
    "its task is finished": "UPDATE procrastinate_jobs SET status = 'aborted' WHERE id = {task}",
}


@pytest.mark.parametrize("is_running", [False, True], ids=["queued", "running"])
@pytest.mark.parametrize("how", CANCELLED_OTHERWISE)
async def test_a_cancel_by_the_task_writes_one_row(
    database: Database, how: str, is_running: bool
) -> None:
    world = await prepared(CHANGES[0], database)
    status = "running" if is_running else "queued"
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT task_id FROM jobs WHERE id = %s", [world.job.id])
        ((task,),) = await cursor.fetchall()
        if is_running:
            await connection.execute(
                "UPDATE procrastinate_jobs SET status = 'doing' WHERE id = %s", [task]
            )
        await connection.execute(CANCELLED_OTHERWISE[how].format(task=task).encode())
    is_over = (await world.client.get(world.job.id)).status is JobStatus.CANCELLED
    entries = await log(database)

    assert is_over or (is_running and how == "procrastinate cancels it")
    assert len(entries) == is_over
    if is_over:
        assert (entries[0].action, entries[0].subject_id) == ("job.cancel", str(world.job.id))
        assert (entries[0].door, entries[0].details["status"]) == (Door.SQL, status)


async def test_what_changes_nothing_is_not_recorded(database: Database) -> None:
    world = await world_of("ada", database)
    async with database.connection() as connection:
        await fleet.pause(connection, "evalqueue")
        await schedules.put(connection, SCHEDULE)
        await world.client.cancel(world.job.id)
        await world.client.retry(world.job.id)
        await connection.execute("TRUNCATE audit_log")

        await fleet.pause(connection, "evalqueue")
        await fleet.resume(connection, "another")
        await schedules.put(connection, SCHEDULE)
        assert not await schedules.remove(connection, "none")
        await world.client.retry(world.job.id)  # it is continued already
        with pytest.raises(NotCancellable):
            await world.client.cancel(world.job.id)
        async with connection.transaction():
            await app_store.add(connection, (await _app(connection)), owner="ada")
        await saved_cases.save(connection, "kaira-bot", [CASE], owner="ada", pinned=False)
        assert await leader.prune(database, Retention(jobs=timedelta(days=9))) == 0

    assert await log(database) == []


async def _app(connection: Connection) -> apps.App:
    return (await app_store.find(connection, MARK, owner="ada")).app


async def test_what_is_refused_after_it_was_written_is_not_recorded(database: Database) -> None:
    """An equal case, of which another owner expects something else, is pinned."""
    await world_of("ada", database)
    other = Case(
        opening=CASE.opening,
        expected_behavior="It does not",
        difficulty=CASE.difficulty,
        persona=CASE.persona,
    )
    async with database.connection() as connection:
        await saved_cases.save(connection, "kaira-bot", [other], owner="otto", pinned=True)
        await connection.execute("TRUNCATE audit_log")
        with pytest.raises(CasesDiffer):
            await saved_cases.pin(connection, "kaira-bot", {CASE.case_id: "ada"}, pinned=True)

    assert await log(database) == []


async def test_the_life_of_a_job_and_of_a_schedule_is_not_recorded(database: Database) -> None:
    capabilities = Capabilities(queues=None, job_types=["note"])
    async with database.connection() as connection:
        await schedules.put(connection, SCHEDULE)
        await connection.execute("TRUNCATE audit_log")
        await connection.execute("UPDATE job_schedules SET next_at = now() - interval '1 s'")
        await schedules.fire_due(connection)
        worker = await fleet.register(
            connection, name="w", version="1", capabilities=capabilities, slots=1
        )
        (job,) = await fleet.claim(connection, worker, capabilities, slots=1, lease_seconds=30)
        await jobs.finish(
            connection, job_id=job.id, attempt=1, ended=Ended.completed({}), delete_task=False
        )

    assert await log(database) == []


async def test_a_worker_records_what_it_does_by_itself(database: Database) -> None:
    async with database.connection() as connection:
        await schedules.put(connection, SCHEDULE)
        await connection.execute(
            "UPDATE job_schedules SET params = '[]', next_at = now() - interval '1 s'"
        )
        await connection.execute("TRUNCATE audit_log")
        with acting(Actor(door=Door.WORKER, name="tea@host:1/1")):
            await schedules.fire_due(connection)

    (entry,) = await log(database)
    assert (entry.action, entry.door, entry.actor) == ("schedule.pause", "worker", "tea@host:1/1")


HOSTILE = [
    "\x00\ud800 a", "'; DROP TABLE audit_log; --", "http ada", "<script>x</script>", "x" * 5000,
    "a\nb\tc", "é" * 300, "  ",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_a_name_can_be_any_text(database: Database, text: str) -> None:
    with acting(Actor(door=Door.CLI, name=text)):
        async with database.connection() as connection:
            await fleet.pause(connection, "evalqueue")

    (entry,) = await log(database)
    assert entry.door == Door.CLI
    assert 1 <= len(entry.actor) <= 200
    assert entry.actor != "ada"


@pytest.mark.parametrize("text", ["ada", "root ada", "", "{}", "x" * 900])
async def test_a_setting_of_another_program_is_no_door(database: Database, text: str) -> None:
    async with database.transaction() as connection:
        await connection.execute("SELECT set_config('evalqueue.actor', %s, true)", [text])
        await connection.execute("INSERT INTO job_queues (name, paused_at) VALUES ('a', now())")

    (entry,) = await log(database)
    assert entry.door == Door.SQL
    assert entry.actor == (text or await role(database))[:200]


async def test_an_actor_holds_for_one_transaction(database: Database) -> None:
    """Behind a pooler the next one is another client's."""
    async with database.connection() as connection:
        with acting(Actor(door=Door.CLI, name="anna")):
            await fleet.pause(connection, "evalqueue")
        await connection.execute("UPDATE job_queues SET paused_at = NULL")

    resumed, paused = await log(database)
    assert (paused.door, paused.actor) == (Door.CLI, "anna")
    assert (resumed.door, resumed.actor) == (Door.SQL, await role(database))


async def test_a_row_is_bounded(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "SELECT evalqueue_audit('a.b', 'c', repeat('d', 9000),"
            " jsonb_build_object('e', repeat('f', 9000)))"
        )

    (entry,) = await log(database)
    assert len(entry.subject_id) == 300
    assert entry.details == {"shortened": True}


@pytest.mark.parametrize("statement", ["UPDATE audit_log SET actor = 'b'", "DELETE FROM audit_log"])
async def test_rows_are_not_changed(database: Database, statement: str) -> None:
    async with database.connection() as connection:
        await fleet.pause(connection, "evalqueue")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            await connection.execute(statement.encode())

    assert len(await log(database)) == 1


async def test_rows_of_a_day_are_not_pruned(shell: Shell, database: Database) -> None:
    async with database.connection() as connection:
        await fleet.pause(connection, "evalqueue")

    assert (await shell.run("prune", "--audit-days", "0", "--json")).json == {"audit": 0}
    assert len(await log(database)) == 1


async def test_old_rows_are_pruned_and_that_is_recorded(shell: Shell, database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO audit_log (at, actor, role, door, action, subject_kind, subject_id,"
            " details)"
            " SELECT now() - n * interval '1 day', 'a', 'r', 'sql', 'a.b', 'c', n, '{}'"
            " FROM generate_series(0, 2500) AS n"
        )
    pruned = await shell.run("prune", "--audit-days", "99.5", "--json")

    assert pruned.json == {"audit": 2401}
    entries = await log(database)
    assert (entries[0].action, entries[0].subject_id) == ("rows.prune", "audit")
    assert len(await log(database, action="a.b")) == 100
    assert len(await log(database, action="rows")) == 1


async def test_the_log_is_read_a_page_at_a_time_by_administrators(
    serve_api: ServeApi, database: Database
) -> None:
    hostile = "<b>\u202e\x1b[31m"
    async with database.connection() as connection:
        for number in range(5):
            await fleet.pause(connection, f"queue-{number}")
        await fleet.pause(connection, hostile)
    async with serve_api(api_tokens=ENTRIES) as http:
        for name, status in (("rita", 403), ("sam", 403), ("ada", 200)):
            reply = await http.get("/api/audit", headers=bearer(TOKENS[name]))
            assert reply.status_code == status

        async def page(**query: object) -> list[dict[str, Any]]:
            reply = await http.get(
                "/api/audit", params=httpx_params(query), headers=bearer(TOKENS["ada"])
            )
            assert reply.status_code == 200, reply.text
            return reply.json()

        first = await page(limit=2)
        rest = await page(limit=9, after=first[-1]["id"])
        assert [each["subject_id"] for each in first + rest] == [
            hostile, *(f"queue-{number}" for number in (4, 3, 2, 1, 0)),
        ]  # fmt: skip
        await http.post("/api/queues/queue-1/resume", headers=bearer(TOKENS["ada"]))
        (resumed,) = await page(actor="ada")
        assert (resumed["action"], resumed["door"]) == ("queue.resume", "http")
        assert len(await page(action="queue")) == 7
        assert len(await page(action="queue.pause")) == 6
        assert len(await page(subject_kind="queue", subject_id="queue-1")) == 2
        assert await page(subject_kind="app") == []
        assert await page(actor="ada' OR true --") == []


def httpx_params(query: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in query.items()}


async def test_the_command_prints_the_log(shell: Shell, database: Database) -> None:
    none = await shell.run("audit")
    async with database.connection() as connection:
        await fleet.pause(connection, "a\x1b[31m")
    await shell.run("queues", "pause", "b", LOGNAME="anna")

    table = await shell.run("audit")
    listed = (await shell.run("audit", "--json", "--action", "queue.pause")).json
    (annas,) = (await shell.run("audit", "--json", "--actor", "anna")).json
    first = (await shell.run("audit", "--json", "--after", str(annas["id"]), "--limit", "1")).json

    assert (none.exit_code, none.out) == (0, "")
    assert "\x1b" not in table.out
    assert [each["subject_id"] for each in listed] == ["b", "a\x1b[31m"]
    assert (annas["door"], annas["details"]) == ("cli", {})
    assert [each["door"] for each in first] == ["library"]
