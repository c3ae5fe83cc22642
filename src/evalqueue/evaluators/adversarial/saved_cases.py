"""Saved cases: those of an owner, which later tests of an app repeat, and those pinned for all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from evalqueue.errors import Refused
from evalqueue.evaluators.adversarial.cases.case import Case
from evalqueue.evaluators.adversarial.store import QUERIES
from evalqueue.postgres.database import Connection
from evalqueue.postgres.rows import jsonb
from evalqueue.telemetry import actors

MAX_SAVED_CASES = 10_000
"""Of one owner and app: as many as a file may have."""
OWNERS_NAMED = 10
"""In an error."""


class CasesDiffer(Refused):
    """Owners expect different things of the same case."""


class OwnerNeeded(Refused):
    """Several owners have saved the same case, and none of them is named."""


class TooManyCases(Refused):
    """An owner would have more saved cases than are allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCase:
    """A case that is stored for later runs."""

    app_id: str
    owner: str
    """Who saved it."""
    case_id: str
    case: Case
    pinned: bool
    created_at: datetime


async def saved(
    connection: Connection, app_id: str, *, owner: str | None, only_pinned: bool = False
) -> list[SavedCase]:
    """The saved cases of an app that an owner may use (None: of all owners), oldest first: their
    own, and pinned ones. Equal cases of several owners are one."""
    arguments = {"app_id": app_id, "owner": owner, "only_pinned": only_pinned}
    return await _saved(connection, "saved", arguments)


async def saved_named(
    connection: Connection,
    app_id: str,
    case_ids: Sequence[str],
    *,
    owner: str | None,
    first_owner: str,
) -> list[SavedCase]:
    """Those with these ids, in the order of the ids. Unknown ids are left out. Of equal cases, that
    of `first_owner` counts, else a pinned one."""
    arguments = {
        "app_id": app_id,
        "owner": owner,
        "first_owner": first_owner,
        "case_ids": list(case_ids),
    }
    return await _saved(connection, "saved_named", arguments)


async def saved_page(
    connection: Connection,
    *,
    app_id: str | None,
    owner: str | None,
    only_pinned: bool,
    limit: int,
    offset: int,
) -> list[SavedCase]:
    """Saved cases, oldest first; `app_id` None: of every app; `owner` None: of all owners, else
    their own and pinned ones."""
    arguments = {
        "app_id": app_id,
        "owner": owner,
        "only_pinned": only_pinned,
        "limit": limit,
        "offset": offset,
    }
    return await _saved(connection, "saved_page", arguments)


async def save(
    connection: Connection, app_id: str, cases: Iterable[Case], *, owner: str, pinned: bool
) -> None:
    """Save cases of an owner. One that is saved already stays unchanged, but may become pinned.

    Raises:
        TooManyCases: nothing is saved, because the owner would have more than `MAX_SAVED_CASES`.
    """
    arguments = {
        "app_id": app_id,
        "owner": owner,
        "cases": jsonb([case.as_row() for case in cases]),
        "pinned": pinned,
        "actor": actors.setting(),
    }
    async with connection.transaction():
        await connection.execute(QUERIES["save"], arguments)
        cursor = await connection.execute(QUERIES["count_saved"], arguments)
        row = await cursor.fetchone()
        if row is not None and row[0] > MAX_SAVED_CASES:
            raise TooManyCases(
                f"{owner} would have {row[0]:,} saved cases of {app_id}, and at most "
                f"{MAX_SAVED_CASES:,} are allowed: delete some first. Nothing was saved."
            )


async def owners_of_saved(
    connection: Connection,
    app_id: str,
    case_ids: Sequence[str],
    *,
    owner: str | None,
    first_owner: str,
) -> dict[str, str]:
    """Whose saved case is meant by each id: that of `owner`; if None, that of `first_owner`, else
    the only one. Unknown ids are left out.

    Raises:
        OwnerNeeded: several others have saved one of them.
    """
    arguments = {"app_id": app_id, "case_ids": list(case_ids), "owner": owner}
    cursor = await connection.execute(QUERIES["owners_of_saved"], arguments)
    found: dict[str, str] = {}
    for case_id, owners in await cursor.fetchall():
        if first_owner not in owners and len(owners) > 1:
            names = ", ".join(owners[:OWNERS_NAMED]) + (", …" if owners[OWNERS_NAMED:] else "")
            raise OwnerNeeded(f"Several owners saved {case_id}: {names}. Name one of them.")
        found[case_id] = first_owner if first_owner in owners else owners[0]
    return found


async def pin(
    connection: Connection, app_id: str, owners: Mapping[str, str], *, pinned: bool
) -> None:
    """Pin or unpin saved cases, by their ids and owners.

    Raises:
        CasesDiffer: an equal case is pinned, of which its owner expects something else.
    """
    arguments = _named_by_owner(app_id, owners) | {"pinned": pinned}
    async with connection.transaction():
        await connection.execute(QUERIES["pin"], arguments)
        cursor = await connection.execute(QUERIES["differing"], arguments)
        differing = [case_id for (case_id,) in await cursor.fetchall()]
        if pinned and differing:
            raise CasesDiffer(
                f"Of {', '.join(differing)} an equal case of another owner is pinned, with "
                "different expected behaviours: unpin that one first."
            )


async def unsave(
    connection: Connection, app_id: str, owners: Mapping[str, str], *, pinned_too: bool
) -> int:
    """Delete saved cases, by their ids and owners; pinned ones only if asked to. Returns how many
    there were. Runs keep their own copies."""
    arguments = _named_by_owner(app_id, owners) | {"pinned_too": pinned_too}
    return (await connection.execute(QUERIES["unsave"], arguments)).rowcount


def _named_by_owner(app_id: str, owners: Mapping[str, str]) -> dict[str, Any]:
    return {
        "app_id": app_id,
        "case_ids": list(owners),
        "owners": list(owners.values()),
        "actor": actors.setting(),
    }


async def _saved(
    connection: Connection, query: str, arguments: Mapping[str, Any]
) -> list[SavedCase]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES[query], arguments)
        return [
            SavedCase(
                app_id=row["app_id"],
                owner=row["owner"],
                case_id=row["case_id"],
                case=Case.of_json(row["body"]),
                pinned=row["pinned"],
                created_at=row["created_at"],
            )
            async for row in cursor
        ]
