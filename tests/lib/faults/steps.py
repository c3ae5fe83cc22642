"""The statements of an attempt, and traps on them: the exact points where things can break.

A trap stops a connection right before a statement reaches the server, or right after the server has
done it and before the client is told. Whoever set the trap then does what they like: kill the
client, stop the server, wait until somebody else has gone on. Nothing is hooked into the product.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

STATEMENTS: Mapping[str, str] = MappingProxyType(
    {
        "claim": r"evalqueue_claim_jobs",
        "hold": r"evalqueue_hold_job",
        "keep": r"INSERT INTO faults\.effects",
        "commit": r"^COMMIT",
        "flush": r"evalqueue_flush_job",
        "finish": r"evalqueue_finish_job",
    }
)
"""The statements of an attempt at a job of `faults.work`, in their order."""


class Moment(StrEnum):
    """Which side of a statement."""

    BEFORE = "before"
    """The server has not seen it."""
    AFTER = "after"
    """The server has done it, and the client doesn't know."""


@dataclass(slots=True, kw_only=True, eq=False)
class Trap:
    """Holds one connection at a statement, from `sprung` until `released`."""

    statement: str
    """A regular expression on its text."""
    moment: Moment
    nth: int = 1
    """How often it must have been said."""
    sprung: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    _said: int = 0

    def catches(self, text: str) -> bool:
        """Whether this statement is the one. Counts it."""
        if not re.search(self.statement, text):
            return False
        self._said += 1
        return self._said == self.nth

    async def hold(self) -> None:
        self.sprung.set()
        await self.released.wait()
