"""The commands about saved cases of adversarial tests."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.commands.runs.references import find_adversarial_run, find_id
from evalqueue.cli.output import adversarial as output
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.errors import NothingMeant, Refused
from evalqueue.evaluators.adversarial import saved_cases
from evalqueue.evaluators.adversarial import store as cases_store
from evalqueue.evaluators.adversarial.cases.case import Case, distinct
from evalqueue.evaluators.adversarial.cases.files import read_cases
from evalqueue.evaluators.adversarial.chatbot import difficult_users
from evalqueue.evaluators.adversarial.saved_cases import SavedCase
from evalqueue.evaluators.apps import App, UnknownApp
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.apps.difficult_users import DifficultUsers
from evalqueue.evaluators.formats import FormatError
from evalqueue.postgres.database import Connection

_FILE_MAX_BYTES = 64 * 1024**2
_OWNER = "default"  # of jobs that the command line submits, too

T = TypeVar("T")


async def list_cases(app_id: str, *, pinned: bool, as_json: bool) -> ExitCode:
    """Print an app's saved cases."""
    found = await _saved(app_id, pinned=pinned)
    if as_json:
        console.print_json([_case_json(each) for each in found])
    elif found:
        output.print_saved_cases(found)
    else:
        console.print_message(
            f"No saved cases of {app_id}. To save one: evalqueue adversarial cases save --help"
        )
    return ExitCode.DONE


async def save_cases(
    given: str, case_ids: Sequence[str], *, pinned: bool, as_json: bool
) -> ExitCode:
    """Save cases of a run."""
    async with open_client() as client:
        run = await find_adversarial_run(client, given)
        async with (await client.database()).connection() as connection:
            known = await cases_store.case_ids(connection, run.id)
            case_ids = [
                find_id(each, known, missing=f"Not in run {run.id}: {each}") for each in case_ids
            ]
            found = await cases_store.cases_of(connection, run.id, case_ids)
            if run.app_id is None:
                raise NothingMeant(f"Run {run.id} has not begun")
            await saved_cases.save(connection, run.app_id, found, owner=_OWNER, pinned=pinned)
    return _print_changed("saved", [case.case_id for case in found], as_json=as_json)


async def import_cases(path: Path, app_id: str, *, pinned: bool, as_json: bool) -> ExitCode:
    """Save the cases of a file: all of them, or none."""
    async with open_client() as client, (await client.database()).connection() as connection:
        app, _ = await load_app(connection, app_id)
        found = distinct(await asyncio.to_thread(read_case_file, path, app))
        await saved_cases.save(connection, app_id, found, owner=_OWNER, pinned=pinned)
    return _print_changed("saved", [case.case_id for case in found], as_json=as_json)


async def export_cases(app_id: str, *, pinned: bool, as_json: bool) -> ExitCode:
    """Print saved cases as JSON lines that can be imported, or as one JSON array."""
    inputs = [case_input(each.case) for each in await _saved(app_id, pinned=pinned)]
    if as_json:
        console.print_json(inputs)
    else:
        for each in inputs:
            console.print_json(each)
    return ExitCode.DONE


async def pin_cases(
    app_id: str, case_ids: Sequence[str], *, owner: str | None, pinned: bool, as_json: bool
) -> ExitCode:
    """Make saved cases part of every later run, or no longer."""
    case_ids = await _find_saved(app_id, case_ids, owner=owner)
    async with open_client() as client, (await client.database()).connection() as connection:
        owners = await _owners(connection, app_id, case_ids, owner=owner)
        await saved_cases.pin(connection, app_id, owners, pinned=pinned)
    return _print_changed("pinned" if pinned else "unpinned", case_ids, as_json=as_json)


async def remove_cases(
    app_id: str, case_ids: Sequence[str], *, owner: str | None, as_json: bool
) -> ExitCode:
    """Delete saved cases."""
    case_ids = await _find_saved(app_id, case_ids, owner=owner)
    async with open_client() as client, (await client.database()).connection() as connection:
        owners = await _owners(connection, app_id, case_ids, owner=owner)
        await saved_cases.unsave(connection, app_id, owners, pinned_too=True)
    return _print_changed("removed", case_ids, as_json=as_json)


async def _owners(
    connection: Connection, app_id: str, case_ids: Sequence[str], *, owner: str | None
) -> dict[str, str]:
    """Whose cases are meant, by their ids.

    Raises:
        OwnerNeeded: several owners have saved one of them.
    """
    return await saved_cases.owners_of_saved(
        connection, app_id, case_ids, owner=owner, first_owner=_OWNER
    )


async def _saved(app_id: str, *, pinned: bool) -> list[SavedCase]:
    async with open_client() as client, (await client.database()).connection() as connection:
        return await saved_cases.saved(connection, app_id, owner=None, only_pinned=pinned)


async def _saved_ids(app_id: str, owner: str | None) -> list[str]:
    found = await _saved(app_id, pinned=False)
    if owner is None:
        return [each.case_id for each in found]
    async with open_client() as client, (await client.database()).connection() as connection:
        ids = [each.case_id for each in found]
        return list(await _owners(connection, app_id, ids, owner=owner))


async def _find_saved(app_id: str, given: Sequence[str], *, owner: str | None) -> list[str]:
    """The ids of the saved cases that are meant; `owner` None: of all owners.

    Raises:
        NothingMeant: one of them is not saved.
        Refused: one could be several.
    """
    known = set(await _saved_ids(app_id, owner))
    hint = f"To list saved cases: evalqueue adversarial cases list --app {app_id}"
    return [find_id(each, known, missing=f"Not saved: {each}. {hint}") for each in given]


def _print_changed(change: str, case_ids: Sequence[str], *, as_json: bool) -> ExitCode:
    if as_json:
        console.print_json({change: list(case_ids)})
    else:
        for case_id in case_ids:
            console.print_data(f"{change} {case_id}")
    return ExitCode.DONE


async def load_app(
    connection: Connection, app_id: str, *, owner: str | None = None
) -> tuple[App, DifficultUsers]:
    """An app of an owner (None: of anybody), and its part about adversarial tests.

    Raises:
        Refused: there is no such app.
    """
    try:
        stored = await app_store.find(connection, app_id, owner=owner, first_owner="default")
        return stored.app, difficult_users(stored.app)
    except UnknownApp as error:
        raise Refused(str(error)) from error


def read_case_file(path: Path, app: App) -> list[Case]:
    """The cases of a file: CSV or JSONL.

    Raises:
        Refused: it can't be read, is too large, or a case of it is not valid.
    """
    try:
        if path.stat().st_size > _FILE_MAX_BYTES:
            raise Refused(f"{path} is larger than {_FILE_MAX_BYTES:,} bytes. Split it.")
        content = path.read_text("utf-8-sig")
        return read_cases(content, name=path.name, app=app)
    except FormatError as error:
        raise Refused(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"Can't read {path}: {error}") from error


def case_input(case: Case) -> dict[str, object]:
    """A case as it is submitted: `CaseInput`."""
    return without_empty(
        {name: value for name, value in case.as_json().items() if name != "source"}
    )


def _case_json(saved: SavedCase) -> dict[str, object]:
    return {**asdict(saved), "case": saved.case.as_json() | {"case_id": saved.case_id}}


def without_empty(values: Mapping[str, T]) -> dict[str, T]:
    """The values that are not empty; 0 and False are not."""
    return {name: value for name, value in values.items() if value not in (None, [], {}, "")}
