"""A process reconnects soon after an outage, however long the outage was."""

import asyncio

from faults.deployment import Deployment
from faults.proxy import LOOK_INTERVAL, NetworkState

from evalqueue.postgres.database import Connection, Database

TRIES = 16  # by three connections
BOUND = 20.0  # seconds; usually 6, and 30 if the delay doubled with each failure


async def test_the_pool_does_not_wait_as_long_again_once_postgres_is_back(deployment: Deployment):
    """It retries as often as at the beginning, so the next attempt is soon."""
    async with deployment.proxy().open() as proxy:
        database = Database(deployment.behind(proxy), max_size=3)
        await database.open()

        async def ask(connection: Connection) -> None:
            await connection.execute("SELECT pg_sleep(0.05)")

        async def ask_again() -> None:
            await database.until_done(ask, what="A question")

        async with asyncio.TaskGroup() as asking:  # each has a connection of its own to lose
            for _ in range(3):
                asking.create_task(ask_again())
        proxy.state = NetworkState.CUT
        async with asyncio.TaskGroup() as asking:
            for _ in range(3):
                asking.create_task(ask_again())
            async with asyncio.timeout(BOUND):
                while proxy.refused < TRIES:
                    await asyncio.sleep(LOOK_INTERVAL)
            proxy.state = NetworkState.NORMAL
        await database.close()
