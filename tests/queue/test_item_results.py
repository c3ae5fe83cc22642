"""How `context.map` stores results: soon, several in a transaction, and none at others' expense."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from evalqueue import (
    Checkpoint,
    Client,
    Handlers,
    ItemWork,
    Job,
    JobContext,
    JobFailed,
    JobParams,
    JobStatus,
)
from evalqueue.items import ItemResults
from evalqueue.testing import run_jobs

ITEMS = [f"item {number}" for number in range(12)]


class Work(JobParams, job_type="work"):
    pass


class Stored(ItemWork[str, str]):
    """Notes the transaction of each result, and what was stored for good."""

    def __init__(self, *, unwritable: Collection[str] = ()) -> None:
        self.unwritable = unwritable
        self.transactions: list[str] = []
        self.kept: list[str] = []
        self.preparations = 0

    async def work(self, item: str, /) -> str:
        return item

    async def before_store(self) -> None:
        self.preparations += 1

    async def store(self, connection: Any, result: str, /) -> None:
        number = "zero" if result in self.unwritable else "1"
        cursor = await connection.execute("SELECT pg_current_xact_id(), %s::integer", [number])
        self.transactions.append((await cursor.fetchone())[0])

    def on_stored(self, result: str, /) -> None:
        self.kept.append(result)


async def mapped(
    dsn: str, work: ItemWork[str, str], *, items: Sequence[str] = ITEMS, max_helpers: int = 0
) -> Job:
    """A job that did this work on all items at once, when it is over or to be tried again."""
    handlers = Handlers()

    @handlers.handles(Work)
    async def handle(context: JobContext, _params: Work) -> None:
        await context.map(
            items,
            work,
            checkpoint=Checkpoint(),
            concurrency=len(items),
            max_helpers=max_helpers,
        )

    async with Client(dsn) as client:
        job = await client.submit(Work())
        await run_jobs(dsn, handlers)
        return await client.get(job.id)


@pytest.mark.parametrize("max_helpers", [0, 1])
async def test_results_that_come_together_are_stored_in_one_transaction(dsn: str, max_helpers: int):
    work = Stored()
    job = await mapped(dsn, work, max_helpers=max_helpers)

    assert (job.status, job.progress.message) == (
        JobStatus.COMPLETED,
        "Item 12/12 (12 ok, 0 failed)",
    )
    assert sorted(work.kept) == sorted(ITEMS)
    # The first, and all others: unless the first one took very long.
    assert len(set(work.transactions)) == work.preparations <= len(ITEMS) / 2


async def test_results_that_take_long_have_a_transaction_each(dsn: str):
    class Slow(Stored):
        async def store(self, connection: Any, result: str, /) -> None:
            await super().store(connection, result)
            await connection.execute("SELECT pg_sleep(0.55)")

    work = Slow()
    job = await mapped(dsn, work, items=ITEMS[:4])

    assert job.status is JobStatus.COMPLETED
    assert len(set(work.transactions)) == 4


async def test_a_result_that_can_t_be_stored_takes_no_other_one_along(dsn: str):
    work = Stored(unwritable=[ITEMS[5]])
    job = await mapped(dsn, work)

    assert job.error_message is not None
    assert '"zero"' in job.error_message
    assert sorted(work.kept) == sorted(set(ITEMS) - {ITEMS[5]})


async def test_what_was_found_before_an_error_is_stored(dsn: str):
    first_is_stored = asyncio.Event()

    class Stopping(Stored):
        async def work(self, item: str, /) -> str:
            if item == ITEMS[-1]:
                await first_is_stored.wait()
                raise JobFailed("No more")
            return item

        def on_stored(self, result: str, /) -> None:
            super().on_stored(result)
            first_is_stored.set()

    work = Stopping()
    job = await mapped(dsn, work)

    assert (job.status, job.error_message) == (JobStatus.FAILED, "No more")
    assert sorted(work.kept) == sorted(ITEMS[:-1])


async def test_an_error_is_not_replaced_by_one_of_results_that_can_t_be_stored(
    dsn: str, caplog: pytest.LogCaptureFixture
):
    class Stopping(Stored):
        async def work(self, item: str, /) -> str:
            if item == ITEMS[-1]:
                raise JobFailed("No more")
            return item

    work = Stopping(unwritable=[ITEMS[3]])
    job = await mapped(dsn, work)

    assert (job.status, job.error_message) == (JobStatus.FAILED, "No more")
    assert sorted(work.kept) == sorted(set(ITEMS[:-1]) - {ITEMS[3]})
    (said,) = [each for each in caplog.messages if "can't be stored" in each]
    assert '"zero"' in said


async def test_cancelling_what_waits_for_a_transaction_of_others_is_no_error():
    is_storing = asyncio.Event()

    async def store(results: Mapping[str, str]) -> None:
        if len(results) > 1:
            is_storing.set()
            await asyncio.Event().wait()

    async def add_all() -> None:
        results = ItemResults[str](store, lambda _key, _result: None)
        async with asyncio.TaskGroup() as tasks:
            for item in ITEMS:
                tasks.create_task(results.add(item, item))

    adding = asyncio.create_task(add_all())
    await is_storing.wait()
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
