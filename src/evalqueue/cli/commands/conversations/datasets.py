"""The commands about datasets."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, cast

from evalqueue.cli.commands.arguments import read_object
from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.cli.output.text import one_line
from evalqueue.cli.output.times import format_time
from evalqueue.client import Client
from evalqueue.errors import Refused
from evalqueue.evaluators.datasets import imports
from evalqueue.evaluators.datasets import store as datasets
from evalqueue.evaluators.datasets.imports import Added
from evalqueue.evaluators.datasets.incoming import Incoming
from evalqueue.evaluators.datasets.masks import Masks, kinds_of
from evalqueue.evaluators.datasets.names import read_names
from evalqueue.evaluators.datasets.store import Dataset, Removal
from evalqueue.evaluators.formats import BadData, DateOrder, FormatError, Notice
from evalqueue.postgres.database import Connection
from evalqueue.problems import line_problem

_SHOWN_THREADS = 20
_PROGRESS_MIN_BYTES = 32 * 1024**2  # smaller files are read within a second or two
_LISTED_MAX = 1_000
_CANDIDATES_MAX = 10
_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOptions:
    """Files to store as datasets, and how."""

    files: tuple[Path, ...]
    name: str | None
    mapping: Mapping[str, str]
    format: str | None
    date_order: DateOrder | None
    masks: Masks
    owner: str


def read_mapping(document: str) -> dict[str, str]:
    """A mapping from the command line.

    Raises:
        Refused: it is not a JSON object of texts.
    """
    mapping = read_object("--mapping", document)
    if not all(isinstance(each, str) for each in mapping.values()):
        raise Refused("--mapping: each of our columns is mapped to a header of the file, a text.")
    return cast("dict[str, str]", mapping)


def read_date_order(written: str | None) -> DateOrder | None:
    """The order of dates, from the command line.

    Raises:
        Refused: there is no such order.
    """
    if written is not None and written not in list(DateOrder):
        raise Refused(f"--date-order: write {' or '.join(DateOrder)}.")
    return None if written is None else DateOrder(written)


def read_masks(written: str, names: Path | None) -> Masks:
    """What to mask, from the command line.

    Raises:
        Refused: there is no such kind, or the file is no list of names.
    """
    try:
        kinds = kinds_of(written)
    except FormatError as error:
        raise Refused(f"--mask: {error}") from error
    try:
        listed = () if names is None else read_names(names.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(f"--mask-names: {error}") from error
    return Masks(kinds=kinds, names=listed)


async def add(options: DatasetOptions, *, as_json: bool) -> ExitCode:
    """Store each file that can be read; the problems of the others are printed.

    Returns:
        USAGE if a file was refused, else DONE.
    """
    if options.name is not None and len(options.files) > 1:
        raise Refused("--name: one name for several files. Omit it, or add the files one by one.")
    if options.name is not None and (problem := line_problem(options.name)):
        raise Refused(f"--name: {problem}.")
    code = ExitCode.DONE
    async with open_client() as client:
        for path in options.files:
            try:
                added = await _add(client, options, path)
            except FormatError as error:
                code = ExitCode.USAGE
                _print_refused(path, error, as_json=as_json)
                continue
            found = await _get(client, added.dataset_id, options.owner)
            if as_json and found is not None:
                console.print_json(asdict(found) | {"is_new": added.is_new})
            elif found is not None:
                console.print_data(added.dataset_id)
                console.print_message(
                    f"{path}: {_summary(found)}{'' if added.is_new else ', already stored'}"
                )
                _print_notices(found)
    return code


async def list_datasets(owner: str | None, limit: int, *, as_json: bool) -> ExitCode:
    """Print the newest datasets."""
    async with open_client() as client, (await client.database()).connection() as connection:
        found = await datasets.list_datasets(connection, owner=owner, limit=limit, offset=0)
    if as_json:
        console.print_json([asdict(each) for each in found])
    elif not found:
        console.print_message("No datasets. To add one: evalqueue datasets add FILE")
    else:
        console.print_table(
            ("id", "name", "owner", "threads", "messages", "users", "from", "to", "added"),
            [
                (
                    _short(each.id), each.name, each.owner, each.threads, each.messages, each.users,
                    format_time(each.first_at), format_time(each.last_at),
                    format_time(each.created_at),
                )
                for each in found
            ],
        )  # fmt: skip
    return ExitCode.DONE


async def show(dataset_id: str, *, as_json: bool) -> ExitCode:
    """Print a dataset and its first conversations."""
    async with open_client() as client, (await client.database()).connection() as connection:
        found = await find_dataset(connection, dataset_id)
        if found is None:
            return no_dataset(dataset_id)
        threads = await datasets.threads_of(connection, found.id, after=0, limit=_SHOWN_THREADS)
    if as_json:
        console.print_json(asdict(found) | {"first_threads": [asdict(each) for each in threads]})
        return ExitCode.DONE
    intents = ", ".join(f"{name} {count}" for name, count in found.intents.items())
    console.print_data(f"{found.id}\n{found.name}: {_summary(found)}\n{intents or 'no intents'}")
    _print_notices(found)
    console.print_table(
        ("", "thread", "user", "messages", "from", "opening"),
        [
            (
                each.position, each.thread_id, each.user_id, each.messages,
                format_time(each.first_at), " ".join(each.opening.split()),
            )
            for each in threads
        ],
    )  # fmt: skip
    return ExitCode.DONE


async def remove(dataset_id: str, owner: str | None, *, as_json: bool) -> ExitCode:
    """Remove a dataset from one owner, or from all."""
    async with open_client() as client:
        database = await client.database()
        async with database.connection() as connection:
            found = await find_dataset(connection, dataset_id, owner=owner)
        if found is None:
            return no_dataset(dataset_id)
        async with database.transaction() as connection:
            removal = await datasets.remove(connection, found.id, owner=owner)
    if removal is None:
        return no_dataset(dataset_id)
    if removal is Removal.READ:
        console.print_message(
            f"A job that is not over reads {found.id}. Cancel it, or wait until it ends."
        )
        return ExitCode.NOT_FOUND
    if as_json:
        console.print_json({"id": found.id, "deleted": True})
    else:
        note = "; its content stays while a job, a run or another owner needs it"
        console.print_data(f"removed {found.name}{note if removal is Removal.KEPT else ''}")
    return ExitCode.DONE


async def _add(client: Client, options: DatasetOptions, path: Path) -> Added:
    limit = client.settings.max_dataset_bytes
    with ExitStack() as opened:
        file = opened.enter_context(await asyncio.to_thread(path.open, "rb"))
        size = await asyncio.to_thread(os.path.getsize, path)
        if size > limit:
            raise FormatError(
                f"{path} is larger than {limit:,} bytes. "
                "Split it, or raise EVALQUEUE_MAX_DATASET_BYTES."
            )
        if size >= _PROGRESS_MIN_BYTES:
            # It is read twice, first for its hash.
            file = opened.enter_context(_with_progress(file, path.name, size))
        incoming = Incoming(
            file=file,
            name=options.name or path.name,
            format=options.format,
            mapping=options.mapping or None,
            date_order=options.date_order,
            masks=options.masks,
        )
        return await imports.add(await client.database(), incoming, owner=options.owner, kept=True)


def _with_progress(file: BinaryIO, name: str, size: int) -> AbstractContextManager[BinaryIO]:
    from rich.progress import wrap_file

    output = console.rich_console(stderr=True)
    return wrap_file(file, size, description=f"Reading {name}", console=output)


def _print_notices(dataset: Dataset) -> None:
    for each in dataset.notices:
        console.print_message(f"  note: {Notice(**each)}")


async def _get(client: Client, dataset_id: str, owner: str) -> Dataset | None:
    async with (await client.database()).connection() as connection:
        return await datasets.get(connection, dataset_id, owner=owner)


async def find_dataset(
    connection: Connection, dataset_id: str, *, owner: str | None = None
) -> Dataset | None:
    """The dataset with this id, or the only one whose id begins so, or that has this name.

    Raises:
        Refused: it could be several.
    """
    prefix = dataset_id if dataset_id.startswith(_PREFIX) else _PREFIX + dataset_id
    if (exact := await datasets.get(connection, prefix, owner=owner)) is not None:
        return exact
    newest = await datasets.list_datasets(connection, owner=owner, limit=_LISTED_MAX, offset=0)
    meant = {
        each.id: each
        for each in newest  # an id stands there once for each owner
        if each.id.startswith(prefix) or each.name == dataset_id
    }
    found = list(meant.values())
    if len(found) > 1:
        lines = [
            f"  {_short(each.id)}  {one_line(each.name, 60)}" for each in found[:_CANDIDATES_MAX]
        ]
        more = ["  … and more"] if len(found) > _CANDIDATES_MAX else []
        heading = f"{dataset_id}: {len(found)} datasets have this name, or an id that begins so:"
        raise Refused("\n".join([heading, *lines, *more]))
    return next(iter(found), None)


def no_dataset(dataset_id: str) -> ExitCode:
    """Say that a dataset was not found."""
    console.print_message(f"There is no dataset {dataset_id}. To list them: evalqueue datasets")
    return ExitCode.NOT_FOUND


def _print_refused(path: Path, error: FormatError, *, as_json: bool) -> None:
    if as_json:
        console.print_json({"file": str(path)} | error.as_json())
        return
    rows = error.rows if isinstance(error, BadData) else ()
    if not rows:
        console.print_message(str(error))
    for row in rows:
        console.print_message(f"{path}: {row}")
    if isinstance(error, BadData) and error.more:
        console.print_message(f"{path}: … and {error.more:,} more bad rows")


def _summary(found: Dataset) -> str:
    when = ""
    if found.first_at is not None and found.last_at is not None:
        when = f", {found.first_at:%Y-%m-%d} to {found.last_at:%Y-%m-%d}"
    counted = (
        (found.threads, "conversation"), (found.messages, "message"), (found.users, "user"),
    )  # fmt: skip
    return ", ".join(f"{n:,} {noun}{'' if n == 1 else 's'}" for n, noun in counted) + when


def _short(dataset_id: str) -> str:
    return dataset_id[: len(_PREFIX) + 12]
