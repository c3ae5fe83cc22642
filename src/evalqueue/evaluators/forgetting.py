"""Deletes the data of one user of a chatbot: their conversations, and all rows about these."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from psycopg.errors import ObjectInUse

from evalqueue import codec
from evalqueue.errors import Refused
from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.evaluators.formats import UNKNOWN_USER, FormatError
from evalqueue.postgres.database import Connection, Database
from evalqueue.postgres.queries import load
from evalqueue.postgres.rows import jsonb
from evalqueue.telemetry import actors

QUERIES = load("evaluation/forgetting")
CHUNK = 100  # conversations that are deleted in one transaction
PAUSE = 0.02  # seconds between transactions, for other users of the disk
NAMED = ("datasets", "dataset_threads", "posted_threads")
"""What the audit log says of the rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    kind: str
    counted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _UnreadFile:
    id: str
    owner: str | None


def checked_user(user_id: str) -> str:
    """A user id as it is stored.

    Raises:
        Refused: it is none, or stands for all conversations whose user is not known.
    """
    cleaned = codec.clean_text(user_id)
    if not cleaned.strip():
        raise Refused("Give the id of a user, as conversations have it in the column user_id.")
    if cleaned == UNKNOWN_USER:
        raise Refused(
            f"{UNKNOWN_USER!r} is not one user: conversations have it whose file names no user."
        )
    return cleaned


async def rows_of(connection: Connection, user_id: str) -> dict[str, int]:
    """How many rows are about a user, by table; `unread_files`: files that were not read yet,
    whomever they are about."""
    found = await QUERIES.rows(connection, _Counted, "counts", user_id=user_id)
    return {each.kind: each.counted for each in found}


async def forget(database: Database, user_id: str) -> dict[str, int]:
    """Delete all rows about a user, some conversations at a time. It can be repeated, also after an
    error half way.

    Returns:
        How many rows were deleted, as `rows_of` counts them.

    Raises:
        Refused: a job that is not over reads conversations of the user.
    """
    unreadable = await _read_files(database, user_id)
    await store_watched_rows(database)
    async with database.transaction() as connection:
        before = await rows_of(connection, user_id)
        reading = await (
            await connection.execute(QUERIES["reading"], {"user_id": user_id})
        ).fetchall()
    if reading:
        raise Refused(
            "Jobs that are not over read conversations of this user: "
            f"{', '.join(job_id for (job_id,) in reading)}. Cancel them, or wait."
        )
    deleted: Counter[str] = Counter(dict.fromkeys(before, 0))
    audited: Mapping[str, int] | None = {
        name: before[name] for name in NAMED if before[name] or name != "posted_threads"
    }
    async for counts in _forget_posted(database, user_id, audited):
        deleted.update(counts)
        audited = None
    async for dataset_id in _datasets(database, user_id, unreadable):
        while True:
            counts = await _forget_some(database, dataset_id, user_id, audited)
            deleted.update(counts)
            if not counts["dataset_threads"]:
                break
            audited = None
            await asyncio.sleep(PAUSE)
        if dataset_id in unreadable:
            audited = None
    return dict(deleted)


async def store_watched_rows(database: Database) -> None:
    """Store the rows of watched tables, so that it is known whom they are about."""
    while True:
        async with database.transaction() as connection:
            row = await (await connection.execute(QUERIES["store_rows"])).fetchone()
        if row is None:
            return
        if not row[0]:  # a job stores them just now
            await asyncio.sleep(PAUSE)


async def _datasets(
    database: Database, user_id: str, unreadable: frozenset[str]
) -> AsyncGenerator[str]:
    """Datasets with conversations of the user, also those that are added in the meantime."""
    for dataset_id in sorted(unreadable):
        yield dataset_id
    while True:
        async with database.connection() as connection:
            cursor = await connection.execute(QUERIES["datasets"], {"user_id": user_id})
            found = [dataset_id for (dataset_id,) in await cursor.fetchall()]
        if not found:
            return
        for dataset_id in found:
            yield dataset_id


async def _forget_posted(
    database: Database, user_id: str, audited: Mapping[str, int] | None
) -> AsyncGenerator[dict[str, int]]:
    """Delete what was posted of the user, some conversations at a time."""
    while True:
        async with _refused_in_use(), database.transaction() as connection:
            counts: dict[str, int] = await QUERIES.value(
                connection,
                "forget_posted",
                user_id=user_id,
                chunk=CHUNK,
                audited=None if audited is None else jsonb(audited),
                actor=actors.setting(),
            )
        if not counts["posted_threads"]:
            return
        yield counts
        audited = None
        await asyncio.sleep(PAUSE)


@asynccontextmanager
async def _refused_in_use() -> AsyncGenerator[None]:
    """Turn what SQL says of jobs that read the rows into a refusal."""
    try:
        yield
    except ObjectInUse as error:
        raise Refused(f"{error.diag.message_primary}. {error.diag.message_hint}") from error


async def _forget_some(
    database: Database, dataset_id: str, user_id: str, audited: Mapping[str, int] | None
) -> dict[str, int]:
    async with _refused_in_use(), database.transaction() as connection:
        return await QUERIES.value(
            connection,
            "forget",
            dataset_id=dataset_id,
            user_id=user_id,
            chunk=CHUNK,
            audited=None if audited is None else jsonb(audited),
            actor=actors.setting(),
        )


async def _read_files(database: Database, user_id: str) -> frozenset[str]:
    """Read files that came by plain SQL, as a worker would: their conversations then have users.
    Returns those that can't be read and mention the user."""
    async with database.transaction() as connection:
        files = await QUERIES.rows(connection, _UnreadFile, "unread")
    unreadable: set[str] = set()
    for each in files:
        async with database.transaction() as connection:
            content = await datasets.raw(connection, each.id)
        if content is None:  # a worker has read it in the meantime
            continue
        async with imports.spooled(content) as file:
            incoming = Incoming(file=file, name="csv_content")
            try:
                await imports.add(database, incoming, owner=each.owner or "default", kept=False)
            except FormatError:
                if _mentions(content, user_id):
                    unreadable.add(each.id)
    return frozenset(unreadable)


def _mentions(content: str, user_id: str) -> bool:
    """Whether a file has this id, also as CSV and JSON write it."""
    written = {user_id, user_id.replace('"', '""'), json.dumps(user_id, ensure_ascii=False)[1:-1]}
    if any(each in content for each in written):
        return True
    return json.dumps(user_id)[1:-1].lower() in content.lower()  # \u00F6 is \u00f6
