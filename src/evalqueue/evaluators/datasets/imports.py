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
from dataclasses import asdict, dataclass, field
from datetime import UTC
from typing import Any, BinaryIO, cast

from psycopg.rows import class_row
from psycopg.types.json import Json, Jsonb

from evalqueue import codec
from evalqueue.evaluators.datasets.masks import NO_MASKS, Masking, Masks
from evalqueue.evaluators.datasets.store import NAME_LIMIT, QUERIES
from evalqueue.evaluators.formats import (
    BAD_ROWS_KEPT,
    ContentStatistics,
    DateOrder,
    Faults,
    Format,
    FormatError,
    Message,
    shown,
)
from evalqueue.evaluators.formats.history import Entry, repeated
from evalqueue.evaluators.formats.raw.chunks import ChunkFile
from evalqueue.evaluators.formats.raw.compression import decompressed
from evalqueue.evaluators.formats.registry import format_of
from evalqueue.evaluators.formats.values.columns import name_of
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
    """From our columns to the file's headers, where the guess is wrong. "": not in the file."""
    date_order: DateOrder | None = None
    """Of dates like 1/2/2025. None: as the file decides."""
    masks: Masks = NO_MASKS
    """Personal data that is replaced before anything is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """A file whose format and id are known."""

    file: BinaryIO
    name: str
    format: Format
    mapping: Mapping[str, str]
    """The entries that differ from the guess."""
    dataset_id: str
    size_bytes: int
    file_sha256: bytes
    date_order: DateOrder | None = None
    masks: Masks = NO_MASKS
    given_mapping: Mapping[str, str] = field(default_factory=dict[str, str])


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
    inside = decompressed(file, is_cut=True)
    mapping = form.effective(inside, given) if given else dict[str, str]()
    file.seek(0)
    content = hashlib.sha256()
    size_bytes = 0
    while chunk := file.read(_CHUNK_BYTES):
        content.update(chunk)
        size_bytes += len(chunk)
    file.seek(0)
    file_sha256 = content.digest()
    if mapping or incoming.date_order or incoming.masks:
        choices: list[object] = [form.name, dict(sorted(mapping.items()))]
        if incoming.date_order or incoming.masks:
            choices += [incoming.date_order, sorted(incoming.masks.kinds)]
        if incoming.masks.names:
            choices.append(incoming.masks.names)
        meaning = json.dumps(choices, ensure_ascii=True)
        content.update(b"\0" + meaning.encode())
    return Identified(
        file=file,
        name=incoming.name,
        format=form,
        mapping=mapping,
        dataset_id=f"sha256:{content.hexdigest()}",
        size_bytes=size_bytes,
        file_sha256=file_sha256,
        date_order=incoming.date_order,
        masks=incoming.masks,
        given_mapping=given or {},
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
        decompressed(cast("BinaryIO", io.BufferedReader(checked, _CHUNK_BYTES))),
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
    mapping = await asyncio.to_thread(_whole_mapping, found)
    counted = await statistics(connection)
    arguments: dict[str, Any] = {
        name: getattr(counted, name) for name in ContentStatistics.__slots__
    }
    arguments |= {
        "dataset_id": found.dataset_id,
        "size_bytes": found.size_bytes,
        "format": found.format.name,
        "mapping": Jsonb(mapping, dumps=codec.dump_json) if mapping else None,
        "intents": Json(counted.intents, dumps=codec.dump_json),
        "notices": Json([asdict(each) for each in faults.notices], dumps=codec.dump_json),
    }
    await connection.execute(QUERIES["keep"], arguments)
    await connection.execute(QUERIES["keep_threads"], {"dataset_id": found.dataset_id})


def _whole_mapping(found: Identified) -> dict[str, str]:
    """By which mapping a file was read, as given and guessed, where names differ. Blocks."""
    found.file.seek(0)
    head = found.format.head(decompressed(found.file, is_cut=True), found.mapping)
    whole = {**head.mapping, **found.given_mapping}
    return {column: name for column, name in whole.items() if name_of(name) != column}


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
        while self.read(_CHUNK_BYTES):
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
        intent = message.routed_intent
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
        "tools": message.tools,
    }
    turn |= {name: text for name, text in beside.items() if text is not None}
    if message.tool_calls:
        turn["tool_calls"] = [asdict(each) for each in message.tool_calls]
    if message.expected_tool_calls is not None:
        turn["expected_tool_calls"] = [asdict(each) for each in message.expected_tool_calls]
    return json.dumps(turn, ensure_ascii=False)[1:]
