"""The audit log: who changed what. Rows are written by SQL, with the changes themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evalqueue import codec
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load

QUERIES = load("queue/audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A change."""

    id: int
    at: datetime
    actor: str
    """The name of a token, a person's login, a worker; without one, the database role."""
    role: str
    """The database role."""
    application: str | None
    """What the session calls itself, by `application_name`."""
    door: str
    """A `Door`."""
    action: str
    """`queue.pause`, for example."""
    subject_kind: str
    subject_id: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which changes are wanted; None: all."""

    actor: str | None = None
    action: str | None = None
    """`queue.pause`, or `queue` for all that can be done to one."""
    subject_kind: str | None = None
    subject_id: str | None = None


async def entries(
    connection: Connection, where: AuditFilter, *, after: int | None = None, limit: int
) -> list[AuditEntry]:
    """A page of the log, newest first. `after` is the last id of the previous page."""
    wanted = {name: getattr(where, name) for name in AuditFilter.__slots__}
    cleaned = {name: each and codec.clean_text(each) for name, each in wanted.items()}
    return await QUERIES.rows(
        connection, AuditEntry, "entries", after=after, limit=limit, **cleaned
    )
