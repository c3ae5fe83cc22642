"""Nothing about a user is left once they are forgotten, and what is about others is as before."""

import io
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from costing import run_of, work
from psycopg.types.json import Jsonb
from tests.cli.conftest import Shell

from evalqueue import Client, Job, audit
from evalqueue.audit import AuditFilter
from evalqueue.errors import InvalidParams, NotRetryable, Refused
from evalqueue.evaluators import EvaluateBatch, forgetting
from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.evaluators.trying.job_type import TryEvaluators
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.rows import jsonb
from evalqueue.testing import Behaviour, SimulatedServer

ANN, BOB = "u-ann-7731", "u-bob-4410"
MARK, OTHER = "seven-locks", "nine-keys"
"""In all that Ann, or Bob, has said and was found about it."""
GONE = "There is no conversation left: all were removed with the data of a user"
HEADER = (
    "thread_id,user_id,session_id,intent_detected,query_text,final_response_message,timestamp,"
    "has_image\n"
)


def rows(user: str, mark: str, *numbers: int) -> str:
    return "".join(
        f"{mark}-{number},{user},s-{mark},{mark},I ate {mark} {turn},Logged {mark} {turn},"
        f"2025-11-0{number}T08:0{turn}:00Z,{turn}\n"
        for number in numbers
        for turn in (0, 1)
    )


FILE = HEADER + rows(ANN, MARK, 1, 2, 3) + rows(BOB, OTHER, 4, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    dataset_id: str
    run_id: UUID
    summary: Any


async def one(connection: Connection, statement: str, *arguments: object) -> Any:
    cursor = await connection.execute(statement.encode(), arguments)
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def holding(database: Database, text: str) -> dict[str, int]:
    """How many rows of each table have a text, in any of their columns."""
    found: dict[str, int] = {}
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        )
        for (table,) in await cursor.fetchall():
            count = await one(
                connection, f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE %s", f"%{text}%"
            )
            if count:
                found[table] = count
    return found


async def stored(database: Database, text: str, name: str = "june.csv") -> str:
    incoming = Incoming(file=io.BytesIO(text.encode()), name=name)
    return (await imports.add(database, incoming, owner="default", kept=True)).dataset_id


FOUND = [
    "INSERT INTO scores (run_id, evaluation_id, thread_id, evaluator, version, name, kind,"
    " value_text, evidence, reasoning) SELECT run_id, id, thread_id, 'tone', '1', 'verdict',"
    " 'category', 'KIND', jsonb_build_array(thread_id), thread_id FROM thread_evaluations",
    "UPDATE thread_evaluations SET result = result || jsonb_build_object('quote', thread_id)",
    "INSERT INTO labels (owner, dataset_id, thread_id, evaluator, name, label, labelled_by,"
    " is_random, note) SELECT 'default', dataset_id, thread_id, 'tone', 'verdict', 'KIND', 'ann',"
    " true, opening FROM dataset_threads",
    "INSERT INTO thread_notes (owner, dataset_id, thread_id, note, written_by)"
    " SELECT 'default', dataset_id, thread_id, opening, 'ann' FROM dataset_threads",
    "INSERT INTO annotation_queues (owner, run_id, dataset_id, evaluator, name, selection,"
    " annotators) SELECT 'default', id, dataset_id, 'tone', 'verdict', 'random', 1 FROM eval_runs",
    "INSERT INTO annotation_items SELECT queue.id, row_number() OVER (), thread_id"
    " FROM annotation_queues AS queue JOIN dataset_threads USING (dataset_id)",
    "INSERT INTO annotation_leases SELECT queue_id, position, 'p', false, now() + interval '1 day'"
    " FROM annotation_items",
    "INSERT INTO llm_questions (run_id, job_id, thread_id, request_hash, question)"
    " SELECT run.id, run.job_id, thread_id, sha256(thread_id::bytea), to_json(turns)"
    " FROM eval_runs AS run JOIN dataset_threads USING (dataset_id)",
    "INSERT INTO job_items SELECT run.job_id, thread_id, run.job_id, 1, true"
    " FROM eval_runs AS run JOIN dataset_threads USING (dataset_id)",
    f"UPDATE eval_runs SET error_message = '1 of 5 failed: no {MARK}'",
    f"UPDATE jobs SET error_message = 'no {MARK}' WHERE status <> 'completed'",
    # As a handler says it of a run that is partly completed, or of its progress.
    f'UPDATE jobs SET result = result || \'{{"message": "no {MARK}"}}\' WHERE result IS NOT NULL',
    f'UPDATE jobs SET progress = progress || \'{{"message": "after {MARK}"}}\''
    " WHERE status <> 'completed'",
    f"UPDATE job_attempts SET error = 'no {MARK}'",
    f'UPDATE datasets SET notices = \'[{{"kind": "a", "count": 1, "row": 2, "message":'
    f' "{MARK}"}}]\'',
]
"""What may be stored about conversations besides what a run of the simulated judge has."""


async def world_of(client: Client, dsn: str, monkeypatch: pytest.MonkeyPatch) -> World:
    """A run, a trial and a cancelled job over the conversations of two users, and files that no
    worker has read."""
    database = await client.database()
    dataset_id = await stored(database, FILE)
    await stored(database, HEADER + rows(ANN, MARK, 6), "july.csv")
    async with SimulatedServer(Behaviour()) as vendor:
        monkeypatch.setenv("EVALQUEUE_SIMULATED_URL", vendor.url)
        job = await client.submit(EvaluateBatch(dataset_id=dataset_id, evaluate_intent=False))
        client.job_types.add(TryEvaluators)
        await client.submit(
            TryEvaluators(
                dataset_id=dataset_id, evaluators=["efficiency"], count=5, llm_provider="simulated"
            )
        )
        await work(dsn)
    some = [f"{MARK}-1", f"{OTHER}-4"]
    for ids in (some, some[:1]):
        named = await client.submit(
            EvaluateBatch(dataset_id=dataset_id, thread_ids=ids, evaluate_intent=False)
        )
        await client.cancel(named.id)
    async with database.connection() as connection:
        for text in (FILE.replace("08:", "09:"), f"neither {ANN} nor {MARK} is read"):
            unread = await one(
                connection, "SELECT evalqueue_submit_job('evaluate-batch', %s)",
                jsonb({"csv_content": text}),
            )  # fmt: skip
            await client.cancel(unread)
        for statement in FOUND:
            await connection.execute(statement.encode())
        run_id = run_of(job)
        summary = await one(connection, "SELECT summary FROM eval_runs WHERE id = %s", run_id)
    assert summary["total_threads"] == 5
    return World(dataset_id=dataset_id, run_id=run_id, summary=summary)


SCHEDULED = (
    "INSERT INTO job_schedules (name, cron, job_type, params, next_at)"
    " VALUES ('nightly', '0 3 * * *', 'evaluate-batch', %s, now() + interval '1 year')"
)
OWN = "SELECT evalqueue_submit_job('count-words', %s)"


async def test_schedules_and_jobs_of_other_types_stay_and_name_no_conversation_of_the_user(
    client: Client,
) -> None:
    database = await client.database()
    dataset_id = await stored(database, FILE)
    params = jsonb({"dataset_id": dataset_id, "thread_ids": [f"{MARK}-1", f"{OTHER}-4"]})
    async with database.connection() as connection:
        await connection.execute(SCHEDULED.encode(), [params])
        own = await one(connection, OWN, params)
        await client.cancel(own)
    assert {"jobs", "job_schedules"} <= set(await holding(database, MARK))

    deleted = await forgetting.forget(database, ANN)

    assert await holding(database, MARK) == {}
    assert deleted["jobs"] == 0
    assert (await client.get(own)).params["thread_ids"] == [f"{OTHER}-4"]
    async with database.connection() as connection:
        named = await one(connection, "SELECT params ->> 'thread_ids' FROM job_schedules")
    assert named == f'["{OTHER}-4"]'


EVERYWHERE = {
    "annotation_items", "api_logs", "dataset_threads", "datasets", "eval_runs", "job_attempts",
    "job_items", "jobs", "labels", "llm_questions", "scores", "thread_evaluations",
    "thread_notes", "tried_conversations",
}  # fmt: skip


async def test_no_row_of_any_table_says_anything_of_the_user(
    client: Client, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await world_of(client, dsn, monkeypatch)
    database = await client.database()
    before = await holding(database, OTHER)
    assert set(await holding(database, MARK)) == EVERYWHERE
    assert {"dataset_threads", "datasets"} <= set(await holding(database, ANN))

    deleted = await forgetting.forget(database, ANN)

    assert await holding(database, MARK) == {}
    assert await holding(database, ANN) == {}
    after = await holding(database, OTHER)
    # Trials are deleted as a whole. Bob's unread file has been read in between.
    assert deleted["tried_conversations"] == 5
    assert after.pop("tried_conversations", 0) == 0
    assert after.pop("api_logs") < before.pop("api_logs")
    assert after.pop("dataset_threads") == before.pop("dataset_threads") + 2
    assert before.pop("tried_conversations") == 2
    assert after.pop("jobs") == before.pop("jobs") - 1  # the trial
    assert after == before
    assert deleted["dataset_threads"] == 3 + 1 + 3
    assert deleted["thread_evaluations"] == 3
    assert (deleted["scores"], deleted["labels"]) != (0, 0)
    assert deleted["unread_files"] == 1
    async with database.connection() as connection:
        run = await one(
            connection, "SELECT jsonb_build_array(summary, dataset_id) FROM eval_runs"
            " WHERE id = %s", world.run_id,
        )  # fmt: skip
        assert run == [world.summary, world.dataset_id]
        dataset = await datasets.get(connection, world.dataset_id, owner=None)
        assert dataset is not None
        assert (dataset.threads, dataset.messages, dataset.users) == (2, 4, 1)
        assert (dataset.intents, dataset.messages_with_images) == ({OTHER: 4}, 2)
        assert (dataset.first_at and dataset.first_at.day, dataset.notices) == (4, [])
        assert await one(connection, "SELECT count(*) FROM api_logs WHERE run_id IS NOT NULL") > 0
        (entry,) = await audit.entries(connection, AuditFilter(action="user.forget"), limit=9)
    assert entry.subject_id.startswith("sha256:")
    assert entry.details == {"datasets": 3, "dataset_threads": 7}


async def test_what_is_counted_before_is_what_is_deleted(
    client: Client, dsn: str, monkeypatch: pytest.MonkeyPatch, shell: Shell
) -> None:
    await world_of(client, dsn, monkeypatch)
    database = await client.database()
    marked = await holding(database, MARK)

    text = await shell.run("forget", ANN, "--dry-run")
    dry = (await shell.run("forget", ANN, "--dry-run", "--json")).json
    assert await holding(database, MARK) == marked
    refused = await shell.run("forget", ANN)
    assert await holding(database, MARK) == marked
    done = await shell.run("forget", ANN, "--yes", "--json", LOGNAME="an operator")
    again = await shell.run("forget", ANN, "--yes", "--json")

    assert "4 dataset_threads" in text.out
    assert "would be deleted" in text.out
    assert dry["dry_run"]
    assert (refused.exit_code, refused.out) == (2, "")
    assert "--yes" in refused.err
    counted, deleted = dry["rows"], done.json["rows"]
    # Of two unread files one can be read: it is deleted by its conversations.
    assert (counted.pop("unread_files"), deleted.pop("unread_files")) == (2, 1)
    assert (counted.pop("datasets"), deleted.pop("datasets")) == (2, 3)
    assert (counted.pop("dataset_threads"), deleted.pop("dataset_threads")) == (4, 7)
    assert (counted.pop("labels"), deleted.pop("labels")) == (4, 4)
    assert (counted.pop("thread_notes"), deleted.pop("thread_notes")) == (4, 4)
    assert counted == deleted
    assert await holding(database, MARK) == await holding(database, ANN) == {}
    assert (again.exit_code, set(again.json["rows"].values())) == (0, {0})
    async with database.connection() as connection:
        (entry,) = await audit.entries(connection, AuditFilter(action="user"), limit=9)
    assert (entry.door, entry.actor) == ("cli", "an operator")


async def test_it_is_refused_while_a_job_reads_their_conversations(
    client: Client, shell: Shell
) -> None:
    database = await client.database()
    dataset_id = await stored(database, FILE)
    job = await client.submit(EvaluateBatch(dataset_id=dataset_id, evaluate_intent=False))
    marked = await holding(database, MARK)

    refused = await shell.run("forget", ANN, "--yes")
    # Also one that came after the look.
    with pytest.raises(Refused, match=str(job.id)):
        await forgetting._forget_some(database, dataset_id, ANN, {"datasets": 1})  # pyright: ignore[reportPrivateUsage]
    assert await holding(database, MARK) == marked
    other = await shell.run("forget", "u-nobody", "--yes")
    await client.cancel(job.id)
    done = await shell.run("forget", ANN, "--yes")

    assert (refused.exit_code, str(job.id) in refused.err) == (2, True)
    assert "Cancel" in refused.err
    assert (other.exit_code, done.exit_code) == (0, 0)
    assert "letter for letter" in other.err
    assert "letter for letter" not in done.err
    assert await holding(database, MARK) == {}


async def test_rows_of_a_watched_table_are_forgotten_before_a_job_has_read_them(
    client: Client, shell: Shell
) -> None:
    database = await client.database()
    cells = {"thread_id": "t1", "role": "user", "content": MARK, "user_id": ANN}
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO watched_rows (owner, cells) VALUES ('default', %s)", [Jsonb(cells)]
        )

    done = await shell.run("forget", ANN, "--yes")

    assert (done.exit_code, "1 posted_threads" in done.out) == (0, True)
    assert await holding(database, MARK) == {}


async def test_an_interrupted_one_is_continued(
    client: Client, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await world_of(client, dsn, monkeypatch)
    database = await client.database()
    monkeypatch.setattr(forgetting, "CHUNK", 1)
    counts = await forgetting._forget_some(database, world.dataset_id, ANN, None)  # pyright: ignore[reportPrivateUsage]
    assert counts["dataset_threads"] == 1
    async with database.connection() as connection:
        dataset = await datasets.get(connection, world.dataset_id, owner=None)
    assert dataset is not None
    assert (dataset.threads, dataset.users, dataset.intents) == (4, 2, {MARK: 4, OTHER: 4})

    await forgetting.forget(database, ANN)

    assert await holding(database, MARK) == {}
    async with database.connection() as connection:
        dataset = await datasets.get(connection, world.dataset_id, owner=None)
        entries = await audit.entries(connection, AuditFilter(action="user"), limit=9)
    assert dataset is not None
    assert (dataset.threads, dataset.users, dataset.intents) == (2, 1, {OTHER: 4})
    assert len(entries) == 1


async def test_the_rest_of_a_dataset_is_evaluated_as_before(
    client: Client, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file does not bring the user back, and jobs that named them find others only."""
    world = await world_of(client, dsn, monkeypatch)
    database = await client.database()
    await forgetting.forget(database, ANN)
    assert await stored(database, FILE) == world.dataset_id
    assert await holding(database, ANN) == {}
    async with SimulatedServer(Behaviour()) as vendor:
        monkeypatch.setenv("EVALQUEUE_SIMULATED_URL", vendor.url)
        whole = await client.submit(
            EvaluateBatch(dataset_id=world.dataset_id, evaluate_intent=False)
        )
        jobs = await client.list(limit=50)
        named = [each for each in jobs if each.params.get("thread_ids")]
        retried, refused = list[Job](), list[str]()
        for each in named:
            try:
                retried.append(await client.retry(each.id))
            except NotRetryable as error:
                refused.append(str(error))
        await work(dsn)

    assert len(named) == 2
    assert [GONE in each for each in refused] == [True]
    async with database.connection() as connection:
        for job, threads in ((whole, 2), (retried[0], 1)):
            count = "SELECT count(*) FROM thread_evaluations WHERE run_id = %s"
            assert await one(connection, count, run_of(job)) == threads
    assert await holding(database, MARK) == {}


async def test_what_a_reading_of_a_source_says_of_skipped_conversations_is_removed(
    client: Client,
) -> None:
    database = await client.database()
    dataset_id = await stored(database, FILE)
    job = await client.submit(EvaluateBatch(dataset_id=dataset_id, evaluate_intent=False))
    await client.cancel(job.id)
    result = {"skipped": 1, "skipped_conversations": {f"{MARK}-9": "row: "}, "jobs": [str(job.id)]}
    async with database.connection() as connection:
        reading = await one(connection, "SELECT evalqueue_submit_job('evaluate-source', '{}')")
        await client.cancel(reading)
        await connection.execute(
            "UPDATE jobs SET result = %s WHERE id = %s", [jsonb(result), reading]
        )

    await forgetting.forget(database, ANN)

    assert await holding(database, MARK) == {}
    assert (await client.get(reading)).result == {**result, "skipped_conversations": {}}


def shared(*users: str) -> str:
    """A conversation whose messages are of these users, and one of Bob's."""
    said = "".join(
        f"shared,{user},s,,I ate {MARK},Logged,2025-11-01T08:0{number}:00Z,0\n"
        for number, user in enumerate(users)
    )
    return HEADER + said + rows(BOB, OTHER, 4)


@pytest.mark.parametrize(
    "users", [("u-eve", ANN), ("", ANN), (ANN, "u-eve"), ("", "u-eve", ANN, "")], ids=str
)
async def test_a_conversation_of_several_users_is_deleted_with_any_of_them(
    client: Client, users: tuple[str, ...]
) -> None:
    database = await client.database()
    dataset_id = await stored(database, shared(*users))
    async with database.connection() as connection:
        first = await one(
            connection, "SELECT user_id FROM dataset_threads WHERE thread_id = 'shared'"
        )
        before = await datasets.get(connection, dataset_id, owner=None)

    deleted = await forgetting.forget(database, ANN)

    assert first == next(user for user in users if user)
    assert deleted["dataset_threads"] == 1
    assert await holding(database, MARK) == await holding(database, ANN) == {}
    async with database.connection() as connection:
        after = await datasets.get(connection, dataset_id, owner=None)
    assert before is not None
    assert after is not None
    assert (before.users, after.users, after.threads) == (2, 1, 1)


@pytest.mark.parametrize("between", [[("assistant", "", "Yes?")], []], ids=["answered", "joined"])
async def test_messages_as_rows_say_whose_they_are(
    client: Client, between: list[tuple[str, str, str]]
) -> None:
    lines = [("user", "u-eve", "Hello"), *between, ("user", ANN, MARK), ("assistant", "", "So")]
    database = await client.database()
    await stored(
        database,
        "conversation_id,role,user_id,content\n"
        + "".join(f"c,{role},{user},{text}\n" for role, user, text in lines),
    )

    deleted = await forgetting.forget(database, ANN)

    assert deleted["dataset_threads"] == 1
    assert await holding(database, MARK) == {}


NAMED = 'zoë "zo" quote'
UNREAD = {
    "csv": HEADER + rows('"zoë ""zo"" quote"', MARK, 1, 2),
    "json": json.dumps(
        {"id": "a", "user_id": NAMED, "messages": [{"role": "user", "content": MARK}]}
    ),
    "unreadable csv": f'neither "zoë ""zo"" quote" nor {MARK} is read',
    "unreadable json": f'{{"user_id": "zo\\u00EB \\"zo\\" quote", "nothing": "{MARK}"}}',
}


@pytest.mark.parametrize("content", UNREAD.values(), ids=UNREAD)
async def test_an_id_is_found_in_a_file_that_was_not_read_yet(client: Client, content: str) -> None:
    database = await client.database()
    async with database.connection() as connection:
        for text in (content, HEADER + rows(BOB, OTHER, 4), f"{OTHER} is not read"):
            params = jsonb({"csv_content": text})
            job = await one(connection, "SELECT evalqueue_submit_job('evaluate-batch', %s)", params)
            await client.cancel(job)
    assert await holding(database, MARK) == {"datasets": 1}

    deleted = await forgetting.forget(database, NAMED)

    assert deleted["dataset_threads"] + deleted["unread_files"] > 0
    assert await holding(database, MARK) == {}
    assert await holding(database, OTHER) == {"dataset_threads": 1, "datasets": 2}


async def test_a_job_of_a_dataset_without_conversations_is_refused_with_the_reason(
    client: Client, shell: Shell
) -> None:
    database = await client.database()
    dataset_id = await stored(database, HEADER + rows(ANN, MARK, 1, 2))
    params = EvaluateBatch(dataset_id=dataset_id, evaluate_intent=False)
    earlier = await client.submit(params)
    await client.cancel(earlier.id)
    await forgetting.forget(database, ANN)

    with pytest.raises(InvalidParams, match=GONE):
        await client.submit(params)
    with pytest.raises(InvalidParams, match=GONE):
        await client.submit_many([params, params])
    with pytest.raises(NotRetryable, match=GONE):
        await client.retry(earlier.id)
    by_hand = await shell.run("submit", "evaluate-batch", f"dataset_id={dataset_id}")

    assert by_hand.exit_code == 2
    assert len(await client.list(limit=9)) == 1


HOSTILE = ["%", "_", "' OR true --", "\u202eu", "u" * 500, "🙂", "x\\y", "a\nb"]


@pytest.mark.parametrize("user", HOSTILE, ids=range(len(HOSTILE)))
async def test_an_id_is_taken_literally(client: Client, user: str) -> None:
    database = await client.database()
    await stored(database, FILE)
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE dataset_threads SET user_id = %s WHERE thread_id = %s", [user, f"{MARK}-1"]
        )

    deleted = await forgetting.forget(database, forgetting.checked_user(user))

    assert deleted["dataset_threads"] == 1
    assert (await holding(database, MARK))["dataset_threads"] == 2


@pytest.mark.parametrize("user", ["", "  ", "unknown"])
def test_what_is_not_one_user_is_refused(user: str) -> None:
    with pytest.raises(Refused):
        forgetting.checked_user(user)
