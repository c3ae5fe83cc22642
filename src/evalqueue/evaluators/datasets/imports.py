"""Imports a file as a dataset.

An import is one transaction: a bad row or a crash leaves nothing behind.
"""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, cast

from psycopg.types.json import Json, Jsonb

from evalqueue import codec
from evalqueue.evaluators.datasets.incoming import CHUNK_BYTES, Identified, Incoming, identified
from evalqueue.evaluators.datasets.staging import stage, statistics
from evalqueue.evaluators.datasets.store import NAME_LIMIT, QUERIES
from evalqueue.evaluators.formats import UNKNOWN_USER, ContentStatistics, Faults
from evalqueue.evaluators.formats.raw.compression import decompressed
from evalqueue.evaluators.formats.values.columns import name_of
from evalqueue.postgres.database import Connection, Database
from evalqueue.problems import as_line
from evalqueue.telemetry import actors


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
        "name": codec.clean_text(as_line(found.name), limit=NAME_LIMIT) or "unnamed",
        "kept": kept,
        "actor": actors.setting(),
    }
    async with database.connection() as connection, connection.transaction():
        if await _is_read(connection, found):
            is_new = await _enter(connection, entry)
            return Added(dataset_id=found.dataset_id, is_new=is_new)
    async with database.long_transaction(owner=owner) as connection:
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
            text[start : start + CHUNK_BYTES].encode("utf-8", "surrogatepass")
            for start in range(0, len(text), CHUNK_BYTES)
        )
        file.seek(0)

    with tempfile.TemporaryFile() as opened:  # closed also where writing fails or is cancelled
        file = cast("BinaryIO", opened)
        await asyncio.to_thread(write, file)
        yield file


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
    threads = {"dataset_id": found.dataset_id, "unknown": UNKNOWN_USER}
    await connection.execute(QUERIES["keep_threads"], threads)


def _whole_mapping(found: Identified) -> dict[str, str]:
    """By which mapping a file was read, as given and guessed, where names differ. Blocks."""
    found.file.seek(0)
    head = found.format.head(decompressed(found.file, is_cut=True), found.mapping)
    whole = {**head.mapping, **found.given_mapping}
    return {column: name for column, name in whole.items() if name_of(name) != column}
