"""Which sessions hold the locks that a migration waits for."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from evalqueue.postgres.database import TRANSIENT, Connection, Database
from evalqueue.postgres.queries import SCHEMA
from evalqueue.telemetry import tasks

LOOK_INTERVAL = 0.5  # seconds between looks at what is waited for
REPEAT_INTERVAL = 10.0  # seconds between lines about the same sessions
_QUERY_LIMIT = 60  # characters of a query that are shown
_LITERALS = re.compile(
    r"""[eE]?'(?:[^'\\]|''|\\.)*(?:'|$)   # texts, also cut off
    | \$(\w*)\$ .*? (?:\$\1\$|$)        # dollar-quoted ones
    | \b\d[\d.]*""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """A session that holds a lock. What a role without `pg_read_all_stats` may not see is None."""

    pid: int
    """Of its server process; 0: a prepared transaction."""
    who: str | None
    application: str | None
    state: str | None
    age: timedelta | None
    """Of its transaction."""
    query: str | None

    def line(self) -> str:
        """In words, without the literals of its query, which may be of a conversation."""
        if self.pid == 0:
            return "Waiting for a prepared transaction: see pg_prepared_xacts"
        parts = [
            f"pid {self.pid}",
            f"user {self.who or 'unknown'}",
            f"application {self.application or 'without a name'}",
            self.state or "in a state that this role does not see",
        ]
        if self.age is not None:
            parts.append(f"transaction open for {self.age.total_seconds():.0f} s")
        if self.state is None:
            parts.append(
                "whose query is seen with pg_read_all_stats only, in pg_stat_activity by its pid"
            )
        elif self.query:
            parts.append(f"query: {outline(self.query)}")
        return f"Waiting for {', '.join(parts)}"


@asynccontextmanager
async def report_blockers(
    database: Database, connection: Connection, *, report: Callable[[str], None]
) -> AsyncGenerator[None]:
    """While the block runs, report from another connection what this one waits for."""
    cursor = await connection.execute(SCHEMA["backend"])
    (pid,) = await cursor.fetchone() or (0,)
    looking = tasks.start(_look(database, pid, report), name="who blocks the migration")
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.wait({looking})


async def _look(database: Database, pid: int, report: Callable[[str], None]) -> None:
    reported: dict[int, float] = {}
    while True:
        await asyncio.sleep(LOOK_INTERVAL)
        try:
            async with database.connection() as connection:
                found = await SCHEMA.rows(connection, Blocker, "blockers", pid=pid)
        except TRANSIENT:
            continue  # the migration itself will say what is wrong
        now = time.monotonic()
        for each in found:
            if now - reported.get(each.pid, -REPEAT_INTERVAL) >= REPEAT_INTERVAL:
                reported[each.pid] = now
                report(each.line())


def outline(query: str) -> str:
    """The first words of a query, without its literals."""
    words = " ".join(_LITERALS.sub("…", query).split())
    return words if len(words) <= _QUERY_LIMIT else f"{words[:_QUERY_LIMIT]}…"
