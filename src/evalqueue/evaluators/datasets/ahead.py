"""Reads what belongs to conversations a few at a time, ahead of the work on them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

READ_AT_ONCE = 8

Value = TypeVar("Value")


class ReadAhead(Generic[Value]):
    """Reads some values in one statement: the one that is asked for, and those that are next.

    At most `READ_AT_ONCE` - 1 values are held that were not asked for yet.
    """

    def __init__(
        self,
        read: Callable[[Sequence[str]], Awaitable[Mapping[str, Value]]],
        upcoming: Callable[[int], Sequence[str]],
    ) -> None:
        """Make one.

        Args:
            read: reads values by their keys. It may leave out all but the first.
            upcoming: tells so many of the keys that are asked for next.
        """
        self._read = read
        self._upcoming = upcoming
        self._reads: dict[str, asyncio.Future[dict[str, Value]]] = {}
        """By the keys that were not asked for yet."""

    async def get(self, key: str) -> Value | None:
        """The value of a key. None: there is none."""
        if (reading := self._reads.pop(key, None)) is not None:
            found = await asyncio.shield(reading)  # it is not this one's alone
            if key in found:
                return found.pop(key)
        return await self._read_some(key)

    async def _read_some(self, key: str) -> Value | None:
        ahead = [each for each in self._upcoming(READ_AT_ONCE - 1) if each not in self._reads]
        reading = asyncio.get_running_loop().create_future()
        self._reads |= dict.fromkeys(ahead, reading)
        found: dict[str, Value] = {}
        try:
            found |= await self._read([key, *ahead])
            return found.pop(key, None)
        finally:
            reading.set_result(found)  # empty after an error: each key is then read by itself
