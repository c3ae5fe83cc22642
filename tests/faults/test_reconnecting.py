"""After an outage a process is back at once, however long the outage was."""

import asyncio

from faults.proxy import LOOK_INTERVAL, Weather
from faults.stage import Stage

from evalqueue.postgres.database import Connection, Database

TRIES = 16  # by three connections
BOUND = 20.0  # seconds; six are usual, and 30 if the delay doubles with each failure


async def test_the_pool_does_not_wait_as_long_again_once_postgres_is_back(stage: Stage):
    """It goes on trying as often as at the beginning: one of its tries is never far away."""
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
            async with asyncio.timeout(BOUND):
                while proxy.refused < TRIES:
                    await asyncio.sleep(LOOK_INTERVAL)
            proxy.weather = Weather.FAIR
        await database.close()
