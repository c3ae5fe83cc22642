"""Submissions with the same key and owner return the same job, however often they are repeated."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

import psycopg
import pytest

from evalqueue import Client, JobParams, KeyReused
from evalqueue.errors import InvalidParams
from evalqueue.jobtypes import AdmissionContext

SUBMIT = "SELECT evalqueue_submit_job('greet', '{\"name\": \"Asha\"}', idempotency_key => 'k')"
PATIENCE = 30.0  # seconds


class Greet(JobParams, job_type="greet"):
    name: str
    times: int = 1


class Moody(JobParams, job_type="moody"):
    """Admitted only while its file exists, with the current default."""

    mood: str = "good"
    default: str | None = None

    async def admit(self, admission: AdmissionContext) -> Self:
        if self.default is None and MOODS[-1] == "none":
            raise InvalidParams.of("mood", "not today")
        return self.model_copy(update={"default": MOODS[-1]})


MOODS = ["monday"]


@pytest.fixture
async def client(dsn: str) -> AsyncGenerator[Client]:
    async with Client(dsn) as client:
        yield client


async def counted(client: Client) -> tuple[int, int]:
    """The numbers of jobs and tasks."""
    async with (await client.database()).connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM procrastinate_jobs)"
        )
        row = await cursor.fetchone()
    assert row is not None
    return row[0], row[1]


async def test_fifty_at_once_are_one_job_through_any_interface(client: Client):
    database = await client.database()

    async def by_sql() -> UUID:
        async with database.connection() as connection:
            row = await (await connection.execute(SUBMIT)).fetchone()
        assert row is not None
        return row[0]

    async def by_client() -> UUID:
        return (await client.submit(Greet(name="Asha"), idempotency_key="k")).id

    async with asyncio.TaskGroup() as all_at_once:
        asked = [
            all_at_once.create_task(submit()) for _ in range(25) for submit in (by_sql, by_client)
        ]

    assert len({each.result() for each in asked}) == 1
    assert await counted(client) == (1, 1)


async def test_a_key_belongs_to_its_owner(client: Client):
    ann = await client.submit(Greet(name="Asha"), owner="ann", idempotency_key="k")
    bob = await client.submit(Greet(name="Bo"), owner="bob", idempotency_key="k")

    assert ann.id != bob.id
    assert (await client.submit(Greet(name="Bo"), owner="bob", idempotency_key="k")).id == bob.id


async def test_without_a_key_each_request_is_a_job(client: Client):
    await client.submit(Greet(name="Asha"))
    await client.submit(Greet(name="Asha"))

    assert await counted(client) == (2, 2)


@pytest.mark.parametrize(
    "other",
    [
        {"params": Greet(name="Bo")},
        {"params": Moody()},
        {"priority": 1},
        {"queue": "elsewhere"},
        {"max_attempts": 1},
        {"scheduled_at": datetime(2999, 1, 1, tzinfo=UTC)},
    ],
)
async def test_another_request_with_the_same_key_is_refused_and_names_the_job(
    client: Client, other: dict[str, object]
):
    first = await client.submit(Greet(name="Asha"), idempotency_key="k")
    asked = {"params": Greet(name="Asha")} | other
    with pytest.raises(KeyReused, match=str(first.id)):
        await client.submit(**asked, idempotency_key="k")  # type: ignore[arg-type]  # one argument at a time

    assert await counted(client) == (1, 1)


async def test_of_fifty_different_requests_at_once_one_is_taken(client: Client):
    async def submit(n: int) -> bool:
        try:
            await client.submit(Greet(name=f"guest {n}"), idempotency_key="k")
        except KeyReused:
            return False
        return True

    async with asyncio.TaskGroup() as all_at_once:
        taken = [all_at_once.create_task(submit(n)) for n in range(50)]

    assert sum(each.result() for each in taken) == 1
    assert await counted(client) == (1, 1)


async def test_who_comes_while_the_first_is_not_committed_waits_and_finds_it(
    client: Client, dsn: str
):
    async with await psycopg.AsyncConnection.connect(dsn) as mine:
        first = await client.submit(Greet(name="Asha"), connection=mine, idempotency_key="k")
        second = asyncio.create_task(client.submit(Greet(name="Asha"), idempotency_key="k"))
        await somebody_waits_for_a_lock(client)
        await mine.commit()

        assert (await second).id == first.id
    assert await counted(client) == (1, 1)


async def test_who_comes_while_the_first_is_rolled_back_takes_its_place(client: Client, dsn: str):
    async with await psycopg.AsyncConnection.connect(dsn) as mine:
        first = await client.submit(Greet(name="Asha"), connection=mine, idempotency_key="k")
        others = [
            asyncio.create_task(client.submit(Greet(name="Asha"), idempotency_key="k"))
            for _ in range(5)
        ]
        await somebody_waits_for_a_lock(client)
        await mine.rollback()
        found = {(await other).id for other in others}

    assert len(found) == 1
    assert first.id not in found
    assert await counted(client) == (1, 1)


async def somebody_waits_for_a_lock(client: Client) -> None:
    async with (await client.database()).connection() as connection, asyncio.timeout(PATIENCE):
        while True:
            cursor = await connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
            if await cursor.fetchone() is not None:
                return


@pytest.mark.parametrize("level", [
    psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE,
])  # fmt: skip
async def test_a_transaction_that_can_not_see_the_job_gets_a_serialization_failure(
    client: Client, dsn: str, level: psycopg.IsolationLevel
):
    """Not that its key belongs to another request."""
    async with await psycopg.AsyncConnection.connect(dsn) as mine:
        await mine.set_isolation_level(level)
        await mine.execute("SELECT count(*) FROM jobs")  # takes the snapshot
        first = await client.submit(Greet(name="Asha"), idempotency_key="k")
        with pytest.raises(psycopg.errors.SerializationFailure):
            await client.submit(Greet(name="Asha"), connection=mine, idempotency_key="k")
        await mine.rollback()

        again = await client.submit(Greet(name="Asha"), connection=mine, idempotency_key="k")
        await mine.commit()
    assert again.id == first.id
    assert await counted(client) == (1, 1)


async def test_a_request_is_the_same_in_every_time_zone(dsn: str):
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        found: list[object] = []
        for zone in ("UTC", "Europe/Berlin", "Asia/Kolkata"):
            await connection.execute(f"SET timezone = '{zone}'")
            cursor = await connection.execute(
                "SELECT evalqueue_submit_job('greet', idempotency_key => 'k', "
                "scheduled_at => '2999-01-01 00:00+00')"
            )
            found.append(await cursor.fetchone())

    assert len(set(found)) == 1


async def test_what_was_taken_once_is_found_again_when_it_would_no_longer_be_admitted(
    client: Client,
):
    MOODS[:] = ["monday"]
    first = await client.submit(Moody(), idempotency_key="k")
    assert first.params == {"default": "monday"}
    MOODS.append("tuesday")
    assert (await client.submit(Moody(), idempotency_key="k")).id == first.id
    MOODS.append("none")
    assert (await client.submit(Moody(), idempotency_key="k")).id == first.id
    with pytest.raises(InvalidParams):
        await client.submit(Moody(), idempotency_key="another")


async def test_a_key_is_kept_when_its_job_is_over_and_goes_with_it(client: Client):
    first = await client.submit(Greet(name="Asha"), idempotency_key="k")
    await client.cancel(first.id)
    assert (await client.submit(Greet(name="Asha"), idempotency_key="k")).id == first.id

    async with (await client.database()).connection() as connection:
        await connection.execute("SELECT evalqueue_prune(interval '0', NULL, NULL)")
    assert (await client.submit(Greet(name="Bo"), idempotency_key="k")).id != first.id


async def test_a_retry_does_not_take_the_key_along(client: Client):
    first = await client.submit(Greet(name="Asha"), idempotency_key="k")
    await client.cancel(first.id)
    await client.retry(first.id)

    assert (await client.submit(Greet(name="Asha"), idempotency_key="k")).id == first.id
