"""The statements of an attempt, and traps that stop a connection at one of them.

A trap stops a connection right before a statement reaches the server, or right after the server has
executed it and before the client receives the reply. A test can then kill the client, stop the
server, or wait for another worker. The product contains no hook for it.
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
        "store": r"INSERT INTO faults\.effects",
        "commit": r"^COMMIT",
        "flush": r"evalqueue_flush_job",
        "finish": r"evalqueue_finish_job",
    }
)
"""The statements of an attempt at a job of `faults.work`, in their order."""


class Moment(StrEnum):
    """Before or after the server executes a statement."""

    BEFORE = "before"
    """The server has not received it."""
    AFTER = "after"
    """The server has executed it, and the client has no reply."""


@dataclass(slots=True, kw_only=True, eq=False)
class Trap:
    """Holds one connection at a statement, from `sprung` until `released`."""

    statement: str
    """A regular expression on its text."""
    moment: Moment
    nth: int = 1
    """The trap springs when the statement is sent for the nth time."""
    sprung: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    _matches: int = 0

    def catches(self, text: str) -> bool:
        """Whether the trap springs at this statement. Counts matching statements."""
        if not re.search(self.statement, text):
            return False
        self._matches += 1
        return self._matches == self.nth

    async def hold(self) -> None:
        self.sprung.set()
        await self.released.wait()
