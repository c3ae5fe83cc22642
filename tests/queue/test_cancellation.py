"""A cancelled asyncio task ends, whatever it is waiting for."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from evalqueue.postgres.database import Database


@pytest.fixture
async def narrow(dsn: str) -> Database:
    """A pool with a single connection."""
    return Database(dsn, max_size=1)


async def test_who_waits_for_a_connection_and_is_cancelled_as_it_comes(narrow: Database) -> None:
    await narrow.open()

    async def wait_for_it() -> None:
        async with narrow.connection():
            await asyncio.sleep(60)

    for ticks in range(16):
        async with AsyncExitStack() as held:
            await held.enter_async_context(narrow.connection())
            waiting = asyncio.create_task(wait_for_it())
            await asyncio.sleep(0.01)
            letting_go = asyncio.create_task(held.pop_all().aclose())
        for _ in range(ticks):
            await asyncio.sleep(0)
        waiting.cancel()
        done, _ = await asyncio.wait({waiting}, timeout=30)
        assert done, f"cancelled {ticks} steps after the connection was let go, it sleeps"
        assert waiting.cancelled()
        await letting_go
    await narrow.close()


async def test_who_loops_over_statements_ends_when_it_is_cancelled(narrow: Database) -> None:
    await narrow.open()

    async def for_ever() -> None:
        while True:
            async with narrow.connection() as connection:
                await connection.execute("SELECT 1")

    for ticks in range(60):
        looping = asyncio.create_task(for_ever())
        for _ in range(40 + ticks):
            await asyncio.sleep(0)
        looping.cancel()
        done, _ = await asyncio.wait({looping}, timeout=30)
        assert done, "it goes on for ever"
        assert looping.cancelled()
    await narrow.close()


async def test_what_is_cleaned_up_after_a_cancellation_may_still_be_said(
    database: Database,
) -> None:
    async def tidy() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            async with database.connection() as connection:
                row = await (await connection.execute("SELECT 7")).fetchone()
                assert row is not None
                values.append(row[0])
        return 0

    values: list[int] = []
    task = asyncio.create_task(tidy())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert values == [7]
