"""Reads a file into a temporary table, and looks at it there.

A thread reads it in blocks. The messages come in any order, and SQL groups them into conversations.
At most a few hundred messages are in memory, and the event loop is not blocked.
"""

import asyncio
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC
from typing import BinaryIO, cast

from psycopg.rows import class_row

from evalqueue.evaluators.datasets.incoming import CHUNK_BYTES, Identified
from evalqueue.evaluators.datasets.masks import Masking
from evalqueue.evaluators.datasets.store import QUERIES
from evalqueue.evaluators.formats import (
    BAD_ROWS_KEPT,
    UNKNOWN_USER,
    ContentStatistics,
    Faults,
    FormatError,
    Message,
    shown,
)
from evalqueue.evaluators.formats.history import Entry, repeated
from evalqueue.evaluators.formats.raw.chunks import ChunkFile
from evalqueue.evaluators.formats.raw.compression import decompressed
from evalqueue.postgres.database import Connection

THREAD_MAX_BYTES = 32 * 1024**2
"""The maximum size of one conversation. A worker has as many in memory as it has open calls."""
_BLOCK_BYTES = 256 * 1024
_OPENING_CHARACTERS = 200
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})

Mark = Callable[[Message], int]


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
        decompressed(cast("BinaryIO", io.BufferedReader(checked, CHUNK_BYTES))),
        faults,
        mapping=found.mapping or None,
        date_order=found.date_order,
    )
    masking = Masking(found.masks) if found.masks else None
    blocks = _Blocks(messages, mark=mark, with_turns=with_turns, masking=masking)
    async with connection.cursor() as cursor:
        async with cursor.copy(QUERIES["copy"]) as copy:
            while block := await asyncio.to_thread(blocks.take):
                await copy.write(block)
        if faults:
            return
        await asyncio.to_thread(checked.compare)
        if blocks.may_repeat:
            await _leave_out_repeated(connection, faults)
        await _note_duplicates(connection, faults)
        if masking is not None:
            kinds = ", ".join(found.masks.labels)
            message = f"Masked before it was stored: {masking.count:,} values ({kinds})."
            faults.note("masked", None, message, count=masking.count)
        arguments = {"max_bytes": THREAD_MAX_BYTES, "limit": BAD_ROWS_KEPT}
        await cursor.execute(QUERIES["too_large"], arguments)
        for row, thread_id, size in await cursor.fetchall():
            reason = (
                f"the conversation {shown(thread_id)} comes to {size:,} bytes. "
                f"One may have {THREAD_MAX_BYTES:,}."
            )
            faults.add(row, "thread_id", reason)


async def _leave_out_repeated(connection: Connection, faults: Faults) -> None:
    """Delete the messages that only repeat the conversation so far."""
    dropped: list[int] = []
    conversations = 0
    async with connection.cursor(name="evalqueue_history", row_factory=class_row(_Staged)) as rows:
        await rows.execute(QUERIES["histories"])
        entries: list[_Staged] = []
        async for row in rows:
            if entries and entries[0].thread_id != row.thread_id:
                found = repeated(entries)
                conversations += bool(found)
                dropped += found
                entries = []
            entries.append(row)
        found = repeated(entries)
        conversations += bool(found)
        dropped += found
    if dropped:
        cursor = await connection.execute(QUERIES["leave_out"], {"numbers": dropped})
        first = min([row async for (row,) in cursor], default=None)
        message = (
            f"Records repeat the conversation so far. Left out: {len(dropped):,} repeated "
            f"messages, in {conversations:,} of the conversations."
        )
        faults.note("repeated_history", first, message, count=len(dropped))


async def _note_duplicates(connection: Connection, faults: Faults) -> None:
    cursor = await connection.execute(QUERIES["duplicated_messages"])
    for count, thread_id, row in await cursor.fetchall():
        message = (
            f"Messages with the same conversation, text and time as an earlier one: {count:,}. "
            f"They were kept. The first is of {shown(thread_id)}."
        )
        faults.note("duplicated_messages", row, message, count=count)
    cursor = await connection.execute(QUERIES["duplicated_threads"])
    for count, thread_id, earlier, row in await cursor.fetchall():
        message = (
            f"Conversations that are word for word the same as an earlier one: {count:,}. They "
            f"were kept. The first, {shown(thread_id)}, is the same as {shown(earlier)}."
        )
        faults.note("duplicated_threads", row, message, count=count)


async def statistics(connection: Connection) -> ContentStatistics:
    """The statistics of the staged messages."""
    async with connection.cursor(row_factory=class_row(ContentStatistics)) as cursor:
        await cursor.execute(QUERIES["statistics"], {"unknown": UNKNOWN_USER})
        (found,) = await cursor.fetchall()
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Staged(Entry):
    """A staged message, with its conversation."""

    thread_id: str


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
        while self.read(CHUNK_BYTES):
            pass
        if self._hash.digest() != self._found.file_sha256:
            raise FormatError(f"{self._found.name} was written to while it was read. Try again.")


class _Blocks:
    """Messages in the format of Postgres' COPY, in blocks of rows."""

    def __init__(
        self,
        messages: Iterator[Message],
        *,
        mark: Mark | None,
        with_turns: bool,
        masking: Masking | None,
    ) -> None:
        self._messages = enumerate(messages, start=1)
        self._mark = mark
        self._with_turns = with_turns
        self._masking = masking
        self._last_record: int | None = None
        self.may_repeat = False
        """Whether a record has several messages, or ends at a tool call: see `history`."""

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
        if self._masking is not None:
            message = self._masking.masked(message)
        record = message.record or message.row
        self.may_repeat |= self._last_record == record or bool(message.tool_calls)
        self._last_record = record
        turn = _turn(message).encode()
        intent, others = message.routed_intent, message.other_users
        fields = (
            str(number),
            str(message.row),
            str(record),
            message.thread_id.translate(_ESCAPES),
            message.user_id.translate(_ESCAPES),
            message.timestamp.astimezone(UTC).isoformat(),
            "\\N" if intent is None else intent.translate(_ESCAPES),
            "t" if message.has_image else "f",
            "f" if message.error is None else "t",
            "t" if message.tool_calls else "f",
            "t" if is_open(message) else "f",
            str(hash(message.user_text)),
            str(hash((message.user_text, message.bot_text))),
            str(0 if self._mark is None else self._mark(message)),
            str(len(turn)),
            message.user_text[:_OPENING_CHARACTERS].translate(_ESCAPES),
            json.dumps(others, ensure_ascii=False).translate(_ESCAPES) if others else "\\N",
        )
        shown_turn = turn.replace(b"\\", b"\\\\") if self._with_turns else b"\\N"
        return b"%b\t%b\n" % ("\t".join(fields).encode(), shown_turn)


def is_open(message: Message) -> bool:
    """Whether a message was not answered, and no error says why."""
    return not message.bot_text and message.error is None


def _turn(message: Message) -> str:
    """A turn's JSON without its beginning, the number, which is known only after the last row."""
    turn: dict[str, object] = {
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
    beside = {
        "system": message.system,
        "context": message.context,
        "expected": message.expected,
        "alternative": message.alternative,
        "tools": message.tools,
    }
    turn |= {name: text for name, text in beside.items() if text is not None}
    seconds = {"latency_seconds": message.latency_seconds, "wait_seconds": message.wait_seconds}
    turn |= {name: each for name, each in seconds.items() if each is not None}
    if message.tool_calls:
        turn["tool_calls"] = [asdict(each) for each in message.tool_calls]
    if message.expected_tool_calls is not None:
        turn["expected_tool_calls"] = [asdict(each) for each in message.expected_tool_calls]
    return json.dumps(turn, ensure_ascii=False)[1:]
