"""Apps in the database."""

import asyncio

from evalqueue.cli.commands.apps.files import STDIN, counts_of, print_refused, read_app
from evalqueue.cli.commands.connection import open_client
from evalqueue.cli.commands.conversations.datasets import find_dataset, no_dataset
from evalqueue.cli.output import console
from evalqueue.cli.output.exit_codes import ExitCode
from evalqueue.cli.output.text import one_line
from evalqueue.cli.output.times import format_time
from evalqueue.errors import Refused
from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import App, UnknownApp, documents
from evalqueue.evaluators.apps import store as app_store
from evalqueue.evaluators.apps.store import StoredApp
from evalqueue.postgres.database import Connection

_LISTED_MAX = 1_000


async def list_apps(owner: str | None, *, as_json: bool) -> ExitCode:
    """Print the shipped apps, and the newest version of each stored one."""
    async with open_client() as client, (await client.database()).connection() as connection:
        stored = await app_store.list_apps(connection, owner=owner, limit=_LISTED_MAX)
    found = [*map(app_store.shipped, apps.known()), *stored]
    if as_json:
        console.print_json([_json(each) for each in found])
    else:
        console.print_table(
            ("app", "name", "owner", "version", "intents", "rules", "added"),
            [
                (
                    each.app_id, each.app.name, each.owner or "(shipped)", each.version or "",
                    len(each.app.intents), len(each.app.rules),
                    format_time(each.created_at) if each.created_at else "",
                )
                for each in found
            ],
        )  # fmt: skip
    return ExitCode.DONE


async def show(
    app_id: str, version: int | None, owner: str | None, *, in_json: bool, as_json: bool
) -> ExitCode:
    """Print an app's document."""
    async with open_client() as client, (await client.database()).connection() as connection:
        try:
            found = await app_store.find(
                connection, app_id, owner=owner, first_owner="default", version=version
            )
        except UnknownApp as error:
            return _not_found(error)
        versions: list[StoredApp] = []
        if found.owner is not None:
            versions = await app_store.versions(connection, app_id, owner=found.owner)
    if as_json:
        listed = [
            {"version": each.version, "digest": each.digest, "created_at": each.created_at}
            for each in versions
        ]
        document = apps.to_document(found.app, with_defaults=False)
        console.print_json(_json(found) | {"document": document, "versions": listed})
    else:
        write = documents.to_json if in_json else documents.to_toml
        console.print_data(write(found.app).rstrip("\n"))
        if found.owner is not None:
            console.print_message(
                f"version {found.version} of {found.owner}'s {app_id}, {found.digest}"
            )
    return ExitCode.DONE


async def add(file: str, dataset: str | None, owner: str, *, as_json: bool) -> ExitCode:
    """Store the app of a document.

    Returns:
        USAGE if it was refused, NOT_FOUND if there is no such dataset.
    """
    found = await asyncio.to_thread(read_app, file)
    if found.app is None:
        return print_refused(file, found.error, as_json=as_json)
    async with open_client() as client, (await client.database()).transaction() as connection:
        dataset_id = None
        if dataset is not None:
            known = await find_dataset(connection, dataset, owner=owner)
            if known is None:
                return no_dataset(dataset)
            dataset_id = known.id
        added = await app_store.add(connection, found.app, owner=owner)
        if dataset_id is not None:
            await app_store.set_of_dataset(connection, dataset_id, found.app.app_id, owner=owner)
    stored = added.stored
    if as_json:
        console.print_json(_json(stored) | {"is_new": added.is_new, "dataset_id": dataset_id})
    else:
        console.print_data(f"{stored.app_id}@{stored.version}")
        note = "" if added.is_new else ", already stored"
        console.print_message(f"{file}: {counts_of(stored.app)}{note}")
        if dataset_id is not None:
            console.print_message(f"{dataset_id} uses it from now on")
    return ExitCode.DONE


async def diff(old: str, new: str, *, as_json: bool) -> ExitCode:
    """Print what differs between two apps.

    Returns:
        DONE if nothing does, else FAILED.
    """
    async with open_client() as client, (await client.database()).connection() as connection:
        try:
            before, after = await find_app(connection, old), await find_app(connection, new)
        except UnknownApp as error:
            return _not_found(error)
    found = documents.changes(apps.to_document(before), apps.to_document(after))
    if as_json:
        console.print_json({"old": old, "new": new, "changes": found})
    elif not found:
        console.print_message("They are the same.")
    for line in () if as_json else found:
        console.print_data(console.printable(line))
    return ExitCode.FAILED if found else ExitCode.DONE


async def remove(app_id: str, owner: str, *, as_json: bool) -> ExitCode:
    """Remove an owner's app."""
    if app_id in apps.known():
        raise Refused(f"{app_id} is shipped: it can't be removed")
    async with open_client() as client, (await client.database()).transaction() as connection:
        removed = await app_store.remove(connection, app_id, owner=owner)
    if not removed:
        console.print_message(f"{owner} has no app {app_id}. To list apps: evalqueue apps")
        return ExitCode.NOT_FOUND
    document = {"app_id": app_id, "owner": owner, "versions": removed, "deleted": True}
    console.print_result(document, f"removed {app_id}", as_json=as_json)
    return ExitCode.DONE


async def find_app(connection: Connection, name: str) -> App:
    """The app of a file, of APP or of APP@VERSION."""
    if name == STDIN or documents.notation_of(name) is not None:
        found = await asyncio.to_thread(read_app, name)
        if found.app is None:
            raise Refused(str(found.error))
        return found.app
    app_id, _, version = name.partition("@")
    if version and not version.isdecimal():
        raise Refused(f"{name}: write APP@VERSION, as in {app_id}@2")
    stored = await app_store.find(
        connection,
        app_id,
        owner=None,
        first_owner="default",
        version=int(version) if version else None,
    )
    return stored.app


def _not_found(error: UnknownApp) -> ExitCode:
    console.print_message(str(error))
    return ExitCode.NOT_FOUND


def _json(stored: StoredApp) -> dict[str, object]:
    return {
        **stored.as_json(),
        "name": stored.app.name,
        "about": one_line(stored.app.about, 200),
        "created_at": stored.created_at,
    }
