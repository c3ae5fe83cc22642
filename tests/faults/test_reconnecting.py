"""After an outage a process is back at once, however long the outage was."""

import asyncio
import time

from faults.proxy import Weather
from faults.stage import Stage

from evalqueue.database import Connection, Database

OUTAGE_SECONDS = 3.6  # a delay that doubles with each failure would now last for 3.4 s more


async def test_the_pool_does_not_wait_as_long_again_once_postgres_is_back(stage: Stage):
    async with stage.proxy().open() as proxy:
        database = Database(stage.behind(proxy), max_size=3)
        await database.open()

        async def ask(connection: Connection) -> None:
            await connection.execute("SELECT pg_sleep(0.05)")

        async def ask_again() -> None:
            await database.until_done(ask, what="A question")

        async with asyncio.TaskGroup() as asking:  # each has a connection of its own to lose
            for _ in range(3):
                asking.create_task(ask_again())
        proxy.weather = Weather.CUT
        async with asyncio.TaskGroup() as asking:
            for _ in range(3):
                asking.create_task(ask_again())
            await asyncio.sleep(OUTAGE_SECONDS)
            proxy.weather = Weather.FAIR
            back = time.monotonic()
        took = time.monotonic() - back
        await database.close()

    assert took < 2.0
