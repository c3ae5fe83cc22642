"""Datasets: conversations that are imported once, stored once, and read one at a time.

A dataset's owners and the names that they gave it are separate entries. `owner` selects the entry
of one owner; None selects those of all owners.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from psycopg.rows import dict_row

from evalqueue import codec
from evalqueue.evaluators.conversation import (
    MAY_BE_EMPTY,
    ExpectedCall,
    Thread,
    ToolCall,
    Turn,
    TurnData,
)
from evalqueue.evaluators.formats import ContentStatistics
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load
from evalqueue.telemetry import actors

QUERIES = load("evaluation/datasets")
NAME_LIMIT = 500  # characters, the table's CHECK
AHEAD_BYTES = 256 * 1024  # of conversations that are read before their turn, as they are stored

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset, with the entry of one owner."""

    id: str
    """`sha256:` and the hash of its file, and of the mapping if it changed something."""
    name: str
    format: str
    size_bytes: int
    mapping: Mapping[str, str] | None
    """From our columns to the file's headers. None: they are the same."""
    owner: str
    created_at: datetime
    """When the owner added it."""
    messages: int
    threads: int
    users: int
    first_at: datetime | None
    """None: the file has no times."""
    last_at: datetime | None
    intents: Mapping[str, int]
    messages_with_images: int
    messages_with_errors: int
    notices: Sequence[Mapping[str, Any]]
    """What a person should check: the fields of `formats.Notice`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The content of an imported dataset, independent of its owners."""

    id: str
    size_bytes: int
    format: str
    messages: int
    threads: int
    name: str | None
    """The name that the given owner uses, or else the name of another owner."""

    @property
    def sha256(self) -> str:
        return sha256_of(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetThread:
    """A conversation of a dataset, without its turns."""

    position: int
    thread_id: str
    user_id: str
    messages: int
    first_at: datetime | None
    last_at: datetime | None
    has_images: bool
    has_errors: bool
    opening: str
    """The user's first message, 200 characters at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCounts:
    """How much is to be judged."""

    threads: int
    messages: int


class Removal(StrEnum):
    """The result of removing an owner's dataset."""

    GONE = "gone"
    """Its content was deleted, too."""
    KEPT = "kept"
    """Its content stays: other owners have it, or a job or a run needs it."""
    READ = "read"
    """Nothing was changed: a job that is not over reads it."""


def sha256_of(dataset_id: str) -> str:
    return dataset_id.removeprefix("sha256:")


async def list_datasets(
    connection: Connection, *, owner: str | None, limit: int, offset: int
) -> list[Dataset]:
    """Datasets, newest first."""
    return await QUERIES.rows(
        connection, Dataset, "list", owner=owner, dataset_id=None, limit=limit, offset=offset
    )


async def get(connection: Connection, dataset_id: str, *, owner: str | None) -> Dataset | None:
    """A dataset of an owner. None: the owner has none with this id."""
    found = await QUERIES.rows(
        connection, Dataset, "list", owner=owner, dataset_id=dataset_id, limit=1, offset=0
    )
    return next(iter(found), None)


async def has(connection: Connection, dataset_id: str, *, owner: str) -> bool:
    """Whether the owner has it, imported or not."""
    return await QUERIES.value(connection, "has", dataset_id=dataset_id, owner=owner)


async def content(connection: Connection, dataset_id: str, *, owner: str) -> Content | None:
    """The content of a dataset. None: there is none with this id, or it was not imported yet."""
    found = await QUERIES.rows(connection, Content, "content", dataset_id=dataset_id, owner=owner)
    return next(iter(found), None)


async def raw(connection: Connection, dataset_id: str) -> str | None:
    """The text of a dataset that was submitted by plain SQL and was not imported yet."""
    return await QUERIES.value(connection, "raw", dataset_id=dataset_id)


async def statistics(connection: Connection, dataset_id: str) -> ContentStatistics | None:
    found = await QUERIES.rows(
        connection, ContentStatistics, "statistics_of", dataset_id=dataset_id
    )
    return next(iter(found), None)


async def thread(connection: Connection, dataset_id: str, thread_id: str) -> Thread | None:
    """One conversation. None: the dataset has none with this id, or was deleted."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        arguments = {"dataset_id": dataset_id, "thread_id": thread_id}
        await cursor.execute(QUERIES["thread"], arguments)
        row = await cursor.fetchone()
    return None if row is None else _thread(row)


async def threads_ahead(
    connection: Connection, dataset_id: str, thread_ids: Sequence[str]
) -> list[Thread]:
    """Some conversations: the first, and as many of the others as are small together."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        arguments = {"dataset_id": dataset_id, "thread_ids": thread_ids, "max_bytes": AHEAD_BYTES}
        await cursor.execute(QUERIES["threads_ahead"], arguments)
        return [_thread(row) for row in await cursor.fetchall()]


async def thread_ids(connection: Connection, dataset_id: str) -> list[str]:
    """The ids of all conversations, in the order of the file."""
    cursor = await connection.execute(QUERIES["thread_ids"], {"dataset_id": dataset_id})
    return [thread_id async for (thread_id,) in cursor]


async def threads_of(
    connection: Connection, dataset_id: str, *, after: int, limit: int
) -> list[DatasetThread]:
    """A page of conversations. `after` is the last position of the previous page, or 0."""
    return await QUERIES.rows(
        connection, DatasetThread, "threads", dataset_id=dataset_id, after=after, limit=limit
    )


async def counts(
    connection: Connection, dataset_id: str, wanted: Sequence[str] | None = None
) -> JudgedCounts:
    """The counts of some conversations. None: of all."""
    ids = None if wanted is None else [codec.clean_text(each) for each in wanted]
    (found,) = await QUERIES.rows(
        connection, JudgedCounts, "counts", dataset_id=dataset_id, thread_ids=ids
    )
    return found


async def has_turn_with(
    connection: Connection,
    dataset_id: str,
    wanted: Sequence[str] | None,
    data: Collection[TurnData],
) -> bool:
    """Whether a turn of some conversations (None: of all) has all of these."""
    conditions = (
        f"exists(@.{each})"
        if each in MAY_BE_EMPTY or each is TurnData.TOOL_CALLS  # not stored without a content
        else f'(@.{each}.type() == "string" && @.{each} != "")'
        for each in data
    )
    ids = None if wanted is None else [codec.clean_text(each) for each in wanted]
    arguments = {
        "dataset_id": dataset_id,
        "thread_ids": ids,
        "path": f"$[*] ? ({' && '.join(conditions)})",
    }
    return bool(await QUERIES.value(connection, "has_turn", **arguments))


async def pin(connection: Connection, *, job_id: UUID, dataset_id: str) -> None:
    """Let a job and its helper jobs read this dataset from now on, instead of an earlier one."""
    await connection.execute(QUERIES["pin"], {"job_id": job_id, "dataset_id": dataset_id})


async def remove(connection: Connection, dataset_id: str, *, owner: str | None) -> Removal | None:
    """Remove a dataset from an owner, or from all owners. None: they have none with this id."""
    found = await QUERIES.value(
        connection, "remove", dataset_id=dataset_id, owner=owner, actor=actors.setting()
    )
    return None if found is None else Removal(found)


def _thread(row: Mapping[str, Any]) -> Thread:
    return Thread(
        thread_id=row["thread_id"],
        user_id=row["user_id"],
        turns=tuple(map(_turn, row["turns"])),
    )


def _turn(stored: Mapping[str, Any]) -> Turn:
    turn = dict(stored)
    turn["timestamp"] = datetime.fromisoformat(stored["timestamp"])
    turn["tool_calls"] = tuple(ToolCall(**call) for call in stored.get("tool_calls", ()))
    if (expected := stored.get("expected_tool_calls")) is not None:
        turn["expected_tool_calls"] = tuple(ExpectedCall(**call) for call in expected)
    return Turn(**turn)
