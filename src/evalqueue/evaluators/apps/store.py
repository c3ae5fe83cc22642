"""Apps in Postgres: content that is stored once, and the versions that owners give to it.

An app_id is first a shipped app, which everybody sees and no one can change, then the owner's own.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from evalqueue.errors import Problem
from evalqueue.evaluators import apps
from evalqueue.evaluators.apps import App, InvalidApp, UnknownApp, documents
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load
from evalqueue.telemetry import actors

QUERIES = load("evaluation/apps")
VERSIONS_MAX = 1_000
"""Of one app that are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredApp:
    """A version of an app."""

    app: App
    digest: str
    """`sha256:` and the hash of its content."""
    owner: str | None
    """None: it is shipped, or all that is left of it is its content."""
    version: int | None
    """Of the owner's app, from 1. None where it has no owner."""
    created_at: datetime | None

    @property
    def app_id(self) -> str:
        return self.app.app_id

    def as_json(self) -> dict[str, object]:
        """What a run freezes of it, beside its content."""
        return {
            "app_id": self.app_id,
            "digest": self.digest,
            "owner": self.owner,
            "version": self.version,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedApp:
    """The version that an owner's app has now."""

    stored: StoredApp
    is_new: bool
    """False: the newest version had this content already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    app_id: str
    owner: str
    version: int
    digest: str
    created_at: datetime
    document: str

    def stored(self) -> StoredApp:
        return StoredApp(
            app=_read(self.document),
            digest=self.digest,
            owner=self.owner,
            version=self.version,
            created_at=self.created_at,
        )


def shipped(app_id: str) -> StoredApp:
    """A shipped app.

    Raises:
        UnknownApp: none has this app_id.
    """
    return not_stored(apps.load(app_id))


async def list_apps(
    connection: Connection, *, owner: str | None, limit: int = 200, offset: int = 0
) -> list[StoredApp]:
    """The newest version of each app of an owner (None: of all), newest first; without shipped
    apps."""
    return await _versions(connection, owner=owner, only_newest=True, limit=limit, offset=offset)


async def find(
    connection: Connection,
    app_id: str,
    *,
    owner: str | None,
    first_owner: str | None = None,
    version: int | None = None,
) -> StoredApp:
    """An app that a caller sees: a shipped one, or the newest or given version of an owner's.

    Args:
        connection: where to look.
        app_id: its name.
        owner: whose it is; None: anybody's.
        first_owner: of several owners, the one whose app is meant.
        version: None: the newest.

    Raises:
        UnknownApp: there is none.
    """
    if app_id in apps.known():
        if version is not None:
            raise UnknownApp(f"{app_id} is shipped: it has no versions.")
        return shipped(app_id)
    found = await _versions(
        connection,
        owner=owner,
        app_id=app_id,
        version=version,
        only_newest=version is None,
        first_owner=first_owner,
        limit=1,
    )
    if found:
        return found[0]
    if version is not None:
        raise UnknownApp(f"There is no version {version} of the app {app_id!r}.")
    raise await _unknown(connection, app_id, owner)


async def versions(connection: Connection, app_id: str, *, owner: str) -> list[StoredApp]:
    """The versions of an owner's app, newest first."""
    return await _versions(connection, owner=owner, app_id=app_id, limit=VERSIONS_MAX)


async def named(
    connection: Connection, app_id: str, *, owner: str, digest: str | None = None
) -> StoredApp:
    """The app that a job of an owner names; by its digest, an earlier version of it.

    Raises:
        UnknownApp: the owner has none.
    """
    if digest is None:
        return await find(connection, app_id, owner=owner)
    if app_id in apps.known():
        if (current := shipped(app_id)).digest == digest:
            return current
        if await QUERIES.value(connection, "is_shipped", digest=digest, app_id=app_id):
            return await frozen(connection, digest)
    found = await _versions(connection, owner=owner, app_id=app_id, digest=digest, limit=1)
    if not found:
        raise UnknownApp(f"The app {app_id!r} has no version with the digest {digest}.")
    return found[0]


async def frozen(connection: Connection, digest: str) -> StoredApp:
    """The content that a job or a run names by its digest, of any owner.

    Raises:
        UnknownApp: it was deleted.
    """
    document = await QUERIES.value(connection, "content", digest=digest)
    if document is None:
        raise UnknownApp(f"There is no app with the digest {digest}: submit the job anew.")
    return StoredApp(app=_read(document), digest=digest, owner=None, version=None, created_at=None)


async def of_job(connection: Connection, app_id: str, digest: str, *, owner: str) -> StoredApp:
    """The app whose content a job has fixed, even if its owner has removed it since.

    Raises:
        UnknownApp: its content was deleted.
    """
    found = await _versions(connection, owner=owner, app_id=app_id, digest=digest, limit=1)
    return found[0] if found else await frozen(connection, digest)


async def add(connection: Connection, app: App, *, owner: str) -> AddedApp:
    """Store an app as the newest version of its owner's, in a transaction of the caller's.

    Raises:
        InvalidApp: a shipped app has its app_id.
    """
    check_name(app)
    digest = documents.digest(app)
    arguments = {"owner": owner, "app_id": app.app_id}
    await connection.execute(QUERIES["lock"], arguments)
    newest = await _versions(connection, owner=owner, app_id=app.app_id, only_newest=True, limit=1)
    if newest and newest[0].digest == digest:
        return AddedApp(stored=newest[0], is_new=False)
    await keep(connection, app)
    await connection.execute(
        QUERIES["add_version"], arguments | {"digest": digest, "actor": actors.setting()}
    )
    (stored,) = await _versions(
        connection, owner=owner, app_id=app.app_id, only_newest=True, limit=1
    )
    return AddedApp(stored=stored, is_new=True)


def check_name(app: App) -> None:
    """Refuse an app that has the name of a shipped one.

    Raises:
        InvalidApp: it has.
    """
    if app.app_id in apps.known():
        msg = f"{app.app_id} is shipped and can't be changed: choose another app_id"
        raise InvalidApp(app.app_id, [Problem(loc=("app_id",), msg=msg)])


def not_stored(app: App) -> StoredApp:
    """An app as it would be stored."""
    return StoredApp(
        app=app, digest=documents.digest(app), owner=None, version=None, created_at=None
    )


async def keep(connection: Connection, app: App) -> None:
    """Store an app's content, unless it is there."""
    arguments = {
        "digest": documents.digest(app),
        "app_id": app.app_id,
        "document": documents.canonical(app),
    }
    await connection.execute(QUERIES["store"], arguments)


async def remove(connection: Connection, app_id: str, *, owner: str) -> int:
    """Remove an owner's app. Returns how many versions it had; 0: there is none.

    Jobs and runs that use it keep its content.
    """
    return await QUERIES.value(
        connection, "remove", app_id=app_id, owner=owner, actor=actors.setting()
    )


async def of_dataset(connection: Connection, dataset_id: str, *, owner: str) -> str | None:
    """The app_id that an owner has given to a dataset."""
    return await QUERIES.value(connection, "of_dataset", dataset_id=dataset_id, owner=owner)


async def set_of_dataset(
    connection: Connection, dataset_id: str, app_id: str | None, *, owner: str
) -> bool:
    """Give an owner's dataset an app. False: the owner has no such dataset."""
    return bool(
        await QUERIES.value(
            connection,
            "set_of_dataset",
            dataset_id=dataset_id,
            app_id=app_id,
            owner=owner,
            actor=actors.setting(),
        )
    )


async def pin(connection: Connection, *, job_id: UUID, stored: StoredApp) -> None:
    """Let a job and its helper jobs use this content from now on."""
    if stored.digest == documents.digest(stored.app):  # content of an older release is there
        await keep(connection, stored.app)
    await connection.execute(
        QUERIES["pin"], {"job_id": job_id, "app_id": stored.app_id, "digest": stored.digest}
    )


async def _versions(
    connection: Connection,
    *,
    owner: str | None,
    app_id: str | None = None,
    version: int | None = None,
    digest: str | None = None,
    only_newest: bool = False,
    first_owner: str | None = None,
    limit: int,
    offset: int = 0,
) -> list[StoredApp]:
    found = await QUERIES.rows(
        connection, _Row, "versions", owner=owner, app_id=app_id, version=version, digest=digest,
        only_newest=only_newest, first_owner=first_owner, limit=limit, offset=offset,
    )  # fmt: skip
    return [each.stored() for each in found]


async def _unknown(connection: Connection, app_id: str, owner: str | None) -> UnknownApp:
    own = [each.app_id for each in await list_apps(connection, owner=owner, limit=20)]
    known: Sequence[str] = [*apps.known(), *dict.fromkeys(own)]
    return UnknownApp(
        f"There is no app {app_id!r}. Known: {', '.join(known)}. To add one: "
        "evalqueue apps add FILE, or POST /api/apps"
    )


def _read(document: str) -> App:
    return apps.from_document(json.loads(document), where="the stored app")
