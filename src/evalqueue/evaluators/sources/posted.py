"""Posted conversations as a source: the settled ones that were not read as they are now.

What was read is marked, conversation by conversation, with its number of messages. A message that
is committed later, or that says an earlier time, is another number: it is read however late it
comes. Each statement has a short snapshot of its own, so that reading for hours holds up nothing.
"""

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from psycopg.rows import class_row

from evalqueue.evaluators.datasets.masks import NO_MASKS
from evalqueue.evaluators.sources.candidates import EndedConversation, Position, Range
from evalqueue.evaluators.sources.sampling import Candidate
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.queries import load

NAME = "posted"
"""The source's name; a source of the settings with this name takes its place."""
SETTLE_MINUTES = 30.0
QUERIES = load("evaluation/posted")
_ROWS_AT_ONCE = 200  # messages, of up to 256 KiB each


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    thread_id: str
    posted_at: datetime
    messages: int
    user_id: str | None
    intent: str | None
    has_errors: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    thread_id: str
    first_user: str | None
    user_id: str | None
    sent_at: datetime
    message: dict[str, Any]


class PostedSource:
    """An owner's posted conversations, as far as they were not read under a position.

    Args:
        name: of the position.
        start: those that came before are not read.
        goes_on: the position was moved by this job. Else its first page is the first of all: what
            was committed late may be before the position.
    """

    mapping = None
    masks = NO_MASKS

    def __init__(
        self,
        database: Database,
        *,
        owner: str,
        name: str,
        start: datetime,
        goes_on: bool,
        within: Range,
    ) -> None:
        self._database = database
        self._owner = owner
        self._name = name
        self._start = start
        self._goes_on = goes_on
        self._where = {
            "owner": owner,
            "name": name,
            "start_at": start,
            "settle_seconds": within.settle_minutes * 60,
            "since": within.since,
            "until": within.until,
            "app_id": within.app_id,
        }
        self.total = 0

    async def ended(
        self, after: Position, *, page: int
    ) -> AsyncGenerator[Sequence[EndedConversation]]:
        """The settled conversations that were not read."""
        await store_watched(self._database, self._owner)
        async with self._database.transaction() as connection:
            self.total = await QUERIES.value(connection, "count_settled", **self._where)
        last = after if self._goes_on else Position(last_at=self._start)
        while True:
            async with self._database.transaction() as connection:
                rows = await QUERIES.rows(
                    connection, _Settled, "settled", **self._where,
                    after_at=last.last_at, after_thread=last.thread_id, page=page,
                )  # fmt: skip
            found = [_ended(row) for row in rows]
            if found:
                last = found[-1].position
                yield found
            if len(found) < page:
                return

    async def write(self, file: BinaryIO, conversations: Sequence[EndedConversation]) -> list[str]:
        """Write conversations as JSON lines. Returns the conversation of each line."""
        lines: list[str] = []
        async with (
            self._database.transaction() as connection,
            connection.cursor("evalqueue_posted", row_factory=class_row(_Said)) as cursor,
        ):
            cursor.itersize = _ROWS_AT_ONCE
            await cursor.execute(
                QUERIES["messages"], {"owner": self._owner, **_listed(conversations)}
            )
            async for row in cursor:
                is_next = not lines or lines[-1] != row.thread_id
                if is_next:
                    file.write(b"]}\n" if lines else b"")
                    file.write(_beginning(row))
                    lines.append(row.thread_id)
                file.write((b"" if is_next else b", ") + _message(row))
        file.write(b"]}\n" if lines else b"")
        return lines

    async def mark(
        self, connection: Connection, conversations: Sequence[EndedConversation]
    ) -> None:
        """Note that these were read, with as many messages as were listed."""
        arguments = {"owner": self._owner, "name": self._name, **_listed(conversations)}
        await connection.execute(QUERIES["mark"], arguments)


async def store_watched(database: Database, owner: str) -> None:
    """Store the new rows of watched tables as posted messages."""
    while True:
        async with database.transaction() as connection:
            if not await QUERIES.value(connection, "store_rows", owner=owner):
                return


def _ended(row: _Settled) -> EndedConversation:
    return EndedConversation(
        candidate=Candidate(
            thread_id=row.thread_id,
            user_id=row.user_id,
            intent=row.intent,
            has_error=row.has_errors,
        ),
        position=Position(last_at=row.posted_at, thread_id=row.thread_id),
        key=row.messages,
    )


def _listed(conversations: Sequence[EndedConversation]) -> dict[str, object]:
    return {
        "threads": [each.candidate.thread_id for each in conversations],
        "counts": [each.key for each in conversations],
    }


def _beginning(row: _Said) -> bytes:
    record = {"thread_id": row.thread_id, "user_id": row.first_user}
    return json.dumps(record, ensure_ascii=False).encode()[:-1] + b', "messages": ['


def _message(row: _Said) -> bytes:
    beside = {} if row.user_id is None else {"user_id": row.user_id}
    at = {"timestamp": row.sent_at.isoformat()}
    return json.dumps({**row.message, **beside, **at}, ensure_ascii=False).encode()
