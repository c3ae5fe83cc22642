"""Imports a file as a dataset: a thread reads it in blocks, and Postgres groups the messages.

The messages stream into a temporary table, in any order, and SQL groups them into conversations. At
most a few hundred messages are in memory, and the event loop is not blocked. An import is one
transaction: a bad row or a crash leaves nothing behind.
"""

import asyncio
import hashlib
import io
import json
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import Any, BinaryIO, cast

from psycopg.rows import class_row
from psycopg.types.json import Json, Jsonb

from evalqueue import codec
from evalqueue.evaluators.datasets.store import NAME_LIMIT, QUERIES
from evalqueue.evaluators.formats import (
    BAD_ROWS_KEPT,
    ContentStatistics,
    Faults,
    Format,
    FormatError,
    Message,
    shown,
)
from evalqueue.evaluators.formats.chunks import ChunkFile
from evalqueue.evaluators.formats.registry import format_of
from evalqueue.postgres.database import Connection, Database

THREAD_MAX_BYTES = 32 * 1024**2
"""The maximum size of one conversation. A worker has as many in memory as it has open calls."""
_BLOCK_BYTES = 256 * 1024
_CHUNK_BYTES = 1024**2
_OPENING_CHARACTERS = 200
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})

Mark = Callable[[Message], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A file to import."""

    file: BinaryIO
    """At its beginning. No other code may use it."""
    name: str
    format: str | None = None
    """None: the format that the name or the content implies."""
    mapping: Mapping[str, str] | None = None
    """From our columns to the file's headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """A file whose format and id are known."""

    file: BinaryIO
    name: str
    format: Format
    mapping: Mapping[str, str]
    """The entries that change something."""
    dataset_id: str
    size_bytes: int
    file_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A dataset that an owner has added."""

    dataset_id: str
    is_new: bool
    """Whether this owner did not have it before. Other owners are not considered."""


async def add(database: Database, incoming: Incoming, *, owner: str, kept: bool) -> Added:
    """Import a file, unless its dataset exists already, and add the dataset to an owner.

    Args:
        kept: whether it stays until it is removed. Otherwise it stays while a job or run needs it.

    Raises:
        FormatError: the file has faults. Nothing was stored.
    """
    found = await asyncio.to_thread(identified, incoming)
    entry = {
        "dataset_id": found.dataset_id,
        "owner": owner,
        # On one line, since it is shown in tables.
        "name": codec.clean_text(" ".join(found.name.split()), limit=NAME_LIMIT) or "unnamed",
        "kept": kept,
    }
    async with database.connection() as connection, connection.transaction():
        if await _is_read(connection, found):
            is_new = await _enter(connection, entry)
            return Added(dataset_id=found.dataset_id, is_new=is_new)
    async with database.long_transaction() as connection:
        # A concurrent import of the same file waits here, and then finds the dataset.
        await connection.execute(QUERIES["lock"], {"dataset_id": found.dataset_id})
        if not await _is_read(connection, found):
            await _keep(connection, found)
        is_new = await _enter(connection, entry)
    return Added(dataset_id=found.dataset_id, is_new=is_new)


@asynccontextmanager
async def spooled(text: str) -> AsyncGenerator[BinaryIO]:
    """A file with this text, on disk, for as long as the context lasts."""

    def write(file: BinaryIO) -> None:
        file.writelines(
            text[start : start + _CHUNK_BYTES].encode("utf-8", "surrogatepass")
            for start in range(0, len(text), _CHUNK_BYTES)
        )
        file.seek(0)

    with tempfile.TemporaryFile() as opened:  # closed also where writing fails or is cancelled
        file = cast("BinaryIO", opened)
        await asyncio.to_thread(write, file)
        yield file


def identified(incoming: Incoming) -> Identified:
    """The format of a file, the effective mapping, and its id. Blocks.

    Raises:
        FormatError: there is no such format.
    """
    file = incoming.file
    file.seek(0)
    form = format_of(file, name=incoming.name, given=incoming.format)
    given = incoming.mapping
    mapping = form.effective(file, given) if given else dict[str, str]()
    file.seek(0)
    content = hashlib.sha256()
    size_bytes = 0
    while chunk := file.read(_CHUNK_BYTES):
        content.update(chunk)
        size_bytes += len(chunk)
    file.seek(0)
    file_sha256 = content.digest()
    if mapping:
        meaning = json.dumps([form.name, dict(sorted(mapping.items()))], ensure_ascii=True)
        content.update(b"\0" + meaning.encode())
    return Identified(
        file=file,
        name=incoming.name,
        format=form,
        mapping=mapping,
        dataset_id=f"sha256:{content.hexdigest()}",
        size_bytes=size_bytes,
        file_sha256=file_sha256,
    )


async def stage(
    connection: Connection,
    found: Identified,
    faults: Faults,
    *,
    mark: Mark | None = None,
    with_turns: bool = True,
) -> None:
    """Copy the messages of a file into a temporary table, up to the first fault."""
    await connection.execute(QUERIES["stage"])
    checked = _Checked(found)
    messages = found.format.messages(
        cast("BinaryIO", io.BufferedReader(checked, _CHUNK_BYTES)),
        faults,
        mapping=found.mapping or None,
    )
    blocks = _Blocks(messages, mark=mark, with_turns=with_turns)
    async with connection.cursor() as cursor:
        async with cursor.copy(QUERIES["copy"]) as copy:
            while block := await asyncio.to_thread(blocks.take):
                await copy.write(block)
        if faults:
            return
        await asyncio.to_thread(checked.compare)
        arguments = {"max_bytes": THREAD_MAX_BYTES, "limit": BAD_ROWS_KEPT}
        await cursor.execute(QUERIES["too_large"], arguments)
        for row, thread_id, size in await cursor.fetchall():
            reason = (
                f"the conversation {shown(thread_id)} comes to {size:,} bytes. "
                f"One may have {THREAD_MAX_BYTES:,}."
            )
            faults.add(row, "thread_id", reason)


async def statistics(connection: Connection) -> ContentStatistics:
    """The statistics of the staged messages."""
    async with connection.cursor(row_factory=class_row(ContentStatistics)) as cursor:
        await cursor.execute(QUERIES["statistics"])
        (found,) = await cursor.fetchall()
    return found


async def _is_read(connection: Connection, found: Identified) -> bool:
    cursor = await connection.execute(QUERIES["is_read"], {"dataset_id": found.dataset_id})
    return await cursor.fetchone() is not None


async def _enter(connection: Connection, entry: Mapping[str, Any]) -> bool:
    """Add the dataset to an owner. Returns whether the owner did not have it before."""
    cursor = await connection.execute(QUERIES["enter"], entry)
    found = await cursor.fetchone()
    return found is not None and found[0]


async def _keep(connection: Connection, found: Identified) -> None:
    faults = Faults(found.name)
    await stage(connection, found, faults)
    faults.raise_if_any()
    counted = await statistics(connection)
    arguments: dict[str, Any] = {
        name: getattr(counted, name) for name in ContentStatistics.__slots__
    }
    arguments |= {
        "dataset_id": found.dataset_id,
        "size_bytes": found.size_bytes,
        "format": found.format.name,
        "mapping": Jsonb(found.mapping, dumps=codec.dump_json) if found.mapping else None,
        "intents": Json(counted.intents, dumps=codec.dump_json),
    }
    await connection.execute(QUERIES["keep"], arguments)
    await connection.execute(QUERIES["keep_threads"], {"dataset_id": found.dataset_id})


class _Checked(ChunkFile):
    """A file that is read a second time, and must not have changed."""

    def __init__(self, found: Identified) -> None:
        self._found = found
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._position = 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._position = self._found.file.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        return self._position

    def next_chunk(self, size: int) -> bytes:
        chunk = self._found.file.read(size)
        # Formats look at a file's beginning first: what was hashed once is not hashed again.
        self._hash.update(chunk[self._hashed - self._position :])
        self._position += len(chunk)
        self._hashed = max(self._hashed, self._position)
        return chunk

    def compare(self) -> None:
        """Check the content.

        Raises:
            FormatError: the file has changed.
        """
        while self.read(_CHUNK_BYTES):
            pass
        if self._hash.digest() != self._found.file_sha256:
            raise FormatError(f"{self._found.name} was written to while it was read. Try again.")


class _Blocks:
    """Messages in the format of Postgres' COPY, in blocks of rows."""

    def __init__(self, messages: Iterator[Message], *, mark: Mark | None, with_turns: bool) -> None:
        self._messages = enumerate(messages, start=1)
        self._mark = mark
        self._with_turns = with_turns

    def take(self) -> bytes:
        """The next block. Empty: there are no more. Blocks: call it in a thread."""
        rows: list[bytes] = []
        size = 0
        for number, message in self._messages:
            row = self._row(number, message)
            rows.append(row)
            size += len(row)
            if size >= _BLOCK_BYTES:
                break
        return b"".join(rows)

    def _row(self, number: int, message: Message) -> bytes:
        turn = _turn(message).encode()
        intent = message.routed_intent
        fields = (
            str(number),
            str(message.row),
            message.thread_id.translate(_ESCAPES),
            message.user_id.translate(_ESCAPES),
            message.timestamp.astimezone(UTC).isoformat(),
            "\\N" if intent is None else intent.translate(_ESCAPES),
            "t" if message.has_image else "f",
            "f" if message.error is None else "t",
            str(0 if self._mark is None else self._mark(message)),
            str(len(turn)),
            message.user_text[:_OPENING_CHARACTERS].translate(_ESCAPES),
        )
        shown_turn = turn.replace(b"\\", b"\\\\") if self._with_turns else b"\\N"
        return b"%b\t%b\n" % ("\t".join(fields).encode(), shown_turn)


def _turn(message: Message) -> str:
    """A turn's JSON without its beginning, the number, which is known only after the last row."""
    turn = {
        "timestamp": message.timestamp.isoformat(),
        "user_text": message.user_text,
        "bot_text": message.bot_text,
        "routed_intent": message.routed_intent,
        "routed_query_type": message.routed_query_type,
        "has_image": message.has_image,
        "error": message.error,
        "session_id": message.session_id,
        "response_id": message.response_id,
    }
    return json.dumps(turn, ensure_ascii=False)[1:]
