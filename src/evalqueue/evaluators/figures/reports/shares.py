"""Links that show the report of one run to people who have no token, until they expire.

A link has a token of its own, which is stored only as its SHA-256.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from evalqueue.errors import Refused
from evalqueue.evaluators.figures.reports.content import check_reportable
from evalqueue.evaluators.runs.reading import Run
from evalqueue.postgres.database import Connection
from evalqueue.postgres.queries import load
from evalqueue.telemetry import actors

QUERIES = load("evaluation/shares")
DAYS = 7
MAX_DAYS = 90
MAX_SHARES = 50
"""Of one run at the same time."""
PATH = "/shared/{token}"
"""What the address of a report by a link ends with."""

_PREFIX = "evs_"  # so that a token is recognized, also by programs that look for secrets
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RunShare:
    """A link to the report of a run, without its token."""

    id: UUID
    run_id: UUID
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewShare:
    """A link that was just made: its token is known only now."""

    share: RunShare
    token: str

    @property
    def path(self) -> str:
        return PATH.format(token=self.token)


class NotShared(Refused):
    """A run that gets no further link."""


async def add(connection: Connection, run: Run, *, days: int) -> NewShare:
    """Make a link to the report of a run.

    Raises:
        NotReportable: there is no report of such a run.
        NotShared: it has as many links as it may have, or was deleted just now.
    """
    check_reportable(run)
    token = f"{_PREFIX}{secrets.token_urlsafe(_TOKEN_BYTES)}"
    await connection.execute(QUERIES["forget_expired"], {"run_id": run.id})
    share = await QUERIES.row(
        connection, RunShare, "add",
        run_id=run.id, token_hash=digest_of(token), days=days, most=MAX_SHARES,
        actor=actors.setting(),
    )  # fmt: skip
    if share is None:
        raise NotShared(f"Run {run.id} has {MAX_SHARES} links already: revoke one of them first")
    return NewShare(share=share, token=token)


async def of_run(connection: Connection, run_id: UUID) -> list[RunShare]:
    """The links of a run that are good, newest first."""
    return await QUERIES.rows(connection, RunShare, "of_run", run_id=run_id)


async def revoke(connection: Connection, run_id: UUID, share_id: UUID) -> RunShare | None:
    """End a link; None: the run has no such link."""
    return await QUERIES.row(
        connection, RunShare, "revoke", run_id=run_id, share_id=share_id, actor=actors.setting()
    )


async def of_token(connection: Connection, token: str) -> RunShare | None:
    """The link with a token; None: there is none, or it has expired."""
    return await QUERIES.row(connection, RunShare, "of_token", token_hash=digest_of(token))


async def run_shown_by(connection: Connection, token: str) -> UUID | None:
    """The run whose report a token shows; None: it is no token, or has expired or been revoked."""
    cursor = await connection.execute(QUERIES["shown"], {"token_hash": digest_of(token)})
    row = await cursor.fetchone()
    return None if row is None else row[0]


def digest_of(token: str) -> bytes:
    """What is stored of a token."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
