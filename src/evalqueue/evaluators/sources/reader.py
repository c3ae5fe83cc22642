"""Reads the conversations of a source that ended after a position, in the order of their ends.

One read-only snapshot holds for the whole reading: what is written meanwhile is read the next time.
A server-side cursor lists conversations, so that the relation is grouped once, however many there
are; the messages are read for a few hundred conversations at a time.
"""

import json
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, BinaryIO, LiteralString
from uuid import UUID

import psycopg
from psycopg import IsolationLevel, sql

from evalqueue.evaluators.datasets.masks import Masks
from evalqueue.evaluators.formats.values.columns import Layout, layout_of
from evalqueue.evaluators.sources.candidates import (
    EndedConversation,
    Position,
    Range,
    SourceError,
    SourceUnavailable,
)
from evalqueue.evaluators.sources.sampling import Candidate
from evalqueue.evaluators.sources.settings import Source
from evalqueue.postgres.database import Connection

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 300
THREADS_PER_STATEMENT = 500
_TIME_TYPES: Mapping[int, LiteralString] = {
    1114: "timestamp",
    1184: "timestamptz",
}  # by pg_type.oid


class SourceReader:
    """The conversations of one source, in one snapshot. Made by `opened`."""

    def __init__(
        self,
        connection: Connection,
        source: Source,
        name: str,
        *,
        columns: "Columns",
        within: Range,
    ) -> None:
        self._connection = connection
        self._source = source
        self._name = name
        self._within = within
        self.columns = columns
        self.total = 0

    @property
    def mapping(self) -> Mapping[str, str]:
        return self.columns.layout.mapping

    @property
    def masks(self) -> Masks:
        return self._source.masking

    async def ended(
        self, after: Position, *, page: int
    ) -> AsyncGenerator[Sequence[EndedConversation]]:
        """The settled conversations after a position, in pages, in the order of their ends.

        Raises:
            SourceError: they can't be read.
        """
        until = self._within.until
        arguments = {
            "after": self.columns.as_parameter(after.last_at),
            "after_thread": after.thread_id,
            "settle_seconds": self._within.settle_minutes * 60,
            "until": None if until is None else self.columns.as_parameter(until),
        }
        async with self._connection.cursor(name="evalqueue_source") as cursor:
            with _explained(self._name):
                await cursor.execute(self._listing(), arguments)
            while True:
                with _explained(self._name):
                    rows = await cursor.fetchmany(page)
                if not rows:
                    return
                self.total = rows[0][-1]
                yield [_ended(row[:-1]) for row in rows]

    async def write(self, file: BinaryIO, conversations: Sequence[EndedConversation]) -> list[str]:
        """Write the messages of conversations as JSON lines. Returns each line's conversation.

        Raises:
            SourceError: they can't be read.
        """
        lines: list[str] = []
        names = self.columns.names
        thread_id = names.index(self.columns.thread_id)
        statement = self._messages()
        for start in range(0, len(conversations), THREADS_PER_STATEMENT):
            keys = [each.key for each in conversations[start : start + THREADS_PER_STATEMENT]]
            with _explained(self._name):
                cursor = await self._connection.execute(statement, {"keys": keys})
                rows = await cursor.fetchall()
            for row in rows:
                lines.append(str(row[thread_id]))
                record = dict(zip(names, row, strict=True))
                file.write(json.dumps(record, ensure_ascii=False, default=_as_json).encode())
                file.write(b"\n")
        return lines

    async def mark(
        self, connection: Connection, conversations: Sequence[EndedConversation]
    ) -> None:
        """Nothing: the position says what was read."""

    def _listing(self) -> sql.Composed:
        columns = self.columns
        return _LISTING.format(
            relation=self._source.identifier,
            thread_id=sql.Identifier(columns.thread_id),
            at=sql.Identifier(columns.timestamp),
            time_type=sql.SQL(columns.time_type),
            user_id=columns.optional("user_id"),
            intent=columns.optional("intent_detected"),
            error=columns.optional("error_message"),
        )

    def _messages(self) -> sql.Composed:
        columns = self.columns
        return _MESSAGES.format(
            columns=sql.SQL(", ").join(map(sql.Identifier, columns.names)),
            relation=self._source.identifier,
            thread_id=sql.Identifier(columns.thread_id),
            at=sql.Identifier(columns.timestamp),
        )


# A conversation that ended after the position has a message after it: an index on the time is used.
_LISTING = sql.SQL("""
    SELECT {thread_id}, max({at}) AS ended_at, {thread_id}::text COLLATE "C" AS name,
        max({user_id}::text), max({intent}::text),
        coalesce(bool_or(nullif(btrim({error}::text), '') IS NOT NULL), false), count(*) OVER ()
    FROM {relation}
    WHERE {at} >= %(after)s::{time_type} AND isfinite({at})
        AND nullif({thread_id}::text, '') IS NOT NULL
    GROUP BY {thread_id}
    HAVING (max({at}), {thread_id}::text COLLATE "C") > (%(after)s::{time_type}, %(after_thread)s)
        AND max({at}) <= (now() - make_interval(secs => %(settle_seconds)s))::{time_type}
        AND (%(until)s::{time_type} IS NULL OR max({at}) < %(until)s::{time_type})
    ORDER BY ended_at, name
""")
_TIMEOUT = sql.SQL("SET LOCAL statement_timeout = {}").format(STATEMENT_SECONDS * 1000)
_MESSAGES = sql.SQL(
    "SELECT {columns} FROM {relation} WHERE {thread_id} = ANY (%(keys)s) ORDER BY {thread_id}, {at}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of a relation that are read."""

    layout: Layout
    time_type: LiteralString

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.layout.mapping.values()))

    @property
    def thread_id(self) -> str:
        return self.layout.mapping["thread_id"]

    @property
    def timestamp(self) -> str:
        return self.layout.mapping["timestamp"]

    def optional(self, column: str) -> sql.Composable:
        """One of our columns in SQL; NULL: the relation has none."""
        name = self.layout.mapping.get(column)
        return sql.SQL("NULL") if name is None else sql.Identifier(name)

    def as_parameter(self, moment: datetime) -> datetime:
        """A moment as the relation writes it: without a zone means UTC."""
        moment = moment.astimezone(UTC)
        return moment if self.time_type == "timestamptz" else moment.replace(tzinfo=None)


@asynccontextmanager
async def opened(
    source: Source, name: str, within: Range | None = None
) -> AsyncGenerator[SourceReader]:
    """A reader with a connection and a snapshot of its own.

    Args:
        within: None: what the settings say of the source.

    Raises:
        SourceError: the database does not answer, or the relation is not as it must be.
    """
    with _explained(name):
        connection = await psycopg.AsyncConnection.connect(
            source.address.get_secret_value(),
            connect_timeout=CONNECT_SECONDS,
            application_name="evalqueue source",
            prepare_threshold=None,  # works behind a pooler in transaction mode
        )
    async with connection:
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        with _explained(name):
            await connection.execute("SET LOCAL TimeZone = 'UTC'")
            await connection.execute(_TIMEOUT)
            columns = await _columns(connection, source, name)
        within = within or Range(settle_minutes=source.settle_minutes)
        yield SourceReader(connection, source, name, columns=columns, within=within)


@contextmanager
def _explained(name: str) -> Generator[None]:
    """Turns errors of the source's database into ours: they are no errors of our own database."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise SourceUnavailable(
            f"The database of source {name!r} does not answer: {error}"
        ) from error
    except psycopg.Error as error:
        raise SourceError(f"Source {name!r} can't be read: {error}") from error


async def _columns(connection: Connection, source: Source, name: str) -> Columns:
    statement = sql.SQL("SELECT * FROM {} LIMIT 0").format(source.identifier)
    cursor = await connection.execute(statement)
    types = {each.name: each.type_code for each in cursor.description or ()}
    layout = layout_of(list(types), source.mapping)
    place = f"Source {name!r}: the relation {source.relation}"
    missing = [each for each in (*layout.required, "timestamp") if each not in layout.mapping]
    gone = sorted(set(layout.mapping.values()) - types.keys())
    if missing or gone:
        raise SourceError(
            f"{place} has no column for {', '.join(missing or gone)}. It has {', '.join(types)}. "
            "Name the right ones in the source's mapping."
        )
    time_type = _TIME_TYPES.get(types[layout.mapping["timestamp"]])
    if time_type is None:
        raise SourceError(
            f"{place} has no time in {layout.mapping['timestamp']!r}: it must be a timestamptz or "
            "a timestamp (in UTC). A view can convert it."
        )
    return Columns(layout=layout, time_type=time_type)


def _ended(row: Sequence[Any]) -> EndedConversation:
    key, last_at, name, user_id, intent, has_error = row
    at = last_at if last_at.tzinfo is not None else last_at.replace(tzinfo=UTC)
    return EndedConversation(
        candidate=Candidate(thread_id=name, user_id=user_id, intent=intent, has_error=has_error),
        position=Position(last_at=at, thread_id=name),
        key=key,
    )


def _as_json(value: object) -> object:
    """A value of Postgres that JSON does not have."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    raise SourceError(f"A column has values of type {type(value).__name__}. A view can convert it.")
