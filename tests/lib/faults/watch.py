"""Reads the tables on connections that no fault affects."""

import asyncio
import contextlib
from typing import Any, LiteralString

import psycopg

PATIENCE = 90.0  # seconds
LOOK_INTERVAL = 0.05  # seconds


class Watch:
    """Reads the tables of one database."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def rows(self, query: LiteralString, *arguments: object) -> list[tuple[Any, ...]]:
        async with await psycopg.AsyncConnection.connect(
            self._address, autocommit=True
        ) as connection:
            cursor = await connection.execute(query, arguments)
            return await cursor.fetchall()

    async def value(self, query: LiteralString, *arguments: object) -> Any:
        return (await self.rows(query, *arguments))[0][0]

    async def until(
        self, query: LiteralString, *arguments: object, patience: float = PATIENCE
    ) -> None:
        """Wait until a query returns true."""
        async with contextlib.AsyncExitStack() as stack:
            connection = await stack.enter_async_context(
                await psycopg.AsyncConnection.connect(self._address, autocommit=True)
            )
            try:
                async with asyncio.timeout(patience):
                    while True:
                        cursor = await connection.execute(query, arguments)
                        row = await cursor.fetchone()
                        if row is not None and row[0]:
                            return
                        await asyncio.sleep(LOOK_INTERVAL)
            except TimeoutError:
                state = await connection.execute(
                    "SELECT id, status, attempt, failed_attempts, worker, "
                    "lease_expires_at - clock_timestamp(), error_message FROM jobs"
                )
                jobs = "\n".join(map(str, await state.fetchall()))
                raise AssertionError(
                    f"Not within {patience} s: {query} {arguments}\n{jobs}"
                ) from None
