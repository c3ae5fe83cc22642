"""What the commands about datasets do. `datasets_cli` declares their flags."""

import asyncio
import io
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, cast

from evalqueue.cli.commands.jobs import connected, read_object
from evalqueue.cli.output import console
from evalqueue.cli.output.console import LINE_INTERVAL, ExitCode
from evalqueue.client import Client
from evalqueue.errors import Refused
from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.imports import Added, Incoming
from evalqueue.evaluators.datasets.store import Dataset, Removal
from evalqueue.evaluators.formats import BadData, FormatError
from evalqueue.postgres.database import Connection

_SHOWN_THREADS = 20
_TELL_FROM_BYTES = 32 * 1024**2  # smaller files are there before anybody wonders
_LISTED_MAX = 1_000
_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Files as they are to be stored."""

    files: tuple[Path, ...]
    name: str | None
    mapping: Mapping[str, str]
    format: str | None
    owner: str


def read_mapping(document: str) -> dict[str, str]:
    """A mapping from the command line.

    Raises:
        Refused: it is none.
    """
    found = read_object("--mapping", document)
    if not all(isinstance(each, str) for each in found.values()):
        raise Refused("--mapping: each column of ours is mapped to the text of a header.")
    return cast("dict[str, str]", found)


async def add(wanted: Wanted, *, as_json: bool) -> ExitCode:
    """Store files; those that can't be are named, and the others are stored all the same."""
    if wanted.name is not None and len(wanted.files) > 1:
        raise Refused("--name: one name for several files. Leave it out, or add them one by one.")
    code = ExitCode.DONE
    async with connected() as client:
        for path in wanted.files:
            try:
                added = await _add(client, wanted, path)
            except FormatError as error:
                code = ExitCode.USAGE
                _put_refused(path, error, as_json=as_json)
                continue
            found = await _get(client, added.dataset_id, wanted.owner)
            if as_json and found is not None:
                console.put_json(asdict(found) | {"is_new": added.is_new})
            elif found is not None:
                console.put(added.dataset_id)
                console.say(f"{path}: {_words(found)}{'' if added.is_new else ', known already'}")
    return code


async def list_datasets(owner: str | None, limit: int, *, as_json: bool) -> ExitCode:
    """Print the newest datasets."""
    async with connected() as client, (await client.database()).connection() as connection:
        found = await datasets.list_datasets(connection, owner=owner, limit=limit, offset=0)
    if as_json:
        console.put_json([asdict(each) for each in found])
    elif not found:
        console.say("No datasets. To add one: evalqueue datasets add FILE")
    else:
        console.put_table(
            ("id", "name", "owner", "threads", "messages", "users", "from", "to", "added"),
            [
                (
                    _short(each.id), each.name, each.owner, each.threads, each.messages, each.users,
                    console.moment(each.first_at), console.moment(each.last_at),
                    console.moment(each.created_at),
                )
                for each in found
            ],
        )  # fmt: skip
    return ExitCode.DONE


async def show(dataset_id: str, *, as_json: bool) -> ExitCode:
    """Print what there is to know about a dataset."""
    async with connected() as client, (await client.database()).connection() as connection:
        found = await _find(connection, dataset_id)
        if found is None:
            return _no_dataset(dataset_id)
        threads = await datasets.threads_of(connection, found.id, after=0, limit=_SHOWN_THREADS)
    if as_json:
        console.put_json(asdict(found) | {"first_threads": [asdict(each) for each in threads]})
        return ExitCode.DONE
    intents = ", ".join(f"{name} {count}" for name, count in found.intents.items())
    console.put(f"{found.id}\n{found.name}: {_words(found)}\n{intents or 'no intents'}")
    console.put_table(
        ("", "thread", "user", "messages", "from", "opening"),
        [
            (
                each.position, each.thread_id, each.user_id, each.messages,
                console.moment(each.first_at), " ".join(each.opening.split()),
            )
            for each in threads
        ],
    )  # fmt: skip
    return ExitCode.DONE


async def remove(dataset_id: str, owner: str | None, *, as_json: bool) -> ExitCode:
    """Take a dataset from an owner, or from everybody."""
    async with connected() as client:
        database = await client.database()
        async with database.connection() as connection:
            found = await _find(connection, dataset_id, owner=owner)
        if found is None:
            return _no_dataset(dataset_id)
        async with database.transaction() as connection:
            removal = await datasets.remove(connection, found.id, owner=owner)
    if removal is None:
        return _no_dataset(dataset_id)
    if removal is Removal.READ:
        console.say(f"A job that is not over reads {found.id}. Cancel it, or wait.")
        return ExitCode.NOT_FOUND
    if as_json:
        console.put_json({"id": found.id, "deleted": True})
    else:
        stays = "; its content stays while a job, a run or somebody else needs it"
        console.put(f"{found.name} is removed{stays if removal is Removal.KEPT else ''}")
    return ExitCode.DONE


async def _add(client: Client, wanted: Wanted, path: Path) -> Added:
    limit = client.settings.max_dataset_bytes
    with ExitStack() as opened:
        file = opened.enter_context(await asyncio.to_thread(path.open, "rb"))
        size = await asyncio.to_thread(os.path.getsize, path)
        if size > limit:
            raise FormatError(
                f"{path} is larger than {limit:,} bytes. "
                "Split it, or raise EVALQUEUE_MAX_DATASET_BYTES."
            )
        if size >= _TELL_FROM_BYTES:
            # It is read twice: once for its hash.
            told = _Told(file, path.name, 2 * size)
            file = cast("BinaryIO", io.BufferedReader(told, 1024**2))
        incoming = Incoming(
            file=file,
            name=wanted.name or path.name,
            format=wanted.format,
            mapping=wanted.mapping or None,
        )
        return await imports.add(await client.database(), incoming, owner=wanted.owner, kept=True)


class _Told(io.RawIOBase):
    """A file that says now and then how much of what is to be read was read."""

    def __init__(self, file: BinaryIO, name: str, total: int) -> None:
        self._file = file
        self._name = name
        self._total = total
        self._count = 0
        self._said_at = time.monotonic()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]  what BufferedReader hands over
        chunk = self._file.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._count += len(chunk)
        self._tell(is_over=not chunk)
        return len(chunk)

    def _tell(self, *, is_over: bool) -> None:
        now = time.monotonic()
        if is_over and self._count >= self._total:
            console.say(f"{self._name}: all of it is read, and put together")
        elif not is_over and now - self._said_at >= LINE_INTERVAL:
            self._said_at = now
            console.say(f"{self._name}: {self._count / self._total:.0%} is read")


async def _get(client: Client, dataset_id: str, owner: str) -> Dataset | None:
    async with (await client.database()).connection() as connection:
        return await datasets.get(connection, dataset_id, owner=owner)


async def _find(
    connection: Connection, dataset_id: str, *, owner: str | None = None
) -> Dataset | None:
    """By its id or by the beginning of it, where only one begins so."""
    wanted = dataset_id if dataset_id.startswith(_PREFIX) else _PREFIX + dataset_id
    if (exact := await datasets.get(connection, wanted, owner=owner)) is not None:
        return exact
    newest = await datasets.list_datasets(connection, owner=owner, limit=_LISTED_MAX, offset=0)
    found = [each for each in newest if each.id.startswith(wanted)]
    if len(found) > 1:
        raise Refused(f"{dataset_id}: {len(found)} datasets begin so. Write more of it.")
    return next(iter(found), None)


def _no_dataset(dataset_id: str) -> ExitCode:
    console.say(f"There is no dataset {dataset_id}. Those there are: evalqueue datasets")
    return ExitCode.NOT_FOUND


def _put_refused(path: Path, error: FormatError, *, as_json: bool) -> None:
    if as_json:
        console.put_json({"file": str(path)} | error.as_json())
        return
    rows = error.rows if isinstance(error, BadData) else ()
    if not rows:
        console.say(str(error))
    for row in rows:
        console.say(f"{path}: {row}")
    if isinstance(error, BadData) and error.more:
        console.say(f"{path}: … and {error.more:,} more bad rows")


def _words(found: Dataset) -> str:
    when = ""
    if found.first_at is not None and found.last_at is not None:
        when = f", {found.first_at:%Y-%m-%d} to {found.last_at:%Y-%m-%d}"
    counted = (
        (found.threads, "conversation"), (found.messages, "message"), (found.users, "user"),
    )  # fmt: skip
    return ", ".join(f"{n:,} {noun}{'' if n == 1 else 's'}" for n, noun in counted) + when


def _short(dataset_id: str) -> str:
    return dataset_id[: len(_PREFIX) + 12]
