"""Apps in Postgres: one content for all, versions for each owner, and runs that freeze theirs."""

import asyncio
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from evalqueue import Client, Settings
from evalqueue.errors import InvalidParams
from evalqueue.evaluators import EvaluateBatch, apps
from evalqueue.evaluators.apps import App, InvalidApp, UnknownApp, documents
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.apps.store import AddedApp
from evalqueue.jobs import Job
from evalqueue.jobtypes import AdmissionContext
from evalqueue.postgres.database import Database

CSV = (
    "thread_id,user_id,session_id,query_text,final_response_message,intent_detected,"
    "timestamp,has_image\nt1,u1,s1,my bill,It is 20 euro,Billing,2025-11-01T08:00:00Z,0\n"
)


@pytest.fixture
def client(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("EVALQUEUE_LLM_PROVIDER", "simulated")
    return Client(
        database=database, settings=Settings(data_dir=tmp_path), job_types=[EvaluateBatch]
    )


async def add(database: Database, app: App, owner: str = "anna") -> AddedApp:
    async with database.transaction() as connection:
        return await app_store.add(connection, app, owner=owner)


async def remove(database: Database, app_id: str, owner: str = "anna") -> int:
    async with database.transaction() as connection:
        return await app_store.remove(connection, app_id, owner=owner)


async def contents(database: Database) -> list[str]:
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT app_id FROM apps ORDER BY 1")
        return [app_id for (app_id,) in await cursor.fetchall()]


async def submit(client: Client, **params: object) -> Job:
    given = {"evaluate_intent": False} | params
    if "dataset_id" not in params:
        given |= {"csv_content": CSV}
    return await client.submit_params("evaluate-batch", given, owner="anna")


async def test_an_app_is_stored_once_and_each_change_is_a_version(
    database: Database, telecom: App
) -> None:
    changed = replace(telecom, about="Another text.")
    first, again = await add(database, telecom), await add(database, telecom)
    second, back = await add(database, changed), await add(database, telecom)
    of_another = await add(database, telecom, owner="otto")

    assert (first.stored.version, first.is_new, again.is_new) == (1, True, False)
    assert (second.stored.version, back.stored.version, of_another.stored.version) == (2, 3, 1)
    assert back.stored.digest == first.stored.digest == documents.digest(telecom)
    assert await contents(database) == ["telecom", "telecom"]
    async with database.connection() as connection:
        listed = await app_store.list_apps(connection, owner=None)
        versions = await app_store.versions(connection, "telecom", owner="anna")
        old = await app_store.find(connection, "telecom", owner="anna", version=2)
    assert [(each.owner, each.version) for each in listed] == [("otto", 1), ("anna", 3)]
    assert [each.version for each in versions] == [3, 2, 1]
    assert old.app == changed


async def test_versions_that_are_added_at_once_are_all_there(
    database: Database, telecom: App
) -> None:
    added = await asyncio.gather(
        *(add(database, replace(telecom, about=f"Text {number}.")) for number in range(6))
    )

    assert sorted(each.stored.version or 0 for each in added) == [1, 2, 3, 4, 5, 6]


async def test_shipped_apps_are_there_for_all_and_for_good(
    database: Database, telecom: App
) -> None:
    with pytest.raises(InvalidApp, match="app_id: kaira-bot is shipped"):
        await add(database, replace(telecom, app_id="kaira-bot"))
    async with database.connection() as connection:
        for owner in ("anna", "otto"):
            found = await app_store.named(connection, "kaira-bot", owner=owner)
            assert found.app == apps.load("kaira-bot")
        with pytest.raises(UnknownApp, match=r"Known: kaira-bot, retail-support\. To add one"):
            await app_store.named(connection, "telecom", owner="anna")


async def test_a_job_fixes_the_content_of_its_app(client: Client, telecom: App) -> None:
    database = await client.database()
    first = (await add(database, telecom)).stored
    job = await submit(client, app_id="telecom")
    second = (await add(database, replace(telecom, about="New."))).stored
    later = await submit(client, app_id="telecom")
    earlier = await submit(client, app_id="telecom", app_digest=first.digest)

    admission = AdmissionContext(settings=client.settings, database=database, owner="anna")
    params = client.job_types.decode(earlier.job_type, earlier.params)
    assert isinstance(params, EvaluateBatch)
    fixed = await params.app_of_job(admission, str(earlier.params["dataset_id"]))

    assert job.params["app_digest"] == earlier.params["app_digest"] == first.digest
    assert (fixed.app, fixed.owner, fixed.version) == (telecom, "anna", 1)
    assert later.params["app_digest"] == second.digest
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT app_digest FROM eval_runs ORDER BY created_at LIMIT 1"
        )
        assert await cursor.fetchone() == (first.digest,)


async def test_an_app_of_another_owner_can_t_be_used(client: Client, telecom: App) -> None:
    stored = (await add(await client.database(), telecom, owner="otto")).stored

    with pytest.raises(InvalidParams, match=r"app_id: There is no app 'telecom'"):
        await submit(client, app_id="telecom")
    for app_id in ("telecom", "kaira-bot"):
        with pytest.raises(InvalidParams, match="has no version with the digest"):
            await submit(client, app_id=app_id, app_digest=stored.digest)
    with pytest.raises(InvalidParams, match="say of which app"):
        await submit(client, app_digest=stored.digest)


async def test_a_dataset_brings_its_app_and_else_there_is_a_default(
    client: Client, telecom: App
) -> None:
    database = await client.database()
    await add(database, telecom)
    of_default = await submit(client)
    dataset_id = str(of_default.params["dataset_id"])
    async with database.connection() as connection:
        assert await app_store.set_of_dataset(connection, dataset_id, "telecom", owner="anna")
        assert not await app_store.set_of_dataset(connection, dataset_id, "telecom", owner="otto")
    of_dataset = await submit(client, dataset_id=dataset_id)
    named = await submit(client, dataset_id=dataset_id, app_id="retail-support")
    other = Client(
        database=database,
        settings=Settings(default_app="retail-support"),
        job_types=[EvaluateBatch],
    )
    another = CSV + CSV.splitlines()[1].replace("t1", "t2")
    by_setting = await other.submit_params(
        "evaluate-batch", {"csv_content": another, "evaluate_intent": False}
    )

    used = [each.params["app_id"] for each in (of_default, of_dataset, named, by_setting)]
    assert used == ["kaira-bot", "telecom", "retail-support", "retail-support"]


async def test_a_removed_app_keeps_its_content_while_a_job_or_a_run_needs_it(
    client: Client, telecom: App
) -> None:
    database = await client.database()
    await add(database, replace(telecom, app_id="unused"))
    await add(database, telecom)
    job = await submit(client, app_id="telecom")

    assert await remove(database, "unused") == 1
    assert await remove(database, "telecom", owner="otto") == 0
    assert await remove(database, "telecom") == 1
    assert await contents(database) == ["telecom"]
    with pytest.raises(InvalidParams):
        await submit(client, app_id="telecom")
    await client.cancel(job.id)
    async with database.connection() as connection:
        digest = str(job.params["app_digest"])
        assert (await app_store.frozen(connection, digest)).app == telecom
        await connection.execute("DELETE FROM jobs")
        await connection.execute("SELECT evalqueue_prune('0 s', NULL, NULL)")
        assert await contents(database) == ["telecom"]  # its run is there
        await connection.execute("DELETE FROM eval_runs")
        await connection.execute("SELECT evalqueue_prune('0 s', NULL, NULL)")
    assert await contents(database) == []


async def test_a_content_is_what_its_digest_says(database: Database) -> None:
    async with database.connection() as connection:
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute(
                "INSERT INTO apps (digest, app_id, document)"
                " VALUES ('sha256:' || repeat('0', 64), 'a', '{}')"
            )
